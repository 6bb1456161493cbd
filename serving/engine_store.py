"""The engines of an installation: where a model's are looked for, whether they are there, and how they are loaded.

The front door asks for their digests, `up` and `doctor` check them before anything starts, the stages and `reproduce`
load them. Which models there are, `model_store.py` knows.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterable, Mapping
from typing import Final

from engines import models
from engines.errors import EngineError
from engines.families.base import EngineCall, Family
from engines.manifest import Manifest
from engines.session import Session, check_here, open_found
from engines.signing import SigningKey
from engines.store import Built, EngineStore, Found, Prebuilt
from engines.trust import TrustedKeys
from engines.weights import WeightsFolder
from serving import model_store
from serving.engine_objects import EngineObjects, known_errors
from serving.errors import EngineMissing
from serving.settings import Engines
from serving.store.base import Store

TEXT: Final = "encode_text"


def built(store: Store, settings: Engines, *, key: SigningKey | None = None) -> Built:
    """The engines in this store that a trusted key signed; `key` signs those that are published."""
    weights = WeightsFolder(settings.weights_folder)
    return Built(EngineObjects(store), TrustedKeys(settings.trusted_keys), key=key, weights=weights)


async def find(model: models.Model, store: Store, settings: Engines) -> Found:
    """A model's engines: in the package, else among those built into this store and signed by a trusted key. Raises
    `EngineMissing`."""
    return await _find(model, store, settings, settings.variant)


async def _find(model: models.Model, store: Store, settings: Engines, variant: str) -> Found:
    with known_errors():
        layers = EngineStore(Prebuilt(model.prebuilt), built(store, settings))
        return await layers.find(model.name, model.weights_digest(), variant)


def _by_variant(family: Family, settings: Engines, components: Iterable[str]) -> Mapping[str, list[str]]:
    """Which of the components are of which variant, the model's usual one first."""
    apart = family.uses[TEXT] if settings.text_encoder_variant else ()
    found: dict[str, list[str]] = {}
    for component in sorted(components, key=lambda component: component in apart):
        found.setdefault(settings.text_encoder_variant if component in apart else settings.variant, []).append(
            component
        )
    return found


async def made_by(digest: str, name: str, store: Store, settings: Engines) -> Manifest | None:
    """What is known of a model's engines by their digest, whatever they are for: of the package, or of this store and
    signed by a trusted key. None where they are not there any more. Raises `SettingsError` for a model that is not
    known."""
    model = await model_store.find(name, store)
    with known_errors():
        manifest = await asyncio.to_thread(Prebuilt(model.prebuilt).manifest, model.name, None)
    if manifest is not None and manifest.digest == digest:
        return manifest
    layer = built(store, settings)
    for whose, set_name in await layer.sets():
        if whose != model.name:
            continue
        try:
            manifest = await layer.manifest(whose, set_name)
        except EngineError:  # damaged, or somebody else's: it says nothing
            continue
        if manifest is not None and manifest.digest == digest:
            return manifest
    return None


async def check(name: str, store: Store, settings: Engines, *, fetch: bool = True) -> Found:
    """The same for a model's name or alias, each engine read and its digest checked, where they can be loaded; weights
    beside them are here then, or, if they shall not be fetched, in the store by their sizes. Of engines that a server
    runs, whether it has them.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    served = await model_store.find(name, store)
    found = await find(served, store, settings)
    missing = [package for package in served.family.packages if importlib.util.find_spec(package) is None]
    if missing:
        family = served.family.capabilities.family
        raise EngineMissing(f"{name} needs {', '.join(missing)}, not installed: pip install 'longtake[{family}]'")
    with known_errors():
        for variant, components in _by_variant(served.family, settings, served.family.components).items():
            their = found if variant == settings.variant else await _find(served, store, settings, variant)
            if settings.triton:
                (await open_found(served.family, their, components=components, server=settings.triton)).close()
                continue
            check_here(their.manifest)
            for entry in map(their.manifest.entry, components):
                await their.read(entry)
                await (their.weights if fetch else their.look)(entry)
    return found


async def load(name: str, store: Store, settings: Engines, *, threads: int, call: EngineCall | None = None) -> Session:
    """Load a model's engines, or only those that this call of its family uses, their digests checked; `threads` 0 is
    one per core. Where a server runs them, they are called there.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    served = await model_store.find(name, store)
    family = served.family
    components = family.components if call is None else family.uses[call]
    loaded: list[Session] = []
    try:
        for variant, names in _by_variant(family, settings, components).items() or [(settings.variant, [])]:
            found = await _find(served, store, settings, variant)
            with known_errors():
                loaded.append(
                    await open_found(family, found, threads=threads, components=names, server=settings.triton)
                )
    except BaseException:
        for session in loaded:
            session.close()
        raise
    first, *others = loaded
    if not others:
        return first
    runners = {name: runner for session in loaded for name, runner in session.runners.items()}
    return Session(family, runners, digest=first.digest, memory=first.memory)
