"""The models that Longtake ships: which family serves each, and where its weights and prebuilt engines lie.

The front door asks for capabilities and digests, the stages for families, the CLI for all of it. The families
themselves are registered in `families/registry.py`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engines import key as keys
from engines.checkpoints import diffusers
from engines.checkpoints.adapters import Layer
from engines.checkpoints.deltas import AdapterRecord
from engines.checkpoints.files import Files, digest_of
from engines.errors import CheckpointUnfit, EngineNotBuilt
from engines.families.base import Family
from engines.families.buildable import AdaptableFamily, BuildableFamily, Sizes
from engines.families.registry import CHECKPOINTS, PLACES
from engines.manifest import missing_message
from engines.runtimes.registry import SHIPPED as RUNTIMES
from engines.runtimes.registry import Runtimes
from engines.store import EngineStore, Prebuilt


@dataclass(frozen=True)
class Recorded:
    """What a model that was added is made of, as it was when it was added."""

    digests: Mapping[str, str]
    """sha256 by file of its checkpoint."""
    adapters: tuple[AdapterRecord, ...] = ()
    """Merged into its weights, in this order."""

    @property
    def digest(self) -> str:
        """Of all that decides its weights."""
        checkpoint = diffusers.digest(self.digests)
        if not self.adapters:
            return checkpoint
        merged = [[adapter.sha256, adapter.scale] for adapter in self.adapters]
        return keys.digest_of(keys.canonical_json({"checkpoint": checkpoint, "adapters": merged}))


@dataclass(frozen=True)
class Model:
    """One model of the registry."""

    family: BuildableFamily
    prebuilt: Path
    """Folder of its prebuilt engines."""
    weights: Files
    """Where its weights lie, *.safetensors."""
    recorded: Recorded | None = None
    """What its weights were when it was added: they are not read to serve it, and are compared when engines are built.
    """

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.family.capabilities.model

    def weights_digest(self) -> str | None:
        """The digest of its weights; None where they are not there."""
        return self.recorded.digest if self.recorded else digest_of_weights(self.weights)

    def layers(self) -> Mapping[str, Layer]:
        """What adapters may change, by every name of a layer. Raises `CheckpointUnfit` for a family that takes none."""
        if not isinstance(self.family, AdaptableFamily):
            raise CheckpointUnfit(
                f"{self.name} takes no adapters: they are merged into models of Wan checkpoints alone"
            )
        return self.family.layers()

    def package_store(self, runtimes: Runtimes = RUNTIMES) -> EngineStore:
        """The store that holds the prebuilt engines alone."""
        return EngineStore(Prebuilt(self.prebuilt, runtimes=runtimes))

    def digest(self) -> str:
        """The digest over weights and prebuilt engines, as jobs record it; reads small files only.

        Raises `EngineNotBuilt` where the package has no engines for its weights: ask `EngineStore.find` of a store
        then.
        """
        manifest = Prebuilt(self.prebuilt).manifest(self.name, self.weights_digest())
        if manifest is None:
            raise EngineNotBuilt(missing_message(self.name, "prebuilt engines"))
        return manifest.digest


class Models:
    """Models by name and alias, the default first."""

    def __init__(self, places: Iterable[str] = PLACES, added: Iterable[Model] = ()) -> None:
        """`places` are the classes that implement `BuildableFamily`, as `module:class`; imported when first asked.
        `added` are those that an operator brought."""
        self._places = tuple(places)
        self._added = tuple(added)
        self._made: tuple[Model, ...] = ()

    def all(self) -> tuple[Model, ...]:
        """Every model, the default first."""
        if not self._made:
            families: list[BuildableFamily] = [pkgutil.resolve_name(place)() for place in self._places]
            shipped = [Model(family, family.prebuilt, family.weights) for family in families]
            self._made = (*shipped, *self._added)
        return self._made

    def find(self, name: str) -> Model:
        """The model of this name or alias. Raises `ValueError` naming those that are there."""
        for model in self.all():
            if name == model.name or name in model.family.capabilities.aliases:
                return model
        raise ValueError(f"model: {name!r} is not known; there is {', '.join(model.name for model in self.all())}")

    def family(self, name: str) -> Family:
        """The family that serves a model, by name or alias. Raises `ValueError`."""
        return self.find(name).family


_SHIPPED: Final = Models()


def all_models() -> tuple[Model, ...]:
    """Every model of this installation, the default first."""
    return _SHIPPED.all()


def opened(
    files: Files,
    *,
    name: str,
    sizes: Sizes | None = None,
    recorded: Recorded | None = None,
    step_cache: float = 0.0,
) -> Model:
    """The model of a checkpoint in diffusers' form that requests call `name`.

    `recorded` is what it was when it was added: then its small files are enough. Raises `CheckpointUnfit` for what is
    none, or of a pipeline that no family here reads, or is not made in these sizes, or computes every step and is given
    a `step_cache`.
    """
    pipeline = str(diffusers.read_json(files, diffusers.INDEX).get("_class_name"))
    if pipeline not in CHECKPOINTS:
        raise CheckpointUnfit(
            f"{diffusers.INDEX}: {pipeline} is read by no family here; there is {', '.join(CHECKPOINTS)}"
        )
    family: BuildableFamily = pkgutil.resolve_name(CHECKPOINTS[pipeline])(files, name=name, sizes=sizes or Sizes())
    if step_cache:
        if family.capabilities.step_cache is None:
            raise CheckpointUnfit(f"step_cache: {name} computes every step: `longtake models step-cache {name} 0`")
        family.capabilities = replace(family.capabilities, step_cache=step_cache)
    return Model(family, family.prebuilt, family.weights, recorded)


def ships(name: str) -> bool:
    """Whether a model of this name or alias comes with the package."""
    return any(name in (model.name, *model.family.capabilities.aliases) for model in all_models())


def find(name: str) -> Model:
    """The model of this name or alias. Raises `ValueError` naming those that are there."""
    return _SHIPPED.find(name)


def family(name: str) -> Family:
    """The family that serves a model, by name or alias. Raises `ValueError`."""
    return find(name).family


def digest_of_weights(files: Files) -> str | None:
    """The digest of weights, by file name and contents; None where there are none.

    Of a checkpoint in diffusers' form it covers every file that the checkpoint is made of.
    """
    found = digests_of_weights(files)
    return diffusers.digest(found) if found else None


def digests_of_weights(files: Files) -> dict[str, str]:
    """sha256 of each file that `digest_of_weights` covers. Reads every byte once."""
    if diffusers.INDEX in files.names():
        return diffusers.record(files, diffusers.inspect(files))
    names = sorted(name for name in files.names() if name.endswith(".safetensors") and "/" not in name)
    return {name: digest_of(files, name) for name in names}
