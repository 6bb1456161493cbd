"""A builder of engines in a process of its own, as `longtake engines build` is one: its turn, its work, its signature.

    python -m tests.contract.engine_builder STORE HOME WEIGHTS SECONDS SILENT_S

Tells on stdout what it does. Only the compiler is left out: it sleeps for SECONDS instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from engines import key as keys
from engines.claims import Claims, Waiting
from engines.manifest import EngineEntry, Manifest
from engines.spec import ComponentSpec, EngineSpec
from engines.store import Built
from engines.trust import TrustedKeys, own_key
from serving.engine_objects import EngineObjects
from serving.store.base import Store
from serving.store.open import open_store

MODEL = "tiny-1"
COMPONENTS = ("encoder", "dit", "decoder")
ENGINE_BYTES = 3 << 20
Say = Callable[[str], None]


def engines(weights: str, model: str = MODEL) -> tuple[Manifest, dict[str, bytes]]:
    """The same for the same weights, as a build makes them."""
    entries, blobs = [], {}
    for name in COMPONENTS:
        seed = hashlib.sha256(f"{weights} {name}".encode()).digest()
        data = seed * (ENGINE_BYTES // len(seed))
        spec = EngineSpec(model, weights, ComponentSpec(name, (), (), {}), "onnxruntime", "float32", "small", "cpu")
        digest = keys.digest_of(data)
        key = keys.engine_key(spec, graph_digest=digest, runtime_version="onnx-opset20")
        entries.append(EngineEntry(key, spec, digest, "onnx-opset20", digest, len(data), 0.0))
        blobs[name] = data
    return Manifest(model, weights, tuple(entries), ("1.31", "2"), {"onnxruntime": "1.31.1"}, 0.0, ()), blobs


def layer(store: Store, home: Path) -> Built:
    """The engines in a store as a machine sees them whose keys lie in `home`."""
    trusted = TrustedKeys(home / "trusted")
    return Built(EngineObjects(store), trusted, key=own_key(home / "key.pem", trusted))


async def build_once(store: Store, home: Path, weights: str, say: Say, *, seconds: float, silent_s: float) -> None:
    """Build once, or take what another has built."""
    built = layer(store, home)

    def wait(other: Waiting) -> None:
        say(f"waits for {other.holder}, who is {other.doing}")

    async with Claims(built.objects, beat_s=0.1, silent_s=silent_s).turn(MODEL, weights, wait) as claim:
        if await built.manifest(MODEL, weights) is not None:
            say("took them")
        else:
            claim.doing = "compiling dit (2 of 3)"
            say("builds")
            await asyncio.sleep(seconds)
            say("publishes")
            await built.publish(*engines(weights))
            say("built them")


async def main(url: str, home: str, weights: str, seconds: str, silent_s: str) -> None:
    """In a process of its own."""
    store = await open_store(url, probe=False)

    def say(what: str) -> None:
        print(what, flush=True)

    await build_once(store, Path(home), weights, say, seconds=float(seconds), silent_s=float(silent_s))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
