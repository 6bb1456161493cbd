"""A checkpoint in diffusers' form: `model_index.json`, and a folder of configuration and weights for each component.

`inspect` reads the small files and the headers of the large ones, and no weight; a family then says whether it knows
what it finds (`families/wan/architecture.py`). Neither torch nor diffusers is imported, pickles are not opened, and
code that a checkpoint brings is never run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engines import key as keys
from engines.checkpoints import shards
from engines.checkpoints.files import Files, digest_of, read_small
from engines.checkpoints.shards import Shard, Tensor
from engines.errors import CheckpointUnfit

INDEX: Final = "model_index.json"
STEMS: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""What a library's weights are called, before `.safetensors`; a component of any other library is refused."""
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARD_NAME: Final = re.compile(r"\w[\w.+-]*\.safetensors")
_TOKENIZER: Final = "tokenizer.json"
_CONFIGURATIONS: Final = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Component:
    """One part of a pipeline."""

    name: str
    """Its folder."""
    library: str
    architecture: str
    """Its class, as `model_index.json` names it."""
    config: Mapping[str, Any]
    shards: tuple[Shard, ...]
    """None for a scheduler or a tokenizer."""

    @property
    def parameters(self) -> int:
        """Values in all its tensors."""
        return sum(tensor.parameters for shard in self.shards for tensor in shard.tensors)

    @property
    def bytes_by_dtype(self) -> dict[str, int]:
        """Bytes of weights by their type."""
        found: Counter[str] = Counter()
        for shard in self.shards:
            for tensor in shard.tensors:
                found[tensor.dtype] += tensor.end - tensor.begin
        return dict(found)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself, all checked that can be checked without reading weights."""

    pipeline: str
    """The class of the pipeline that it was saved from."""
    options: Mapping[str, Any]
    """The pipeline's own values in `model_index.json`, such as `boundary_ratio`."""
    components: Mapping[str, Component]
    files: tuple[str, ...]
    """All that it is made of, sorted: a digest of each makes the checkpoint's."""

    def component(self, name: str) -> Component:
        """Raises `CheckpointUnfit` for one that it has not."""
        if name not in self.components:
            raise CheckpointUnfit(f"{INDEX}: no {name}; a {self.pipeline} checkpoint has one: copy it again, whole")
        return self.components[name]


def inspect(files: Files) -> Checkpoint:
    """Read all but the weights. Raises `CheckpointUnfit`, one line that says what to do."""
    names = files.names()
    index = read_json(files, INDEX)
    components, options = {}, {}
    for name, said in index.items():
        if name.startswith("_"):
            continue
        if isinstance(said, list) and len(said) == 2:
            if said != [None, None]:
                components[name] = _component(files, names, name, said)
        else:
            options[name] = said
    return Checkpoint(
        pipeline=str(index.get("_class_name")),
        options=options,
        components=components,
        files=tuple(sorted({INDEX, *(file for part in components.values() for file in _files_of(names, part))})),
    )


def record(files: Files, checkpoint: Checkpoint) -> dict[str, str]:
    """sha256 by file. Reads every byte once."""
    return {name: digest_of(files, name) for name in checkpoint.files}


def digest(digests: Mapping[str, str]) -> str:
    """The digest of a whole checkpoint, of what `record` found."""
    return keys.digest_of(keys.canonical_json(digests))


def stream(files: Files, component: Component, digests: Mapping[str, str]) -> Iterator[tuple[Tensor, bytes]]:
    """A component's tensors with their bytes, shard by shard, each shard's digest checked at its end."""
    for shard in component.shards:
        yield from shards.stream(files, shard, digests[shard.file])


