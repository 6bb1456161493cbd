"""Names an engine by everything that decides its bytes, so that a file that merely exists proves nothing.

The store files engines under these keys, and manifests carry them. Nothing here but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engines.spec import EngineSpec


def digest_of(data: bytes) -> str:
    """sha256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """One spelling for equal values: sorted names, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def engine_key(spec: EngineSpec, *, graph_digest: str, runtime_version: str, weights: Sequence[str] = ()) -> str:
    """The engine's key.

    `graph_digest` is the sha256 of the exported ONNX graph. `runtime_version` is what the engine's bytes are
    bound to: the exact version for a runtime that compiles (a new one makes another key), and the format's
    version, e.g. `onnx-opset20`, where the engine is the portable graph itself. Which versions of a runtime
    may load a portable engine is for the manifest to say (`Manifest.runtime_versions`).
    `weights` are the digests of the files beside the engine, in order.
    """
    value = {"spec": spec.to_json(), "graph_digest": graph_digest, "runtime_version": runtime_version}
    return digest_of(canonical_json({**value, "weights": list(weights)} if weights else value))


def name_on_server(component: str, model_digest: str, engine: str) -> str:
    """What a server that runs engines for us calls this one: `engine` is the sha256 of its bytes.

    One that was built anew, from the same graph too, has another name: nobody calls it for the one of before.
    """
    return f"{component}-{model_digest[:12]}-{engine[:12]}"


def model_digest(keys: Iterable[str]) -> str:
    """The digest of a model as it is served: over the keys of all its engines."""
    return digest_of(canonical_json({"engines": sorted(keys)}))
