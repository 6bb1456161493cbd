"""One local Longtake (Ray, stages, front door) and one API server for the whole test run, which all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.local.embedded import Embedded
from serving.logs import STREAM
from serving.settings import Grpc, Http, Settings, Stages, Uploads
from tests.integration.house import House

if TYPE_CHECKING:
    from tests.kubernetes import ApiServer

HERE = Path(__file__).parent
BESIDE = ("test_s3_", "test_store_", "test_other_")
"""How the files begin that start servers of their own, and no Ray."""


@pytest.hookimpl(tryfirst=True)  # before the hook that reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that starts Ray runs in one worker: one Ray at a time, and one for all tests that share it."""
    for item in items:
        if HERE in item.path.parents and not item.path.name.startswith(BESIDE):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session")
def embedded_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A fresh directory store, free ports, and two Denoisers, so that slices have a choice to go astray."""
    return Settings(
        store=str(tmp_path_factory.mktemp("longtake") / "store"),
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        uploads=Uploads(allow_loopback_urls=True),
        stages=Stages(replicas={"denoiser": 2}),
    )


@pytest.fixture(scope="session")
def house(embedded_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running Longtake, all of whose processes log to one file, as a cluster's collector has it."""
    logs = tmp_path_factory.mktemp("logs")
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:  # for its processes, and not for the tests that come by meanwhile
            patch.setenv(STREAM, str(logs / "all.log"))
            embedded = running.enter_context(Embedded(embedded_settings, logs=logs))
        ready, store = embedded.ready, embedded_settings.store
        yield House(ready.grpc, store=store, metrics=ready.metrics, pid=embedded.pid, log=logs / "all.log")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that knows our kinds; each test has a namespace of its own there."""
    from tests.integration.kube import knowing_our_kinds

    with knowing_our_kinds(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running
