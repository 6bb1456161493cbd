"""What `longtake engines ls` and `explain` tell, in plain values: which engines there are, who made and uses them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serving.cli.engine_access import built_in, opened
from serving.cli.stores import opened_store
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, TEXT_ENCODER

if TYPE_CHECKING:
    from engines.families.base import EngineCall
    from engines.manifest import EngineEntry, Manifest
    from engines.models import Model
    from engines.signing import PublicKey
    from engines.store import Built, Found
    from serving.store.base import Store

_CALLERS: dict[EngineCall, str] = {
    "encode_text": TEXT_ENCODER,
    "encode_video": CONDITIONER,
    "step": DENOISER,
    "decode": RENDERER,
}
"""Which stage makes which call of a family (`deployments/replicas.py`)."""


async def engines_of(name: str, store_url: str | None, variant: str | None) -> dict[str, Any]:
    """A model's engines as they are loaded, or would be if they were verified; each one's digest checked, and the sizes
    of weights beside it: those are not fetched to be looked at."""
    from engines.errors import EngineError

    async with opened(name, store_url, variant, unverified=True) as (model, found):
        rows = []
        for entry in found.manifest.engines:
            problem = None
            try:
                await found.read(entry)
                await found.look(entry)
            except EngineError as error:
                problem = str(error)
            rows.append(_of_engine(model, entry, problem))
        compared = await _compared(found)
        for row in rows:
            row["compared"] = [one for one in compared if one["component"] == row["component"]]
        return {**_of_set(found.manifest), "layer": found.layer.name, **await _signed(found), "engines": rows}


async def _compared(found: Found) -> list[dict[str, Any]]:
    """By component and batch, of the report beside the engines; nothing without one."""
    from engines.blobs import REPORT
    from engines.errors import EngineError

    with contextlib.suppress(EngineError):  # whoever asks for the report itself is told
        data = await found.paper(REPORT)
        return [] if data is None else list(json.loads(data)["components"])
    return []


async def all_sets(store_url: str | None) -> list[dict[str, Any]]:
    """Every set of the package and of the store, whether it would be loaded or not."""
    from engines import models
    from engines.objects import USUAL
    from engines.store import Prebuilt
    from serving.settings import load_settings

    rows, chosen = [], load_settings().engines.variant
    async with opened_store(store_url) as store:
        built, served = built_in(store), await _served(store)
        for model in models.all_models():
            manifest = Prebuilt(model.prebuilt).manifest(model.name, None)
            if manifest is not None:
                row = {**_summary(manifest), "layer": "prebuilt", "signer": "the package"}
                rows.append({**row, "state": _use(manifest, served, chosen or manifest.variant)})
        found = [await _of_built(built, *named, served, chosen or USUAL) for named in await built.sets()]
    return rows + [row for row in found if row is not None]


async def _served(store: Store) -> dict[str, str | None]:
    """Models that ship or were added, and the digest of their weights. A damaged record is told of by `models ls`."""
    from engines import models
    from engines.errors import EngineCorrupt
    from serving import model_store

    found = {model.name: model.weights_digest() for model in models.all_models()}
    added = model_store.added(store)
    for name in await added.names():
        with contextlib.suppress(EngineCorrupt):
            record = await added.get(name)
            found[name] = None if record is None else record.digest
    return found


async def _of_built(
    built: Built, model: str, name: str, served: Mapping[str, str | None], chosen: str
) -> dict[str, Any] | None:
    """None for a set that was removed."""
    from engines.errors import EngineError
    from engines.key import digest_of
    from engines.objects import read_set_name

    weights, variant = read_set_name(name)
    row: dict[str, Any] = {"model": model, "weights": weights[:12], "weights_digest": weights, "layer": "built"}
    row["variant"] = variant
    try:
        verified, data = True, await built.manifest_bytes(model, name)
        if data is None:
            verified, data = False, await built.manifest_bytes(model, name, verified=False)
        if data is None:
            return None
        row["manifest"] = digest_of(data)
        manifest = built.parse(model, name, data, verified=verified)
        row |= _summary(manifest)
        signer = await built.signer(model, name, data)
        return {**row, "signer": _name(signer), "state": _use(manifest, served, chosen)}
    except EngineError as error:
        return {**row, "signer": "", "state": f"REFUSED: {error}"}


async def _signed(found: Found) -> dict[str, str | None]:
    """By whom, and the digest of what was signed; None and None for the package, whose engines need no signature."""
    from engines.key import digest_of
    from engines.store import Prebuilt

    if isinstance(found.layer, Prebuilt):
        return {"signer": None, "manifest": None}
    model, name, verified = found.manifest.model, found.manifest.set_name, found.manifest.verified
    data = await found.layer.manifest_bytes(model, name, verified=verified) or b""
    return {"signer": _name(await found.layer.signer(model, name, data)), "manifest": digest_of(data)}


def _name(key: PublicKey) -> str:
    return f"{key.id} {key.name}".rstrip()


def _of_set(manifest: Manifest) -> dict[str, Any]:
    return {
        "model": manifest.model,
        "digest": manifest.digest,
        "weights_digest": manifest.weights_digest,
        "variant": manifest.variant,
        "verified": manifest.verified,
        "runtime_versions": list(manifest.runtime_versions),
        "verified_with": dict(manifest.verified_with),
    }


def _summary(manifest: Manifest) -> dict[str, Any]:
    size = sum(entry.bytes_in_all for entry in manifest.engines)
    return {
        **_of_set(manifest),
        "weights": manifest.weights_digest[:12],
        "engines": len(manifest.engines),
        "size": size,
        "MB": f"{size / 1e6:.2f}",
        "parity": _parity(max(entry.parity for entry in manifest.engines)),
    }


def _parity(value: float) -> float | None:
    """None before anybody compared the engines."""
    return value if math.isfinite(value) else None


def _use(manifest: Manifest, served: Mapping[str, str | None], chosen: str) -> str:
    """Whether they are the engines that this installation serves: of its weights, and of the chosen variant."""
    if not manifest.verified:
        return f"compiled, not verified: `verify --variant {manifest.variant}` on {manifest.device}"
    if manifest.model not in served:
        return "of a model that is not installed"
    if served[manifest.model] != manifest.weights_digest:
        return "of other weights: used by nobody"
    return "served" if manifest.variant == chosen else "verified; set `engines.variant` to serve them"


def _of_engine(model: Model, entry: EngineEntry, problem: str | None) -> dict[str, Any]:
    used = [stage for call, stage in _CALLERS.items() if entry.component in model.family.uses.get(call, ())]
    return {
        "component": entry.component,
        "key": entry.key,
        "runtime": entry.spec.runtime,
        "runtime_version": entry.runtime_version,
        "precision": entry.spec.precision,
        "profile": entry.spec.profile,
        "device": entry.spec.device,
        "graph_digest": entry.graph_digest,
        "sha256": entry.sha256,
        "size": entry.size,
        "weights": [vars(file) for file in entry.weights],
        "MB": f"{entry.bytes_in_all / 1e6:.2f}",
        "parity": _parity(entry.parity),
        "takes": [str(tensor) for tensor in entry.spec.component.inputs],
        "gives": [str(tensor) for tensor in entry.spec.component.outputs],
        "used by": ", ".join(used),
        "intact": problem is None,
        "digest": "intact" if problem is None else "NOT INTACT",
        "problem": problem,
    }
