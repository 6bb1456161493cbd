"""The models that Longtake ships: which family serves each, and where its weights and prebuilt engines lie.

The front door asks for capabilities and digests, the stages for families, the CLI for all of it. The families
themselves are registered in `families/registry.py`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.checkpoints import diffusers
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit, EngineNotBuilt
from engines.families.base import Family
from engines.families.buildable import BuildableFamily
from engines.families.registry import CHECKPOINTS, PLACES
from engines.key import canonical_json, digest_of
from engines.manifest import missing_message
from engines.runtimes.registry import SHIPPED as RUNTIMES
from engines.runtimes.registry import Runtimes
from engines.store import EngineStore, Prebuilt


@dataclass(frozen=True)
class Model:
    """One model of the registry."""

    family: BuildableFamily
    prebuilt: Path
    """Folder of its prebuilt engines."""
    weights: Path
    """Folder of its weights, *.safetensors."""

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.family.capabilities.model

    def weights_digest(self) -> str | None:
        """The digest of the shipped weights; None where they are not there."""
        return digest_of_weights(self.weights)

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

    def __init__(self, places: Iterable[str]) -> None:
        """`places` are the classes that implement `BuildableFamily`, as `module:class`; imported when first asked."""
        self._places = tuple(places)
        self._made: tuple[Model, ...] = ()

    def all(self) -> tuple[Model, ...]:
        """Every model, the default first."""
        if not self._made:
            families: list[BuildableFamily] = [pkgutil.resolve_name(place)() for place in self._places]
            self._made = tuple(Model(family, family.prebuilt, family.weights) for family in families)
        return self._made

    def find(self, name: str) -> Model:
        """The model of this name or alias. Raises `ValueError` naming those that are there."""
        for model in self.all():
            if name == model.name or name in model.family.capabilities.aliases:
                return model
        raise ValueError(f"model: {name!r} is not known; there is {', '.join(model.name for model in self.all())}")


_SHIPPED: Final = Models(PLACES)


def all_models() -> tuple[Model, ...]:
    """Every model of this installation, the default first."""
    return _SHIPPED.all()


def opened(folder: Path, *, name: str) -> Model:
    """The model of a checkpoint in diffusers' form that requests call `name`.

    Raises `CheckpointUnfit` for a folder that is none, or of a pipeline that no family here reads.
    """
    pipeline = str(diffusers.read_json(Folder(folder), diffusers.INDEX).get("_class_name"))
    if pipeline not in CHECKPOINTS:
        raise CheckpointUnfit(f"{folder}: {pipeline} is read by no family here; there is {', '.join(CHECKPOINTS)}")
    family: BuildableFamily = pkgutil.resolve_name(CHECKPOINTS[pipeline])(folder, name=name)
    return Model(family, family.prebuilt, family.weights)


def find(name: str) -> Model:
    """The model of this name or alias. Raises `ValueError` naming those that are there."""
    return _SHIPPED.find(name)


def family(name: str) -> Family:
    """The family that serves a model, by name or alias. Raises `ValueError`."""
    return find(name).family


def digest_of_weights(folder: Path) -> str | None:
    """The digest of a folder's weights, by file name and contents; None where there are none.

    Of a checkpoint in diffusers' form it covers every file that the checkpoint is made of.
    """
    if (folder / diffusers.INDEX).is_file():
        source = Folder(folder)
        return diffusers.digest(diffusers.record(source, diffusers.inspect(source)))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    return digest_of(canonical_json({file.name: digest_of(file.read_bytes()) for file in files}))
