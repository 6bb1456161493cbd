"""The engines that ship keep their keys: what was recorded with them (videos, checkpoints, caches) stays theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engines import models
from engines.key import digest_of, engine_key
from engines.manifest import Manifest
from engines.runtimes.registry import SHIPPED

KEYS = {
    "text_encoder": "92117d209e29de51e820f15891192a2c14103118f59d60bb6175041ce35f78d6",
    "vae_encoder": "fdb74303b60f11aa24a88b3d78e7fbe7fc3de118a240c24f1936ff3a6a0f92f6",
    "vae_decoder_first": "0e789f7b1dfd17c9ac1acdb74d718b2a9d159fd3d27e64d6fe193f9d69165ae2",
    "vae_decoder_step": "960af2d4445b7cffa92a14a9a69e2b33a797796d9f49344c546e1ff521a15c3f",
    "dit": "88d8e6c0f4df7d0fb2064d2ca16afb1332a4e448afd0ddaccf9cf9168744143e",
}
MODEL_DIGEST = "26bb26f12b4ca18dded115d54101f83bda60896dbefe32b9463fea9373231ba3"
MANIFEST_SHA256 = "b19f60ca0a2e86b88101295e2321a5576b380d807c8183f026803726518bd1f6"


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
        assert runtime.compile(graph, entry.spec, print) == graph
        made = engine_key(entry.spec, graph_digest=digest_of(graph), runtime_version=runtime.bound_to())
        assert made == KEYS[entry.component]
