"""Engines that a model with adapters has from its base: those of the components that no adapter changes.

`build.py` asks. Of a large model the text encoder and the VAE are most of what an export takes, and LoRA changes the
denoiser alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engines import key as keys
from engines import models
from engines.checkpoints import adapters as adapter_files
from engines.checkpoints.adapters import AdapterFile
from engines.errors import EngineNotBuilt, EngineUnverified
from engines.manifest import UNVERIFIED, EngineEntry
from engines.objects import base_of
from engines.precision import Precisions, suffix
from engines.runtimes.base import Runtime
from engines.store import Built, EngineStore
from engines.threads import in_daemon


@dataclass(frozen=True)
class Reused:
    """An engine of the base, under the name of the model that has it too. Files beside it are here."""

    entry: EngineEntry
    """Compared with nothing yet."""
    engine: bytes


async def of_base(
    model: models.Model,
    layer: Built,
    runtime: Runtime,
    device: str,
    adapters: Sequence[AdapterFile],
    precisions: Precisions,
) -> dict[str, Reused]:
    """By component; none where the model has no adapters, or its base no engines of these precisions for this device.

    Raises `CheckpointUnfit` for an adapter that does not fit, `EngineUntrusted`, `EngineCorrupt`.
    """
    if model.recorded is None or not adapters:
        return {}
    changed = await in_daemon(lambda: _changed(model, adapters))
    base = models.Recorded(model.recorded.digests).digest
    try:
        variant = f"{runtime.name}-{device}{suffix(precisions)}"
        found = await EngineStore(built=layer).find(base_of(model.name), base, variant)
    except (EngineNotBuilt, EngineUnverified):
        return {}
    reused = {}
    for entry in found.manifest.engines:
        # What another version made may have other components, and what it compiled may not load here.
        known = entry.component in model.family.components
        if known and entry.component not in changed and entry.runtime_version == runtime.bound_to():
            await found.weights(entry)
            reused[entry.component] = Reused(_renamed(entry, model), await found.read(entry))
    return reused


def _changed(model: models.Model, adapters: Sequence[AdapterFile]) -> frozenset[str]:
    """Components that the adapters change. Not for a loop's own thread: a bucket is read through it."""
    layers = model.layers()
    read = [adapter_files.read(file, layers, model.name) for file in adapters]
    return frozenset(change.layer.component for adapter in read for change in adapter.changes)


def _renamed(entry: EngineEntry, model: models.Model) -> EngineEntry:
    assert model.recorded is not None
    spec = replace(entry.spec, model=model.name, weights_digest=model.recorded.digest)
    key = keys.engine_key(
        spec,
        graph_digest=entry.graph_digest,
        runtime_version=entry.runtime_version,
        weights=[file.sha256 for file in entry.weights],
    )
    return replace(entry, spec=spec, key=key, parity=UNVERIFIED)
