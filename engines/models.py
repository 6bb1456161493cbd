"""The models that Longtake ships: which family serves each, and where its weights and prebuilt engines lie.

The front door asks for capabilities and digests, the stages for families, the CLI for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engines.errors import EngineMissing
from engines.families.base import Family
from engines.families.sprite.family import SpriteFamily
from engines.key import canonical_json, digest_of
from engines.manifest import missing_message
from engines.store import EngineStore, Prebuilt

if TYPE_CHECKING:
    from engines.families.sprite.graphs import GraphSpec


@dataclass(frozen=True)
class Model:
    """One model of the registry."""

    family: Family
    prebuilt: Path
    """Folder of its prebuilt engines."""
    weights: Path
    """Folder of its weights, *.safetensors."""

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.family.capabilities.model

    def graphs(self, weights: Path) -> Mapping[str, GraphSpec]:
        """Its components as torch modules with these weights. Needs torch."""
        from engines.families.sprite import graphs

        return graphs.components(weights)


_SPRITE: Final = Path(__file__).parent / "families" / "sprite"
_MODELS: Final = (Model(SpriteFamily(), _SPRITE / "prebuilt", _SPRITE / "weights"),)


def all_models() -> tuple[Model, ...]:
    """Every model, the default first."""
    return _MODELS


def find(name: str) -> Model:
    """The model of this name or alias. Raises `ValueError` naming those that are there."""
    for model in _MODELS:
        if name == model.name or name in model.family.capabilities.aliases:
            return model
    raise ValueError(f"model: {name!r} is not known; there is {', '.join(model.name for model in _MODELS)}")


def family(name: str) -> Family:
    """The family that serves a model, by name or alias. Raises `ValueError`."""
    return find(name).family


def digest_of_weights(folder: Path) -> str | None:
    """The digest of a folder's weights, by file name and contents; None where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    return digest_of(canonical_json({file.name: digest_of(file.read_bytes()) for file in files}))


def weights_digest(name: str) -> str | None:
    """The digest of a model's shipped weights; None where they are not there."""
    return digest_of_weights(find(name).weights)


def package_store(name: str) -> EngineStore:
    """The store that holds a model's prebuilt engines alone."""
    return EngineStore(Prebuilt(find(name).prebuilt))


def model_digest(name: str) -> str:
    """The digest over a model's weights and prebuilt engines, as jobs record it; reads small files only.

    Raises `EngineMissing` where the package has no engines for its weights: ask `EngineStore.find` of a store
    then.
    """
    model = find(name)
    manifest = Prebuilt(model.prebuilt).manifest(model.name, weights_digest(name))
    if manifest is None:
        raise EngineMissing(missing_message(model.name, "prebuilt engines"))
    return manifest.digest
