"""`longtake engines keygen`, `sign`, `trust`, `ls --all`, `explain` and `rm`, as a user sees them."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engines.added import Added, Kept
from engines.families.buildable import Sizes
from engines.key import digest_of
from engines.manifest import Manifest
from engines.signing import SigningKey
from serving import model_store
from serving.cli.engines import app
from serving.cli.main import build
from serving.store.open import open_store
from tests.contract.engine_builder import MODEL, engines, layer

RUN = CliRunner()


def run(*words: str) -> Result:
    return RUN.invoke(app, list(words))


def did(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str, code: int) -> str:
    """What a command that must fail says, in one line."""
    result = run(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def keys_of(home: Path) -> Path:
    return home / ".longtake" / "engine-keys"


def objects(tmp_path: Path, part: str) -> list[Path]:
    return [path for path in (tmp_path / "store/objects/engines").rglob("*") if path.is_file() and part in str(path)]


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keygen_makes_a_key_that_is_the_owners_alone_and_trusted_here(home: Path) -> None:
    line = did("keygen", "--name", "builder 1").strip()
    assert line.startswith("ed25519 ")
    assert line.endswith(" builder 1")
    assert stat.S_IMODE((keys_of(home) / "key.pem").stat().st_mode) == 0o600
    assert did("trust", "ls").strip().endswith(line)
    assert "is there already" in refused("keygen", code=1)
    made = json.loads(did("keygen", "--key", str(home / "other.pem"), "-o", "json"))
    assert [row["id"] for row in json.loads(did("trust", "ls", "-o", "json"))][1] == made["id"]
    assert "a key's name" in refused("keygen", "--key", str(home / "third.pem"), "--name", "a\nb", code=2)
    assert not (home / "third.pem").exists()


def test_another_machine_trusts_a_line_or_a_file_of_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = did("keygen").strip()
    monkeypatch.setenv("HOME", str(home / "server"))
    assert "trusts nobody" in run("trust", "ls").stderr
    assert "trusted now" in did("trust", "add", line)
    assert "was trusted" in did("trust", "add", line)
    other = SigningKey.generate("other").public
    (home / "keys").write_text(f"# ours\n{line}\n{other}\n")
    assert did("trust", "add", str(home / "keys")).count("\n") == 2
    assert f"{other.id} is not trusted any more" in did("trust", "rm", other.id[:5])
    assert "names 0 lines" in refused("trust", "rm", other.id, code=1)
    for wrong in ("ed25519 AAAA", "nonsense", "rsa " + line.partition(" ")[2], "ed25519 \xc4\xd6\xdc=", "", "# none"):
        assert "ed25519 <base64" in refused("trust", "add", wrong, code=2)


@pytest.mark.parametrize("wrong", [b"ed25519 AAAA", b"\xff\xfe"])
def test_of_a_file_with_a_wrong_line_no_key_is_trusted(home: Path, tmp_path: Path, wrong: bytes) -> None:
    (tmp_path / "keys").write_bytes(f"{SigningKey.generate('first').public}\n".encode() + wrong)
    assert "ed25519 <base64" in refused("trust", "add", str(tmp_path / "keys"), code=2)
    assert "trusts nobody" in run("trust", "ls").stderr


def test_keys_that_are_pasted_together_are_all_told_of(home: Path) -> None:
    keys = [SigningKey.generate(name).public for name in ("first", "second")]
    told = did("trust", "add", "\n".join(map(str, keys)))
    assert [line.split()[0] for line in told.splitlines()] == [key.id for key in keys]


def test_a_key_that_others_may_read_is_refused_with_the_command(home: Path, stored: Manifest) -> None:
    (keys_of(home) / "key.pem").chmod(0o640)
    assert "chmod 600" in refused("sign", code=1)
    (keys_of(home) / "key.pem").chmod(0o600)
    (keys_of(home) / "trusted").chmod(0o664)
    for words in (("sign",), ("ls",), ("trust", "ls")):
        assert "chmod go-w" in refused(*words, code=1)


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_changed_by_signing_with_the_new_one_before_the_old_one_goes(home: Path, stored: Manifest) -> None:
    [old] = [row["id"] for row in json.loads(did("trust", "ls", "-o", "json"))]
    new = json.loads(did("keygen", "--key", str(home / "new.pem"), "-o", "json"))["id"]
    assert f"signed by {new}" in did("sign", "--key", str(home / "new.pem"))
    assert f"signed before by {new}" in did("sign", "--key", str(home / "new.pem"))
    assert "engines keygen --key" in refused("sign", "--key", str(home / "third.pem"), code=1)
    did("trust", "rm", old)
    assert json.loads(did("ls", "-o", "json"))["signer"].startswith(new)
    did("trust", "rm", new)
    assert "engines trust add" in refused("ls", code=1)


def test_what_nobody_trusted_signed_is_signed_only_by_who_says_so(tmp_path: Path, stored: Manifest) -> None:
    for signature in objects(tmp_path, "/signatures/"):
        signature.unlink()
    assert "engines sign --adopt" in refused("ls", code=1)
    assert "engines sign --adopt" in refused("sign", code=1)
    did("sign", "--adopt")
    did("ls")


def test_a_manifest_that_was_changed_is_not_signed_at_a_change_of_keys(
    home: Path, tmp_path: Path, stored: Manifest
) -> None:
    did("keygen", "--key", str(home / "new.pem"))
    [manifest] = objects(tmp_path, "manifest-1.json")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert "it was changed" in refused("sign", "--key", str(home / "new.pem"), code=1)


def test_an_engine_that_does_not_match_is_not_signed(home: Path, tmp_path: Path, stored: Manifest) -> None:
    did("keygen", "--key", str(home / "new.pem"))
    objects(tmp_path, "/blobs/")[0].write_bytes(b"x")
    for more in ((), ("--adopt",)):
        assert "not the engine" in refused("sign", "--key", str(home / "new.pem"), *more, code=1)


def test_the_packages_own_engines_need_no_signature(bare: Path) -> None:
    assert "need no signature" in refused("sign", code=3)


# ── sets ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ls_shows_every_set_and_why_one_is_refused(bare: Path, tmp_path: Path) -> None:
    [package] = json.loads(did("ls", "--all", "-o", "json"))
    assert (package["layer"], package["state"]) == ("prebuilt", "served")
    folder = tmp_path / "store/objects/engines/sprite-2/abc"
    folder.mkdir(parents=True)
    (folder / "manifest-1.json").write_text("{[/red]\x1b[2J")
    other = next(row for row in json.loads(did("ls", "--all", "-o", "json")) if row["layer"] == "built")
    assert "REFUSED: engines/sprite-2/abc/manifest-1.json: not a manifest" in other["state"]
    assert "\x1b" not in did("ls", "--all")


def test_ls_says_who_signed(stored: Manifest) -> None:
    signer = json.loads(did("trust", "ls", "-o", "json"))[0]["id"]
    [row] = json.loads(did("ls", "--all", "-o", "json"))
    assert (row["model"], row["layer"], row["state"]) == ("sprite-2", "built", "served")
    assert row["signer"].startswith(signer)
    assert signer in did("ls")
    assert signer in did("ls", "--all")


def test_ls_knows_the_weights_of_models_that_were_added(home: Path, tmp_path: Path) -> None:
    added = Added(MODEL, "/gone", (Kept("model_index.json", 2, "a" * 64, 0, 2),), digest_of(b"{}"), Sizes(), 0)

    async def fill() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        await model_store.added(store).put(added, b"{}")
        await layer(store, keys_of(home)).publish(*engines(added.digest))
        await layer(store, keys_of(home)).publish(*engines("other"))
        await store.close()

    asyncio.run(fill())
    rows = {row["weights_digest"]: row["state"] for row in json.loads(did("ls", "--all", "-o", "json"))}
    assert rows[added.digest] == "served"
    assert rows["other"] == "of other weights: used by nobody"


def test_explain_tells_all_of_one_engine(stored: Manifest) -> None:
    told = did("explain", "dit")
    entry = stored.entry("dit")
    for part in (entry.key, entry.sha256, entry.graph_digest, stored.weights_digest, "denoiser", "signed by", "intact"):
        assert part in told
    assert json.loads(did("explain", entry.key[:10], "-o", "json"))["component"] == "dit"
    assert "there is vae_encoder" in refused("explain", "nothing", code=2)


def test_explain_of_a_damaged_engine_fails(stored: Manifest, tmp_path: Path) -> None:
    objects(tmp_path, stored.entry("dit").sha256)[0].write_bytes(b"x")
    result = run("explain", "dit")
    assert result.exit_code == 1
    assert "not the engine that the manifest names" in result.stdout


def test_rm_removes_what_is_served_only_when_told_twice(stored: Manifest) -> None:
    manifest = json.loads(did("explain", "dit", "-o", "json"))["manifest"]
    assert "Name --force" in refused("rm", code=2)
    did("ls")
    result = run("rm", "--force")
    assert result.exit_code == 0
    assert f"engines trust refuse {manifest}" in result.stderr
    assert "longtake engines build" in refused("ls", code=3)
    assert "removed before" in refused("rm", code=3)
    assert did("ls", "--all", "-o", "json") == "[]\n"


def test_what_nobody_would_load_is_removed_at_once(home: Path, stored: Manifest) -> None:
    (keys_of(home) / "trusted").unlink()
    assert "removed the engines" in did("rm")


def test_a_set_of_a_model_that_is_gone_is_removed_by_its_weights(stored: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "store/objects/engines"
    (folder / "sprite-2").rename(folder / "gone-1")
    digest = stored.weights_digest
    assert f"there is {digest[:12]}" in refused("rm", "--model", "gone-1", code=3)
    assert "removed the engines of gone-1" in did("rm", "--model", "gone-1", "--weights", digest[:3])


def test_what_is_put_back_after_rm_is_refused_where_that_was_said(stored: Manifest, tmp_path: Path) -> None:
    [path] = objects(tmp_path, "manifest-1.json")
    old = path.read_bytes()
    digest = run("rm", "--force").stderr.partition("trust refuse ")[2].partition(",")[0]
    assert "is refused" in did("trust", "refuse", digest)
    path.write_bytes(old)
    assert "refuses these engines" in refused("ls", code=1)
    assert f"refused {digest}" in did("trust", "ls")
    assert "is not refused any more" in did("trust", "rm", digest[:12])
    did("ls")
    assert "no digest" in refused("trust", "refuse", "abc", code=2)


# ── help ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_command_has_help_that_says_what_it_does() -> None:
    told = RUN.invoke(build(), ["engines", "--help"], env={"COLUMNS": "120"}).stdout
    commands = ["ls", "explain", "build", "verify", "rm", "keygen", "sign", "trust"]
    places = [told.index(f"\n  {command} ") for command in commands]
    assert places == sorted(places)
    for words in (
        *([command] for command in commands),
        *(["trust", command] for command in ("add", "ls", "rm", "refuse")),
    ):
        result = RUN.invoke(build(), ["engines", *words, "--help"])
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()[2].strip()) > 20
