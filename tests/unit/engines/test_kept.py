"""What a machine keeps of what it made: whole, its owner's alone, and never tried twice by who dies of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import kept, weights
from engines.kept import Kept, KeptFile
from engines.weights import WeightsFile, WeightsFolder

DATA = b"kernels" * 100
Spoil = Callable[[Path], object]


@pytest.fixture
def place(tmp_path: Path) -> Kept:
    return Kept(WeightsFolder(tmp_path / "deep" / "weights"), "e" * 64)


@pytest.fixture
def file(place: Kept) -> KeptFile:
    return again(place)


def again(place: Kept) -> KeptFile:
    """The file as another process sees it."""
    return place.file("kernels", "sm89-cuda13000-1.7")


def loaded(file: KeptFile) -> bytes | None:
    with file.tried() as trial:
        return trial.data


def names(place: Kept) -> list[str]:
    return sorted(path.name for path in place.folder.path.iterdir())


def test_what_was_put_is_there_at_the_next_start_and_its_owner_s_alone(place: Kept, file: KeptFile) -> None:
    assert loaded(file) is None
    before = os.umask(0)
    try:
        assert file.put(DATA)
    finally:
        os.umask(before)
    assert loaded(again(place)) == loaded(again(place)) == DATA
    assert names(place) == [file.path.name]
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert place.folder.path.stat().st_mode & 0o777 == 0o700


def test_each_device_version_and_engine_has_its_own(place: Kept, file: KeptFile) -> None:
    assert file.put(DATA)
    for other in (place.file("kernels", "sm89-cuda13000-1.8"), place.file("timings", "sm89-cuda13000-1.7")):
        assert loaded(other) is None
    assert loaded(Kept(place.folder, "f" * 64).file("kernels", "sm89-cuda13000-1.7")) is None


def test_the_same_bytes_are_not_written_again(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    written = file.path.stat().st_ino
    other = again(place)
    assert loaded(other) == DATA
    assert other.put(DATA)
    assert file.put(DATA)
    assert file.path.stat().st_ino == written
    assert other.put(DATA + b"one more")
    assert file.path.stat().st_ino != written
    assert loaded(again(place)) == DATA + b"one more"


def test_what_is_refused_goes_and_is_written_anew(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    other = again(place)
    with other.tried() as trial:
        trial.refuse()
    assert names(place) == []
    assert other.put(DATA)
    assert loaded(again(place)) == DATA


def test_an_error_while_it_is_loaded_is_no_fault_of_it(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    with pytest.raises(KeyboardInterrupt), again(place).tried():
        raise KeyboardInterrupt
    assert loaded(again(place)) == DATA


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["cut", "flipped", "empty"],
)
def test_torn_bytes_are_given_to_nobody_and_go(place: Kept, file: KeptFile, spoil: Spoil) -> None:
    file.put(DATA)
    spoil(file.path)
    assert loaded(again(place)) is None
    assert names(place) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o700 | 0o010])
def test_a_file_that_others_may_read_or_write_is_not_loaded(place: Kept, file: KeptFile, mode: int) -> None:
    file.put(DATA)
    file.path.chmod(mode)
    other = again(place)
    assert loaded(other) is None
    assert other.put(DATA)  # it takes the other's place
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert loaded(again(place)) == DATA


def test_a_file_of_another_user_is_not_loaded(place: Kept, file: KeptFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.put(DATA)
    there = os.fstat

    def of_another(opened: int) -> os.stat_result:
        values = list(there(opened))
        values[4] += 1  # st_uid
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", of_another)
    assert loaded(again(place)) is None
    monkeypatch.undo()
    assert loaded(again(place)) == DATA


def test_links_and_what_is_no_file_are_not_loaded(place: Kept, file: KeptFile, tmp_path: Path) -> None:
    file.put(DATA)
    file.path.rename(tmp_path / "elsewhere")
    file.path.symlink_to(tmp_path / "elsewhere")
    assert loaded(again(place)) is None
    file.path.unlink()
    os.mkfifo(file.path, 0o600)
    assert loaded(again(place)) is None
    file.path.unlink()
    file.path.mkdir()
    assert loaded(again(place)) is None
    assert not again(place).put(DATA)


def test_in_a_folder_that_others_may_write_nothing_is_kept_or_loaded(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    place.folder.path.chmod(0o770)
    assert loaded(again(place)) is None
    assert not again(place).put(DATA + b"2")


def test_a_folder_that_cannot_be_made_keeps_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    file = Kept(WeightsFolder(tmp_path / "taken" / "weights"), "e").file("kernels", "here")
    assert loaded(file) is None
    assert not file.put(DATA)


def test_a_full_disk_leaves_what_was_there(place: Kept, file: KeptFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.put(DATA)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not file.put(DATA + b"2")
    assert names(place) == [file.path.name]
    assert loaded(again(place)) == DATA


def run(place: Kept, within: str) -> subprocess.Popen[str]:
    """Another process that loads the file, and does something while it is at it."""
    code = f"""
