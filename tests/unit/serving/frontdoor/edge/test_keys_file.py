"""The keys file: what damages a line, a byte or a disk does to it, and who changes it at once."""

from __future__ import annotations

import multiprocessing
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli.keys import app
from serving.errors import SettingsError, Unauthenticated
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.keys_file import StoredKey, add_key, digest_of, read_keys, remove_key
from tests.unit.serving.frontdoor.edge.answering import new_key


def stored(name: str) -> StoredKey:
    return StoredKey(id=f"key-{name}", tenant="t", name=name, sha256=digest_of(name), created=datetime.now(UTC))


def knows(keys: Keys, key: str) -> bool:
    try:
        keys.caller(f"Bearer {key}")
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize("damage", [b"\xff", b'{"id": 5}', "\u2028".encode(), b"[" * 100_000, b"\x00\x00"])
def test_a_damaged_line_keeps_no_other_from_being_removed_or_added(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "keys"
    first, second = new_key(path, "first"), new_key(path, "second")
    keys = Keys(path)
    with path.open("ab") as file:
        file.write(damage + b"\n")
    keys.refresh()
    assert knows(keys, first)
    gone = next(key.id for key in read_keys(path).keys if key.name == "first")
    assert CliRunner().invoke(app, ["rm", gone, "--file", str(path)]).exit_code == 0
    third = new_key(path, "third")
    keys.refresh()
    assert [knows(keys, key) for key in (first, second, third)] == [False, True, True]
    assert damage in path.read_bytes(), "what nobody can read is for a person to look at"
    listed = CliRunner().invoke(app, ["ls", "--file", str(path)])
    assert (listed.exit_code, "second" in listed.stdout, ":2: not a key" in listed.stderr) == (0, True, True)


def test_a_key_whose_own_line_was_damaged_stays_until_the_line_goes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = new_key(path, "first")
    keys = Keys(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff" + whole[60:])
    keys.refresh()
    assert knows(keys, first)
    path.write_bytes(b"")
    keys.refresh()
    assert not knows(keys, first)


def test_a_file_that_cannot_be_read_locks_nobody_out_and_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = new_key(path, "first")
    keys = Keys(path)
    data = path.read_bytes()
    path.unlink()
    keys.refresh()
    assert knows(keys, first)
    path.write_bytes(data.replace(b"first", b"other"))
    keys.refresh()
    assert keys.caller(f"bearer {first}").name == "other"


def test_a_start_with_nothing_but_damage_is_refused_by_the_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\n\xff\n")
    with pytest.raises(SettingsError, match=r"auth\.keys_file.*keys:2: not a key"):
        Keys(path)


@pytest.mark.parametrize("name", ["Kim\u2028laptop", "a\nb", "\x1b[2J", "x" * 201])
def test_a_name_is_one_plain_line(tmp_path: Path, name: str) -> None:
    made = CliRunner().invoke(app, ["add", name, "--file", str(tmp_path / "keys")])
    assert (made.exit_code, "--name" in made.stderr) == (2, True)
    assert not (tmp_path / "keys").exists()


def add_many(path: Path, prefix: str) -> None:
    for number in range(10):
        add_key(path, stored(f"{prefix}{number}"))


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, stored("old"))
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=add_many, args=(path, prefix)) for prefix in "abc"]
    for writer in writers:
        writer.start()
    assert remove_key(path, "key-old")
    for writer in writers:
        writer.join()
    assert {key.name for key in read_keys(path).keys} == {f"{p}{n}" for p in "abc" for n in range(10)}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, stored("old"))
    before, there = path.read_bytes(), sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(SettingsError, match="cannot be changed"):
            add_key(path, stored("new"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == (before, there)


def test_names_that_earlier_versions_took_are_keys_and_new_ones_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    old = stored("laptop").model_copy(update={"name": "Ann\u00a0Lee\u200d" + "x" * 300})
    add_key(path, old)
    assert [key.name for key in read_keys(path).keys] == [old.name]
    assert "\\xa0" in CliRunner().invoke(app, ["ls", "--file", str(path)]).stdout
    for name in ("Ann\u00a0Lee", "x" * 201):
        refused = CliRunner().invoke(app, ["add", name, "--file", str(path)])
        assert (refused.exit_code, "name: at most 200 characters" in refused.stderr) == (2, True)


def test_a_line_that_is_commented_out_is_a_key_no_more(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, _ = new_key(path, "first"), new_key(path, "second")
    keys = Keys(path)
    path.write_bytes(b"#" + path.read_bytes())
    keys.refresh()
    assert not knows(keys, first)
