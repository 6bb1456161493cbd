"""The engines of an installation: where a model's are looked for, whether they are there, and how they are loaded.

The front door asks for their digests, `up` and `doctor` check them before anything starts, the stages and `reproduce`
load them. Which models there are, `model_store.py` knows.
"""

from __future__ import annotations

import asyncio
import importlib.util

from engines import models
from engines.errors import EngineError
from engines.families.base import EngineCall
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


def built(store: Store, settings: Engines, *, key: SigningKey | None = None) -> Built:
    """The engines in this store that a trusted key signed; `key` signs those that are published."""
    weights = WeightsFolder(settings.weights_folder)
    return Built(EngineObjects(store), TrustedKeys(settings.trusted_keys), key=key, weights=weights)


async def find(model: models.Model, store: Store, settings: Engines) -> Found:
    """A model's engines: in the package, else among those built into this store and signed by a trusted key. Raises
    `EngineMissing`."""
    with known_errors():
        layers = EngineStore(Prebuilt(model.prebuilt), built(store, settings))
        return await layers.find(model.name, model.weights_digest(), settings.variant)


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
        if settings.triton:
            (await open_found(served.family, found, server=settings.triton)).close()
            return found
        check_here(found.manifest)
        for component in served.family.components:
            await found.read(found.manifest.entry(component))
            await (found.weights if fetch else found.look)(found.manifest.entry(component))
    return found


async def load(name: str, store: Store, settings: Engines, *, threads: int, call: EngineCall | None = None) -> Session:
    """Load a model's engines, or only those that this call of its family uses, their digests checked; `threads` 0 is
    one per core. Where a server runs them, they are called there.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    served = await model_store.find(name, store)
    found = await find(served, store, settings)
    components = None if call is None else served.family.uses[call]
    with known_errors():
        return await open_found(served.family, found, threads=threads, components=components, server=settings.triton)
