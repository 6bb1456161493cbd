"""`python -m serving.frontdoor` as a process: how it starts, what it says when it cannot, how it stops."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from serving import reports
from serving.gen.longtake.v1 import models_pb2, models_pb2_grpc

LONGEST_S = 60


def environment(folder: Path, **settings: str) -> dict[str, str]:
    free = {"LONGTAKE_GRPC__ADDRESS": "127.0.0.1:0", "LONGTAKE_HTTP__ADDRESS": "127.0.0.1:0"}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LONGTAKE_STORE": str(folder / "store"),
        **free,
        **settings,
    }


@contextmanager
def door(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A running front door and the addresses that it told."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "serving.frontdoor", "--reports", str(write)]
    process = subprocess.Popen(command, env=environment(folder, **settings), pass_fds=[write], stderr=subprocess.PIPE)
    os.close(write)
    try:
        assert select.select([read], [], [], LONGEST_S)[0]
        with os.fdopen(read, "rb") as pipe:
            yield process, dict(reports.read(pipe.readline()).ready)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def refusal(folder: Path, **settings: str) -> str:
    """What a front door that cannot start says."""
    command = [sys.executable, "-m", "serving.frontdoor"]
    done = subprocess.run(
        command, env=environment(folder, **settings), capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


def test_it_serves_the_shipped_model_and_stops_on_a_signal(tmp_path: Path) -> None:
    with door(tmp_path) as (process, addresses):
        with grpc.insecure_channel(addresses["grpc"]) as channel:
            models = models_pb2_grpc.ModelsStub(channel).ListModels(models_pb2.ListModelsRequest())
        with urllib.request.urlopen(f"http://{addresses['http']}/readyz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)

        assert process.wait(LONGEST_S) == 0
        assert process.stderr is not None
        events = [json.loads(line)["event"] for line in process.stderr.read().splitlines()]

    assert [model.default for model in models.models].count(True) == 1
    assert "listening" in events
    assert events[-1] == "stopped"


@pytest.mark.parametrize("name", ["grpc", "http"])
def test_a_taken_port_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(tmp_path, **{f"LONGTAKE_{name.upper()}__ADDRESS": address})

    assert address in said
    assert f"LONGTAKE_{name.upper()}__ADDRESS" in said


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"LONGTAKE_MODEL": "nothing"}, "sprite-2"),
        ({"LONGTAKE_GRPC__ADDRESS": "0.0.0.0:0"}, "auth.keys_file"),
        ({"LONGTAKE_STORE": "ftp://somewhere"}, "ftp"),
        ({"LONGTAKE_HTTP__ADDRESS": "0.0.0.0:0"}, "http.public_url"),
        ({"LONGTAKE_AUTH__KEYS_FILE": "/nowhere/keys.jsonl"}, "/nowhere/keys.jsonl"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_fix(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    assert says in refusal(tmp_path, **settings)
