"""One release for the whole story, and the table of what was seen of it, printed at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.table import Row, markdown
from tests.e2e.given import Given, given, missing
from tests.e2e.load import Load
from tests.e2e.release import NAME, TENANTS, Release

_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[_ROWS]:
        terminalreporter.section("seen on the cluster")
        terminalreporter.write_line(markdown(rows))


@pytest.fixture(scope="session")
def what_is_given() -> Given:
    if reason := missing():
        pytest.skip(reason)
    return given()


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> list[Row]:
    """Rows of the table."""
    return pytestconfig.stash[_ROWS]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if kept := os.environ.get("E2E_FOLDER"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    return tmp_path_factory.mktemp("release")


@pytest.fixture(scope="session")
def release(what_is_given: Given, folder: Path) -> Iterator[Release]:
    """Of the chart in this checkout, which the first test installs and the last one takes away; or one that stands."""
    made = Release.kept(what_is_given, folder)
    stands = made is not None
    if made is None:
        made = Release(what_is_given, f"longtake-e2e-{secrets.token_hex(3)}", folder)
    try:
        if not stands:
            made.prepare(what_is_given)
        yield made
    finally:
        if not (os.environ.get("E2E_FOLDER") and made.stands()):
            made.forget()
            made.helm("uninstall", NAME, "--ignore-not-found", "--wait")
            made.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="session")
def load(release: Release, folder: Path) -> Iterator[Load]:
    """Two clients at work, from the first test that asks for it."""
    ours, theirs = ((tenant, release.keys[tenant]) for tenant in TENANTS[:2])
    load = Load(release.address(), release.store, ours, theirs, folder)
    load.begin()
    try:
        yield load
    finally:
        load.end()
