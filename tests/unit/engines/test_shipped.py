"""The engines that ship keep their keys: what was recorded with them (videos, checkpoints, caches) stays theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engines import models
from engines.key import digest_of, engine_key
from engines.manifest import Manifest
from engines.runtimes.base import Source
from engines.runtimes.registry import SHIPPED

KEYS = {
    "vae_encoder": "1e796d18e311e92d9fea3735d1b1d064cc70f6796e21745d05024547597d9b5a",
    "vae_decoder_first": "ea09909690adf978e09a26eb723d7d0608e28ca8e44609210e84d973049d526d",
    "vae_decoder_step": "0c8b1ebd0a376a8de3cd57aae548357d2a1bb5caec082d3294ddd6088bad86ac",
    "dit": "5793abdbf5767e8cf507e514f88cf951d35bcf5cd7b067a1d2f3998f2d8b51f8",
}
MODEL_DIGEST = "e5a624f995c63048d47024423f1708b3f0a91524d58ad855345061763303ebe3"
MANIFEST_SHA256 = "095ecfbc0d4b86ca4026909ee7e7b4bd410303e4e23b6110c3228c99a25fdd0e"


@pytest.fixture
def folder() -> Path:
    return models.find("sprite").prebuilt


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return Manifest.from_json((folder / "manifest.json").read_bytes(), where="prebuilt")


def test_the_manifest_is_byte_for_byte_what_was_published(folder: Path, manifest: Manifest) -> None:
    data = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == MANIFEST_SHA256
    assert manifest.to_json() == data


def test_keys_and_digest_are_those_that_were_recorded(manifest: Manifest) -> None:
    assert {entry.component: entry.key for entry in manifest.engines} == KEYS
    assert manifest.digest == models.find("sprite").digest() == MODEL_DIGEST


def test_a_build_of_the_same_graphs_would_give_the_same_keys(folder: Path, manifest: Manifest) -> None:
    for entry in manifest.engines:
        runtime = SHIPPED.find(entry.spec.runtime)
        graph = (folder / f"{entry.component}{runtime.suffix}").read_bytes()
        assert runtime.compile(Source(graph, pytest.fail), entry.spec, print) == graph
        made = engine_key(entry.spec, graph_digest=digest_of(graph), runtime_version=runtime.bound_to())
        assert made == KEYS[entry.component]
