"""What the commands of `longtake engines` and `longtake models` share: options, ways out, and the engines they are of.

Exit codes: 0 ok, 1 an engine is corrupt, not signed by anybody trusted, or does not compute what its model does, 2 a
setting or an installed package is wrong, 3 there are no engines, or no such model, 4 the store does not answer, or the
server that runs them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import FAILED, NOT_FOUND, UNREACHABLE, USAGE, fail
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.families.capabilities import Range
    from engines.models import Model
    from engines.signing import SigningKey
    from engines.store import Built, Found
    from engines.trust import TrustedKeys
    from serving.store.base import Store

ModelName = Annotated[str, typer.Option("--model", "-m", help="Name or alias of the model.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", help="A store with engines built there; default: the setting `store`.", show_default=False),
]


def _variant(text: str | None) -> str | None:
    """What `--variant` says. Ends the command for what is the name of none."""
    from serving.stage_settings import VARIANT

    if text and not re.fullmatch(VARIANT, text):
        fail(
            f"--variant {text}: a runtime, a device, and a precision if it is not fp32, like tensorrt_rtx-sm89-bf16; "
            "`longtake engines ls --all` lists what is there",
            USAGE,
        )
    return text


Variant = Annotated[
    str | None,
    typer.Option(
        "--variant",
        callback=_variant,
        help="Runtime, device and precision, as `ls --all` shows them; default: the setting `engines.variant`.",
        show_default=False,
    ),
]

PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        help="bf16 or fp16, or by component, like dit=bf16,vae=fp32; what is not named is fp32.",
        show_default="fp32",
    ),
]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what is wrong into one line and an exit code."""
    from engines.errors import EngineAway, EngineCorrupt, EngineNotBuilt, EngineUnfit, EngineUntrusted
    from serving.errors import LongtakeError, ModelUnknown, Unavailable

    try:
        yield
    except ModelUnknown as error:
        typer.echo(f"error: model {error.told}", err=True)
        raise typer.Exit(NOT_FOUND) from error
    except EngineNotBuilt as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(NOT_FOUND) from error
    except (EngineCorrupt, EngineUnfit, EngineUntrusted) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except (LongtakeError, ValueError, OSError) as error:
        away = any(isinstance(one, Unavailable | EngineAway) for one in (error, error.__cause__))
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(UNREACHABLE if away else USAGE) from error


@asynccontextmanager
async def opened(
    name: str, store_url: str | None, variant: str | None = None, *, unverified: bool = False
) -> AsyncIterator[tuple[Model, Found]]:
    """A model and its engines. The store is opened only if named, or if the package has none for its weights.

    `unverified`: also those that were compiled only, if there are no others.
    """
    from engines import models
    from engines.errors import EngineNotBuilt
    from engines.store import EngineStore
    from serving import model_store
    from serving.settings import load_settings

    variant = load_settings().engines.variant if variant is None else variant
    if store_url is None and models.ships(name):
        model = models.find(name)
        try:
            found = await model.package_store().find(model.name, model.weights_digest(), variant)
        except EngineNotBuilt:
            pass  # not in the package: look in the store of the settings
        else:
            yield model, found
            return
    async with opened_store(store_url) as store:
        model = await model_store.find(name, store)
        layers, digest = EngineStore(built=built_in(store)), model.weights_digest()
        yield model, await layers.find(model.name, digest, variant, unverified=unverified)


async def demand_vouched(store: Store, name: str, digest: str | None) -> None:
    """Raise `EngineNotBuilt` or `EngineUntrusted` unless somebody who is trusted here built engines of these files.

    They may be of any variant. The record of an added model is signed by nobody: such engines say that they are what an
    operator added, and not what another wrote there to have it signed.
    """
    from engines.errors import EngineNotBuilt
    from engines.manifest import missing_message
    from engines.objects import read_set_name

    built = built_in(store)
    for model, part in await built.sets():
        if (model, read_set_name(part)[0]) == (name, digest) and await built.manifest(model, part) is not None:
            return
    raise EngineNotBuilt(missing_message(name, "engines"))


def steps_of(asked: int | None, bounds: Range) -> int:
    """Denoising steps: the model's own where none are asked for. Raises `ValueError`."""
    steps = bounds.default if asked is None else asked
    if not bounds.min <= steps <= bounds.max:
        raise ValueError(f"steps: {steps}; this model takes {bounds.min} to {bounds.max}")
    return steps


def built_in(store: Store, *, key: SigningKey | None = None) -> Built:
    """The engines of a store that is open; `key` signs those that are published."""
    from serving.engine_store import built
    from serving.settings import load_settings

    return built(store, load_settings().engines, key=key)


def trusted_keys() -> TrustedKeys:
    """The file that the settings name."""
    from engines.trust import TrustedKeys
    from serving.settings import load_settings

    return TrustedKeys(load_settings().engines.trusted_keys)


def own_key() -> SigningKey:
    """The key that the settings name; made, trusted here and told of if there is none."""
    from engines import trust
    from serving.settings import load_settings

    path = load_settings().engines.signing_key.expanduser()
    new = not path.exists()
    key = trust.own_key(path, trusted_keys())
    if new:
        typer.echo(f"made the key {path}; on other machines: longtake engines trust add '{key.public}'", err=True)
    return key
