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
    "vae_encoder": "e409b90c4d00c0f51fc33cd5da3fdacff96e77b0aef14745a178e5cfe790af4b",
    "vae_decoder_first": "9d99dacae2ee0f9b5446af0f2bc59a0cc0b0d8cb2dcbc3bceda7901fdf333c69",
    "vae_decoder_step": "0f08935291daddd45efde2ec2b84254eb7219e7230e854bff71a9111d6dcbde8",
    "dit": "f7d602d6e908c5baa0ed1cb2e5d0412d188ec101e5d93d2023ca9c52dbc49971",
}
MODEL_DIGEST = "392cc30e5b76f6ee1ce86a9842ec89b1bf4b19d34d0c8cdb97d054db9a25f41c"
MANIFEST_SHA256 = "b53507ce12af6a0a1653026a7d8a346aa4d85b0c9f69dbd51a06b1b09ca7d1d4"


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
