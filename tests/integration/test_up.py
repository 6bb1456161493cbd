"""`longtake up` as a user meets it: what keeps it from starting is one line, and Ctrl-C leaves no process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from serving.local.process_tree import descendants
from tests import servers
from tests.integration.house import House, fetch

_FREE = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
_LISTENS = "0A"
_LOOPBACKS = ("0100007F:", "00000000000000000000000001000000:", "0000000000000000FFFF00000100007F:")
"""127.0.0.1, ::1 and the former as IPv6, as /proc writes them."""
_UP = [sys.executable, "-P", "-c", "import typer; from serving.cli.up import up; typer.run(up)"]


_NO_HOME = "/proc/nobody"
"""Nothing can be written there, and nothing needs to be."""


def _up(tmp_path: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    """Start it with a store and logs of its own, in a folder with files that are called like modules."""
    stands = tmp_path / "stands"
    for name in ("random.py", "engines/__init__.py", "ray/__init__.py"):
        (stands / name).parent.mkdir(parents=True, exist_ok=True)
        (stands / name).write_text("raise SystemExit('imported from where somebody stands')")
    return subprocess.Popen(
        [*_UP, "--logs", str(tmp_path / "logs"), *options],
        cwd=stands,
        env={**os.environ, "LONGTAKE_STORE": str(tmp_path / "store"), "HOME": _NO_HOME, **env},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _refused(child: subprocess.Popen[str]) -> str:
    """The one line that says why it does not start."""
    _, said = child.communicate(timeout=60)
    assert child.returncode == 2, said
    errors = [line for line in said.splitlines() if "error: " in line]
    assert len(errors) == 1, said
    assert "Traceback" not in said
    assert "starting Ray" not in said
    return errors[0]


def test_a_taken_port_is_one_line_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        line = _refused(_up(tmp_path, "--grpc", address))

    assert "grpc.address" in line
    assert address in line


def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no directory")

    assert str(tmp_path / "file") in _refused(_up(tmp_path, "--store", str(tmp_path / "file"), *_FREE))


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"LONGTAKE_STAGES__SLOTS": "none"}, "stages.slots"),
        ({"LONGTAKE_GRPC__ADDRESS": "0.0.0.0:0"}, "auth.keys_file"),
        ({"LONGTAKE_CONFIG": "/no/such/file.toml"}, "/no/such/file.toml"),
        ({"LONGTAKE_MODEL": "dalle"}, "model"),
    ],
)
def test_a_broken_setting_is_one_line_that_names_it(tmp_path: Path, env: dict[str, str], named: str) -> None:
    free = {"LONGTAKE_GRPC__ADDRESS": "127.0.0.1:0", "LONGTAKE_HTTP__ADDRESS": "127.0.0.1:0"}

    assert named in _refused(_up(tmp_path, **{**free, **env}))


def test_one_longtake_has_a_folder_to_itself_and_ctrl_c_while_it_starts_leaves_no_process_behind(
    tmp_path: Path,
) -> None:
    child = _up(tmp_path, *_FREE)
    _wait_for(child, "starting Ray Serve")

    line = _refused(_up(tmp_path, "--logs", str(tmp_path / "other logs"), *_FREE))
    assert f"another Longtake (process {child.pid}) works in {tmp_path / 'store'}" in line
    line = _refused(_up(tmp_path, "--store", str(tmp_path / "other store"), *_FREE))
    assert f"works in {tmp_path / 'logs'}: stop it, or name another folder for logs (--logs)" in line

    _interrupt(child, tmp_path)


@contextmanager
def _s3(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A store and what is to be set for it: on a real server, where there is the program."""
    if servers.program("weed") is None:
        yield str(tmp_path / "store"), {}
        return
    keys = {"LONGTAKE_S3_ACCESS_KEY": servers.ACCESS_KEY, "LONGTAKE_S3_SECRET_KEY": servers.SECRET_KEY}
    with servers.seaweedfs_server(tmp_path / "server") as server:
        yield server.url, {"LONGTAKE_MARK": str(tmp_path / "store"), **keys}


