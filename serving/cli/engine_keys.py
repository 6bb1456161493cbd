"""`longtake engines keygen`, `sign` and `trust`: who may make the engines that are loaded here.

Engines of the package need none of it. Needs no running server; servers read the file of trusted keys when they load
engines.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.engine_access import (
    ModelName,
    StoreUrl,
    Variant,
    built_in,
    clear_errors,
    own_key,
    trusted_keys,
)
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.manifest import Manifest
    from engines.signing import PublicKey, SigningKey

trust = typer.Typer(
    name="trust",
    help="Say whose engines are loaded on this machine from a store. Each machine that serves has such a list.",
    no_args_is_help=True,
)
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The key's file; default: `engines.signing_key`.", show_default=False)
]


def keygen(
    key: KeyFile = None,
    name: Annotated[str, typer.Option(help="What people call it.", show_default="this machine's name")] = "",
    output: Output = "text",
) -> None:
    """Make a key that signs engines, and trust it on this machine.

    Prints what other machines need to trust it. The first build into a store does the same. Example: longtake engines
    keygen --key ~/keys/2027.pem
    """
    from engines.errors import EngineUntrusted
    from engines.trust import make_key
    from serving.settings import load_settings

    with clear_errors():
        path, trusted = (key or load_settings().engines.signing_key).expanduser(), trusted_keys()
        try:
            made = make_key(path, trusted, name)
        except FileExistsError as error:
            raise EngineUntrusted(
                f"{path} is there already, and keys are not overwritten: name another --key"
            ) from error
    if output == "json":
        typer.echo(json.dumps({**_row(made.public), "key": str(path), "trusted_by": str(trusted.path)}))
        return
    typer.echo(str(made.public))
    typer.echo(
        f"{path} is key {made.public.id}, trusted here. On other machines: longtake engines trust add '…'", err=True
    )


def sign(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    variant: Variant = None,
    key: KeyFile = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Also what nobody trusted here has signed.")] = False,
    output: Output = "text",
) -> None:
    """Sign the engines of a model that lie in a store.

    Each one's digest is checked first. To change keys: engines that a key signed which is trusted here get another
    signature. With --adopt also those that a version of Longtake built which did not sign: whoever could write to the
    store may have made them, and all who trust your key will run them.
    """
    with clear_errors():
        manifest, signer, new = asyncio.run(_sign(model, store, variant, key, adopt=adopt))
    if output == "json":
        typer.echo(json.dumps({"model": manifest.model, "signer": signer.id, "new": new}))
        return
    what = f"{manifest.model}: {len(manifest.engines)} engines"
    typer.echo(f"{what}, {'signed' if new else 'signed before'} by {signer.id}")


async def _sign(
    name: str, store_url: str | None, variant: str | None, key_file: Path | None, *, adopt: bool
) -> tuple[Manifest, PublicKey, bool]:
    """What was signed, by whom, and whether that is new. What is signed is what was checked, byte for byte."""
    from engines.errors import EngineNotBuilt
    from engines.manifest import missing_message
    from engines.objects import USUAL, set_name
    from serving import model_store
    from serving.settings import load_settings

    chosen = variant or load_settings().engines.variant or USUAL
    async with opened_store(store_url) as store:
        built, model = built_in(store), await model_store.find(name, store)
        weights = set_name(model.weights_digest() or "", chosen)
        data = await built.manifest_bytes(model.name, weights)
        if data is None:
            raise EngineNotBuilt(
                f"{missing_message(model.name, 'engines', chosen)} (the package's own need no signature)"
            )
        if not adopt:
            await built.signer(model.name, weights, data)
        manifest = built.parse(model.name, weights, data)
        for entry in manifest.engines:
            await built.read(entry)
            await built.weights(entry)
        key = own_key() if key_file is None else _key_of(key_file)
        return manifest, key.public, await built.signatures.add(model.name, weights, data, key)


def _key_of(file: Path) -> SigningKey:
    from engines.errors import EngineUntrusted
    from engines.trust import load_key

    key = load_key(file)
    if key is None:
        raise EngineUntrusted(f"{file} is not there: `longtake engines keygen --key {file}` makes it")
    return key


@trust.command()
def add(
    key: Annotated[str, typer.Argument(help="A line like `ed25519 <base64> <name>`, in quotes; or a file of such.")],
) -> None:
    """Load engines that this key signed, from now on.

    `longtake engines trust ls` on the machine that builds prints the line. Compare the id with its owner.
    """
    from engines.signing import PublicKey

    with clear_errors():
        trusted, file = trusted_keys(), Path(key).expanduser()
        inline = key.startswith("ed25519 ") or not file.is_file()
        text = key if inline else file.read_text(encoding="utf-8", errors="replace")
        lines = filter(None, (line.partition("#")[0].strip() for line in text.splitlines()))
        found = [PublicKey.parse(line) for line in lines]  # all of them, before the first is trusted
        if not found:
            raise ValueError(f"{key!r}: no key is in it, a line like `ed25519 <base64> <name>`")
        for one in found:
            new = trusted.add(one)
            typer.echo(f"{one.id}  {one.name or '-'}  {'trusted now' if new else 'was trusted'} ({trusted.path})")


@trust.command()
def refuse(
    manifest: Annotated[str, typer.Argument(help="Digest of the engines' manifest, as `rm` and `explain` show it.")],
) -> None:
    """Refuse engines from now on, whoever signed them.

    What was removed from a store can be put back there by all who can write to it.
    """
    with clear_errors():
        new = trusted_keys().refuse(manifest)
    typer.echo(f"{manifest[:16]} {'is' if new else 'was'} refused; replicas that run it do so until they start again")


@trust.command("ls")
def list_trusted(output: Output = "text") -> None:
    """List the keys that are trusted here, and what is refused.

    First a short id, then the line that another machine needs.
    """
    with clear_errors():
        trusted = trusted_keys()
        keys, refused = trusted.read(), trusted.refused()
    if output == "json":
        typer.echo(json.dumps([*(_row(key) for key in keys), *({"refused": digest} for digest in refused)]))
        return
    for key in keys:
        typer.echo(f"{key.id}  {key}")
    for digest in refused:
        typer.echo(f"{digest[:16]}  refused {digest}")
    if not keys:
        typer.echo(f"{trusted.path} trusts nobody: engines of the package alone are loaded", err=True)


@trust.command("rm")
def remove(which: Annotated[str, typer.Argument(help="What `trust ls` shows first, or its beginning.")]) -> None:
    """Trust a key no more; or take a refusal back.

    What a key alone signed is refused the next time that engines are loaded. Replicas that have loaded them run on:
    start them again.
    """
    with clear_errors():
        gone = trusted_keys().remove(which)
    if isinstance(gone, str):
        typer.echo(f"{gone[:16]} is not refused any more")
    else:
        typer.echo(f"{gone.id} is not trusted any more; replicas that run have its engines until they start again")


def _row(key: PublicKey) -> dict[str, str]:
    return {"id": key.id, "name": key.name, "public": str(key)}
