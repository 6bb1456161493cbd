"""What engines need of an object store, and where they lie in it. Strings and a protocol, nothing else.

    engines/<model>/<weights digest>[.<variant>]/                   a set: the engines of a model
        manifest-1.json                                             published last: engines without it do not exist
        compiled-1.json                                             as one, of engines that nobody verified yet
        signatures/<sha256 of the manifest>-<id of the key>         64 bytes, written before the manifest
        building                                                    who builds it now (`claims.py`)
    engines/blobs/<sha256>                                          an engine's bytes, or a file of weights beside one;
                                                                    sets may share them
    models/<name>/                                                  a model that an operator brought (`added.py`)
        record.json
        files-<sha256>

A model with adapters is called `base+name`, and its folders `base.WITH.name`: keys have no `+`, and names of models no
capital letters.

A variant is a runtime and a device, `tensorrt_rtx-sm89`, and the precision where it is not float32,
`tensorrt_rtx-sm89-bf16` (`precision.py`). The usual one, which the first versions built alone, is not named; `set_name`
makes the folder's name of both.

`store.py` reads and writes there, `serving/engine_objects.py` has `Objects` over Longtake's own store.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from engines.key import digest_of

ENGINES: Final = "engines/"
BLOBS: Final = "engines/blobs/"
MODELS: Final = "models/"
FORMAT: Final = 1
"""Of manifests; also in their key, whatever format they are of: a set has one manifest."""
MANIFEST_BYTES: Final = 64 << 20
"""Of the largest manifest; what lies in a store is not believed to be small."""
_MODEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_PLUS: Final = ".WITH."
"""What stands in a key where the name of a model has a plus."""
USUAL: Final = "onnxruntime-cpu"
"""The variant of portable graphs, which run on any machine."""
_MANIFESTS: Final = re.compile(r"(manifest|compiled)-.*")
_CLAIM: Final = "building"
_OF_A_SET: Final = re.compile(rf"(manifest|compiled)-[0-9]+\.json|signatures/[0-9a-f]{{64}}-[0-9a-f]{{16}}|{_CLAIM}")
_SET: Final = re.compile(r"engines/(?P<model>[A-Za-z0-9._-]+)/(?P<set_name>[A-Za-z0-9._-]+)/(?P<name>.+)")


class HasData(Protocol):
    """An object as it was at one moment."""

    @property
    def data(self) -> bytes:
        """Its bytes."""

    @property
    def version(self) -> str:
        """What `replace` must name."""


class Objects(Protocol):
    """An object store. What is away for now raises the store's own error."""

    async def get(self, key: str, *, limit: int) -> HasData | None:
        """The object, or None. Raises `EngineCorrupt` for one of more than `limit` bytes, which is not read."""

    async def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """`length` bytes from `start`, fewer at the end of the object; None without an object."""

    async def size(self, key: str) -> int | None:
        """Bytes of the object; None without one."""

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create the object; False when it is there already."""

    async def replace(self, key: str, data: bytes, expected: str) -> bool:
        """Replace it if its version is `expected`; False when it is not."""

    async def keep(self, key: str, data: bytes | Path) -> None:
        """Put what is named by its digest, there already or not; no collection takes it for the next minutes. A file is
        streamed."""

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """Keys that begin so."""


class SetKey(NamedTuple):
    """A key below a set's folder, taken apart."""

    model: str
    set_name: str
    name: str

    @property
    def known(self) -> bool:
        """Whether this version, or the next one's manifest, has such a name."""
        return _OF_A_SET.fullmatch(self.name) is not None

    @property
    def is_claim(self) -> bool:
        """Whether it says who builds the set."""
        return self.name == _CLAIM

    @property
    def is_manifest(self) -> bool:
        """Whether it names bytes of engines, in whatever format."""
        return _MANIFESTS.fullmatch(self.name) is not None


def read_set_key(key: str) -> SetKey | None:
    """None for what is not below a set's folder."""
    found = _SET.fullmatch(key)
    if found is None or key.startswith(BLOBS):
        return None
    return SetKey(found["model"].replace(_PLUS, "+"), found["set_name"], found["name"])


def set_name(weights_digest: str, variant: str) -> str:
    """What a set's folder is called within its model's."""
    return weights_digest if variant == USUAL else f"{weights_digest}.{variant}"


def read_set_name(name: str) -> tuple[str, str]:
    """The inverse: weights digest and variant."""
    weights_digest, _, variant = name.partition(".")
    return weights_digest, variant or USUAL


def set_folder(model: str, set_name: str) -> str:
    """Begins every key of a set."""
    return f"{ENGINES}{_folder(model)}/{set_name}/"


def manifest_key(model: str, set_name: str) -> str:
    """The set's manifest."""
    return f"{set_folder(model, set_name)}manifest-{FORMAT}.json"


def compiled_key(model: str, set_name: str) -> str:
    """What stands for the manifest until the set is verified."""
    return f"{set_folder(model, set_name)}compiled-{FORMAT}.json"


def claim_key(model: str, set_name: str) -> str:
    """Who builds the set."""
    return f"{set_folder(model, set_name)}{_CLAIM}"


def signatures_of(model: str, set_name: str) -> str:
    """Begins every signature of a set."""
    return f"{set_folder(model, set_name)}signatures/"


def signature_key(model: str, set_name: str, manifest: bytes, key_id: str) -> str:
    """A signature over these bytes by this key."""
    return f"{signatures_of(model, set_name)}{digest_of(manifest)}-{key_id}"


def blob_key(sha256: str) -> str:
    """An engine's bytes, or a file of weights."""
    return f"{BLOBS}{sha256}"


def too_large(key: str, limit: int) -> str:
    """What to tell of an object that nobody of us wrote."""
    return f"{key}: more than {limit >> 10} KiB, and none of Longtake's: find out whose it is, and remove this object"


def is_model_name(name: str) -> bool:
    """Whether a model that is added may be called so: `base`, or `base+name`."""
    parts = name.split("+")
    return len(parts) <= 2 and all(_MODEL.fullmatch(part) for part in parts) and f"{ENGINES}{name}/" != BLOBS


def base_of(name: str) -> str:
    """The model that adapters were merged into to make this one; itself where it has none."""
    return name.partition("+")[0]


def model_key(name: str) -> str:
    """The record of a model that an operator brought."""
    return f"{MODELS}{_folder(name)}/record.json"


def model_files_key(name: str, sha256: str) -> str:
    """What is kept of its files; a model with adapters has those of its base."""
    return f"{MODELS}{base_of(name)}/files-{sha256}"


def model_in(key: str) -> str | None:
    """The name in `model_key`; None for any other key."""
    name = key.removeprefix(MODELS).removesuffix("/record.json").replace(_PLUS, "+")
    return name if is_model_name(name) and key == model_key(name) else None


def _folder(model: str) -> str:
    return model.replace("+", _PLUS)