import os, pathlib, signal, sys, time
from engines.kept import Kept
from engines.weights import WeightsFolder
file = Kept(WeightsFolder(pathlib.Path({str(place.folder.path)!r})), {place.of!r}).file("kernels", "sm89-cuda13000-1.7")
with file.tried() as trial:
    print(trial.data is not None, flush=True)
    {within}
"""
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_a_process_crashed_on_is_dropped_at_the_next_start(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    with run(place, "os.kill(os.getpid(), signal.SIGSEGV)") as child:
        assert child.communicate()[0] == "True\n"
    assert child.returncode == -signal.SIGSEGV
    assert names(place) == [f"{file.path.name}{kept.TRYING}"]
    assert loaded(again(place)) is None
    assert names(place) == []
    assert again(place).put(DATA)
    assert loaded(again(place)) == DATA


def test_processes_that_start_at_once_all_load_it(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    with run(place, "sys.stdin.readline()") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        other = again(place)
        assert loaded(other) == DATA
        with other.tried() as trial:
            trial.refuse()  # it goes only when nobody is at it
        assert names(place) == [f"{file.path.name}{kept.TRYING}"]
        assert other.put(DATA + b"made meanwhile")
        child.communicate("go on\n")
    assert child.returncode == 0
    assert loaded(again(place)) in (DATA, DATA + b"made meanwhile")
    assert names(place) == [file.path.name]


def test_of_two_that_load_it_at_once_the_crash_of_the_one_that_marked_it_counts(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    with run(place, "sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert loaded(again(place)) == DATA
        child.communicate("go on\n")
    assert loaded(again(place)) is None
    assert names(place) == []


def test_many_that_start_at_once_and_again_leave_it_whole(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    found: list[bytes | None] = []

    def start() -> None:
        for _ in range(20):
            mine = again(place)
            found.append(loaded(mine))
            mine.put(DATA)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert DATA in found
    assert set(found) <= {DATA, None}
    assert loaded(again(place)) == DATA
    assert names(place) == [file.path.name]


def test_one_writes_and_the_other_leaves_it_to_him(place: Kept, file: KeptFile) -> None:
    place.folder.prepare()
    opened = weights.claimed(file.path.with_name(f"{file.path.name}{weights.PARTIAL}"))
    assert opened is not None
    with opened:
        assert not file.put(DATA)
    assert file.put(DATA)


def test_a_folder_that_is_cleared_meanwhile_is_written_again(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    other = again(place)
    with other.tried() as trial:
        assert trial.data == DATA
        for path in place.folder.path.iterdir():
            path.unlink()
    assert other.put(DATA)
    assert loaded(again(place)) == DATA


def test_what_was_not_used_for_long_goes_when_another_comes_and_weights_stay(place: Kept, file: KeptFile) -> None:
    file.put(DATA)
    crashed = place.file("kernels", "sm80-cuda12000-1.6")
    crashed.put(DATA)
    crashed.path.rename(f"{crashed.path}{kept.TRYING}")
    used = place.file("kernels", "sm86-cuda13000-1.7")
    used.put(DATA)
    held: WeightsFile = place.folder.put([b"weights"])
    then = time.time() - weights.UNUSED_S - 60
    for path in place.folder.path.iterdir():
        os.utime(path, (then, then))
    assert loaded(used) == DATA
    place.file("timings", "sm89-cuda13000-1.7").put(DATA)
    assert names(place) == sorted([held.sha256, used.path.name, place.file("timings", "sm89-cuda13000-1.7").path.name])
