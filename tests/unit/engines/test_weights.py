"""The folder of weights: whole files or none, whoever writes to it at once, and whatever was killed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines import weights
from engines.errors import EngineCorrupt, EngineError, EngineUntrusted
from engines.weights import WeightsFile, WeightsFolder

DATA = bytes(range(256)) * 1000
FILE = WeightsFile(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
def folder(tmp_path: Path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "deep" / "weights")


async def chunk(start: int, length: int) -> bytes:
    return DATA[start : start + min(length, 5000)]


async def never(start: int, length: int) -> bytes:
    raise AssertionError("nothing is to be fetched")


def test_what_is_put_is_there_whole_and_is_not_fetched(folder: WeightsFolder) -> None:
    assert folder.put(DATA[at : at + 999] for at in range(0, len(DATA), 999)) == FILE
    assert folder.file(FILE).read_bytes() == DATA
    assert folder.path.stat().st_mode & 0o777 == 0o700
    asyncio.run(folder.hold(FILE, never, where="here"))


def test_a_write_that_fails_leaves_nothing(folder: WeightsFolder) -> None:
    def pieces() -> list[bytes]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        folder.put(piece for _ in range(2) for piece in pieces())

    async def broken(start: int, length: int) -> bytes:
        if start:
            raise ConnectionError("away")
        return await chunk(start, length)

    with pytest.raises(ConnectionError):
        asyncio.run(folder.hold(FILE, broken, where="here"))
    assert list(folder.path.iterdir()) == []


def test_a_full_disk_is_told_with_the_setting_and_nothing_is_left_of_the_file(folder: WeightsFolder) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        for write in (lambda: folder.put([DATA]), lambda: asyncio.run(folder.hold(FILE, chunk, where="here"))):
            with pytest.raises(EngineError, match=r"make room there, or name another folder in `engines\.weights"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.path.iterdir()) == []


def test_what_stands_in_the_way_is_told_with_the_setting(folder: WeightsFolder) -> None:
    folder.path.mkdir(mode=0o700, parents=True)
    folder.file(FILE).mkdir()  # nothing can take its place
    with pytest.raises(EngineError, match=r"make room there, or name another folder in `engines\.weights_folder`"):
        folder.put([DATA])


def test_what_a_killed_process_left_is_taken_over(folder: WeightsFolder) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from engines.weights import WeightsFile, WeightsFolder
async def stuck(start, length):
    if start:
        print("stuck", flush=True)
        await asyncio.sleep(600)
    return b"x" * 100
asyncio.run(WeightsFolder(Path({str(folder.path)!r})).hold(WeightsFile({FILE.sha256!r}, {FILE.size}), stuck, where=""))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (partial,) = folder.path.glob("*.partial")

        async def waits() -> None:
            waiting = asyncio.create_task(folder.hold(FILE, chunk, where="here"))
            await asyncio.sleep(3 * weights.POLL_S)
            assert not waiting.done()  # the other one writes
            assert partial.exists()
            child.send_signal(signal.SIGKILL)
            await asyncio.wait_for(waiting, 60)

        asyncio.run(waits())
    assert folder.file(FILE).read_bytes() == DATA
    assert list(folder.path.iterdir()) == [folder.file(FILE)]


def test_what_nobody_writes_or_uses_any_more_goes(folder: WeightsFolder) -> None:
    old = folder.put([b"old"])
    used = folder.put([b"used"])
    then = time.time() - weights.UNUSED_S - 60
    for file in (old, used):
        os.utime(folder.file(file), (then, then))
    (folder.path / f"left{weights.PARTIAL}").write_bytes(b"of a build that was killed")
    os.utime(folder.file(used))
    folder.put([DATA])
    assert {path.name for path in folder.path.iterdir()} == {used.sha256, FILE.sha256}


def test_a_load_counts_as_use(folder: WeightsFolder) -> None:
    folder.put([DATA])
    then = time.time() - weights.UNUSED_S + 60
    os.utime(folder.file(FILE), (then, then))
    asyncio.run(folder.hold(FILE, never, where="here"))
    assert folder.file(FILE).stat().st_mtime > then + 1


def test_a_machine_that_starts_again_after_months_still_has_all_of_it(folder: WeightsFolder) -> None:
    files = [folder.put([b"first"]), folder.put([b"second"])]
    then = time.time() - weights.UNUSED_S - 60
    for file in files:
        os.utime(folder.file(file), (then, then))
    for file in files:
        asyncio.run(folder.hold(file, never, where="here"))


def test_a_folder_that_others_may_write_is_refused(folder: WeightsFolder) -> None:
    folder.put([DATA])
    folder.path.chmod(0o777)
    with pytest.raises(EngineUntrusted, match="chmod go-w"):
        asyncio.run(folder.hold(FILE, never, where="here"))


def test_no_more_is_read_than_there_should_be(folder: WeightsFolder) -> None:
    asked = 0

    async def endless(start: int, length: int) -> bytes:
        nonlocal asked
        asked += length
        return bytes(length)

    with pytest.raises(EngineCorrupt, match="here: not the weights"):
        asyncio.run(folder.hold(FILE, endless, where="here"))
    assert asked <= FILE.size + 1