def read_json(files: Files, name: str) -> dict[str, Any]:
    """One of the small files. Raises `CheckpointUnfit` unless it is there and a JSON object."""
    try:
        value = json.loads(read_small(files, name))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointUnfit):
            raise
        raise CheckpointUnfit(f"{name}: no JSON ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise CheckpointUnfit(f"{name}: a {type(value).__name__} where an object belongs; copy it again")
    return value


def _files_of(names: frozenset[str], component: Component) -> Iterator[str]:
    """What is read of a component. What else lies there (weights once more, in half precision; notes) is left alone."""
    yield from (shard.file for shard in component.shards)
    stem = STEMS[component.library]
    for file in (*_CONFIGURATIONS, _TOKENIZER, f"{stem}.safetensors.index.json"):
        if f"{component.name}/{file}" in names:
            yield f"{component.name}/{file}"


def _component(files: Files, names: frozenset[str], name: str, said: list[Any]) -> Component:
    library, architecture = map(str, said)
    if not re.fullmatch(r"\w+", name):
        raise CheckpointUnfit(f"{INDEX}: {name!r} is no component's name: do not use this checkpoint")
    if library not in STEMS:
        raise CheckpointUnfit(
            f"{INDEX}: {name} is of {library!r}, whose code would come with the checkpoint and is never run; "
            f"components are of {' or '.join(STEMS)}"
        )
    config = next((read_json(files, f"{name}/{file}") for file in _CONFIGURATIONS if f"{name}/{file}" in names), {})
    if "auto_map" in config:
        raise CheckpointUnfit(f"{name}: its configuration names code of its own (auto_map), which is never run")
    weights = _shards(files, names, name, STEMS[library])
    if weights and f"{name}/config.json" not in names:
        # The library's defaults would stand for it, and what does not fit them would be blamed on the weights.
        raise CheckpointUnfit(f"{name}/config.json: not there; copy the checkpoint again, whole")
    return Component(name, library, str(architecture), config, weights)


def _shards(files: Files, names: frozenset[str], name: str, stem: str) -> tuple[Shard, ...]:
    whole, index = f"{name}/{stem}.safetensors", f"{name}/{stem}.safetensors.index.json"
    if index in names:
        return _sharded(files, names, name, index)
    if whole in names:
        return (shards.read_shard(files, whole),)
    inside = [file for file in sorted(names) if file.startswith(f"{name}/")]
    if pickled := [file for file in inside if file.endswith(PICKLED)]:
        raise CheckpointUnfit(
            f"{pickled[0]}: weights as a pickle, which is never opened; save them with "
            "save_pretrained(..., safe_serialization=True)"
        )
    if other := [file for file in inside if file.endswith(".safetensors")]:
        raise CheckpointUnfit(f"{other[0]}: weights of {name} are looked for in {whole}; rename or save them again")
    if f"{name}/config.json" in names:
        raise CheckpointUnfit(f"{whole}: not there; copy the checkpoint again, whole")
    if not inside:
        raise CheckpointUnfit(f"{name}/: {INDEX} names it, and it is not there; copy the checkpoint again, whole")
    return ()


def _sharded(files: Files, names: frozenset[str], name: str, index: str) -> tuple[Shard, ...]:
    placed = read_json(files, index).get("weight_map")
    if not isinstance(placed, dict):
        raise CheckpointUnfit(f"{index}: no weight_map; copy it again")
    found: dict[str, Shard] = {}
    for shard in sorted({str(file) for file in placed.values()}):
        if not _SHARD_NAME.fullmatch(shard):
            raise CheckpointUnfit(f"{index}: {shard!r} is no file beside it: do not use this checkpoint")
        if f"{name}/{shard}" not in names:
            raise CheckpointUnfit(f"{name}/{shard}: the index names this shard, and it is not there; copy it too")
        found[shard] = shards.read_shard(files, f"{name}/{shard}")
    holds = {tensor.name: shard for shard, read in found.items() for tensor in read.tensors}
    wrong = sorted(tensor for tensor in placed.keys() | holds.keys() if placed.get(tensor) != holds.get(tensor))
    if wrong:
        raise CheckpointUnfit(f"{index}: the shards do not hold {wrong[0]} as it says; copy shards and index again")
    return tuple(found.values())