@pytest.mark.timeout(600)
def test_parts_that_are_killed_come_back_and_the_job_goes_on(tmp_path: Path) -> None:
    """On an S3 store; Ctrl-C ends all of it. One installation for that: its start and its end take longest."""
    with _s3(tmp_path) as (store, env):
        child = _up(tmp_path, "--store", store, *_FREE, **env)
        address = _wait_for(child, "Longtake is ready").partition("gRPC ")[2].split()[0]
        house = House(address, store=store, metrics="", pid=child.pid)

        root = house.made(house.create(seconds=1))
        assert _heard_from_outside(child.pid) == {}
        longer = house.made(house.extend(root))
        assert longer.frames == 33
        assert len(fetch(longer.url)) > len(fetch(root.url))

        collector = _collector(child.pid)
        os.kill(collector, signal.SIGKILL)
        assert _collector(child.pid, but=collector) != collector

        video = house.create(seconds=3, steps=50)
        parts = (("serving.frontdoor", "the front door"), ("serving.deployments.host", "the stages (Ray)"))
        for module, _ in parts:
            (pid,) = [pid for pid in descendants(child.pid) if module in _command(pid)]
            os.kill(pid, signal.SIGKILL)
        _wait_for_all(child, {f"{name} is back" for _, name in parts})
        assert house.made(video).frames == 49
        _interrupt(child, tmp_path)


def _heard_from_outside(root: int) -> dict[str, str]:
    """Ports on which its processes listen for others than this machine, each with the process that does."""
    names = {}
    for pid in descendants(root):
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                names[str(link.readlink())] = _command(pid)
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{root}/net/{table}").read_text().splitlines()[1:]:
            _, address, _, state, *rest = line.split()
            owner = names.get(f"socket:[{rest[5]}]")
            if state == _LISTENS and owner and not address.startswith(_LOOPBACKS):
                found[address] = owner
    return found


def _collector(root: int, but: int = 0) -> int:
    """The collector's process, when there is one."""
    ends = time.monotonic() + 60
    while True:
        found = [pid for pid in descendants(root) if "serving.retention" in _command(pid) and pid != but]
        if found:
            return found[0]
        assert time.monotonic() < ends, "no collector"
        time.sleep(0.1)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_killing_it_ends_the_rest_too(tmp_path: Path) -> None:
    child = _up(tmp_path, *_FREE)
    _wait_for(child, "starting Ray Serve")

    (session,) = {temp for pid in descendants(child.pid) for temp in _temp(pid)}
    child.kill()
    child.communicate(timeout=60)

    ends = time.monotonic() + 120
    while left := [pid for pid in _everybody() if str(tmp_path / "store") in _environment(pid)]:
        assert time.monotonic() < ends, left
        time.sleep(0.1)
    assert not session.exists()


def _wait_for(child: subprocess.Popen[str], words: str) -> str:
    """The line with these words."""
    assert child.stderr is not None
    said = ""
    for line in child.stderr:
        said += line
        if words in line:
            return line
    raise AssertionError(said)


def _wait_for_all(child: subprocess.Popen[str], all_words: set[str]) -> None:
    """Until it has said all of this, in any order."""
    assert child.stderr is not None
    left = set(all_words)
    for line in child.stderr:
        left = {words for words in left if words not in line}
        if not left:
            return
    raise AssertionError(f"it never said {left}")


def _interrupt(child: subprocess.Popen[str], tmp_path: Path) -> None:
    """Ctrl-C, and nothing is left of what was running."""
    started = descendants(child.pid)
    assert started
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    living = set(_everybody())
    assert not living.intersection(started)
    assert not [pid for pid in living if str(tmp_path / "store") in _environment(pid)]


def _temp(pid: int) -> list[Path]:
    """The folder that the host was told to use."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return [Path(words[words.index("--temp") + 1])] if "--temp" in words else []


def _everybody() -> list[int]:
    """Living processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(int(folder.name))
    return found


def _environment(pid: int) -> str:
    """What a process was started with; our settings are in it."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
