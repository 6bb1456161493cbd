"""The `longtake` command as a user meets it: every command, `-o json`, exit codes, one clear line for what is wrong."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from serving.jobs.dead import DeadLetters
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import JobError, JobState
from serving.jobs.repository import Jobs
from serving.store import keys
from tests.contract.command_line import Cli
from tests.contract.threaded_door import ThreadedDoor

OK, FAILED, USAGE, NOT_FOUND, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 6, 130


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedDoor]:
    with ThreadedDoor(tmp_path_factory.mktemp("door")) as found:
        yield found


@pytest.fixture
def cli(door: ThreadedDoor, tmp_path: Path) -> Cli:
    return Cli(door.grpc_address, tmp_path)


def test_a_video_is_made_extended_and_saved(cli: Cli) -> None:
    made = json.loads(cli.did("generate", "a red circle", "-d", "1", "-o", "json"))
    assert (made["state"], made["frames"]) == ("SUCCEEDED", 17)
    assert (cli.folder / f"{made['id']}.mp4").stat().st_size > 100

    longer = json.loads(cli.did("extend", made["id"], "it goes on", "-d", "2", "--save", "longer.mp4", "-o", "json"))
    assert longer["frames"] == 49
    assert (cli.folder / "longer.mp4").exists()

    own_copy = json.loads(cli.did("extend", f"{made['id']}.mp4", "-d", "1", "-o", "json"))  # the file as it was saved
    assert (own_copy["parent_video_id"], own_copy["frames"]) == (made["id"], 33)

    path = json.loads(cli.did("lineage", longer["id"], "-o", "json"))
    assert len(path["segments"]) == 3
    assert made["id"] in cli.did("lineage", made["id"])
    for named in ("0", path["segments"][0]["digest"][:12]):  # as `lineage` shows it
        branch = json.loads(cli.did("extend", longer["id"], "--segment", named, "-d", "1", "--no-wait", "-o", "json"))
        assert branch["frames"] == 33
    refused = cli.run("extend", longer["id"], "--segment", "7")
    assert (refused.returncode, "has no such segment" in refused.stderr) == (NOT_FOUND, True)


def test_what_a_segment_was_shown_is_told_and_drawn(cli: Cli) -> None:
    made = json.loads(cli.did("generate", "<b> & a moon", "-d", "2", "-o", "json"))
    longer = json.loads(cli.did("extend", made["id"], "-d", "1", "-o", "json"))
    told = json.loads(cli.did("lineage", longer["id"], "--segment", "2", "-o", "json", "--html", "path.html"))
    assert [source["kind"] for source in told["history"]] == ["MEMORY", "ANCHOR", "NEWEST"]
    refused = cli.run("lineage", longer["id"], "--segment", "3")
    assert (refused.returncode, "has no segment 3" in refused.stderr) == (NOT_FOUND, True)

    page = (cli.folder / "path.html").read_text()
    assert page.count("data:image/webp") == 9, "both ends of each segment, and three more frames that they were shown"
    assert _chosen(cli.folder, "path.html") == "#s2"
    assert _chosen(cli.folder, "path.html#s1") == "#s1"


def _chosen(folder: Path, page: str) -> str:
    """The segment that a browser shows, once the page's script has run; what is asked for where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return f"#{page.partition('#')[2] or 's2'}"
    done = subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
         "--dump-dom", f"file://{folder}/{page}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (link,) = re.findall(r'<a href="(#s\d+)"[^>]* aria-current="true"', done.stdout)
    return str(link)


def test_an_image_is_made_from_a_picture_of_the_user(cli: Cli) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(picture, "PNG")
    (cli.folder / "mine.png").write_bytes(picture.getvalue())

    made = json.loads(cli.did("image", "a red circle", "-o", "json"))
    assert made["kind"] == "KIND_IMAGE"
    assert cli.did("status", made["id"]).startswith(f"image          {made['id']}")
    assert "frames a second" not in cli.did("status", made["id"])
    assert list(cli.folder.glob(f"{made['id']}*.png"))
    other = json.loads(cli.did("generate", "like this", "-d", "1", "--reference", "mine.png", "-o", "json"))
    assert other["state"] == "SUCCEEDED"


def test_what_there_is_can_be_listed_watched_and_fetched(cli: Cli) -> None:
    made = json.loads(cli.did("generate", f"listed\n{'and long ' * 40}", "-d", "1", "--no-wait", "-o", "json"))
    events = [json.loads(line) for line in cli.did("watch", made["id"], "-o", "json").splitlines()]
    assert events[-1]["video"]["state"] == "SUCCEEDED"
    told = cli.did("watch", made["id"], "-o", "json", "--preview", "now.png")
    assert [json.loads(line) for line in told.splitlines()][-1] == events[-1]
    assert (cli.folder / "now.png").read_bytes().startswith(b"\x89PNG")
    refused = cli.run("watch", made["id"], "--preview", ".")
    assert (refused.returncode, "name a file in it" in refused.stderr) == (USAGE, True)
    assert "succeeded" in cli.did("status", made["id"])
    assert json.loads(cli.did("status", made["id"], "-o", "json"))["id"] == made["id"]
    (line,) = (line for line in cli.did("ls").splitlines() if made["id"] in line)
    assert (len(line), line[68:]) == (100, "listed and long and long and lo…")
    (line,) = (line for line in cli.did("ls", COLUMNS="0").splitlines() if made["id"] in line)
    assert len(line) == 120
    assert made["id"] in [video["id"] for video in json.loads(cli.did("ls", "-o", "json"))]
    cli.did("download", made["id"], "again.mp4")
    assert (cli.folder / "again.mp4").exists()
    cli.did("delete", made["id"])
    assert cli.run("status", made["id"]).returncode == NOT_FOUND


def test_models_of_the_installation_tell_what_they_can(cli: Cli) -> None:
    assert "sprite-2" in cli.did("models", "ls")
    assert "16:9" in cli.did("models", "show", "sprite-2")


def test_a_waiting_job_is_cancelled(cli: Cli, door: ThreadedDoor) -> None:
    door.director.open = False
    try:
        made = json.loads(cli.did("generate", "never", "--no-wait", "-o", "json"))
        cli.did("cancel", made["id"])
        assert json.loads(cli.did("status", made["id"], "-o", "json"))["state"] == "CANCELLED"
    finally:
        door.director.open = True


def test_a_running_job_is_said_to_be_cancelled_soon(cli: Cli) -> None:
    made = cli.did("generate", "hang", "--no-wait").strip()
    deadline = time.monotonic() + 30
    while json.loads(cli.did("status", made, "-o", "json"))["state"] != "RUNNING":
        assert time.monotonic() < deadline
    assert cli.did("cancel", made) == f"{made}  cancelling\n"


def test_what_is_refused_as_things_stand_is_no_job_that_failed(cli: Cli, door: ThreadedDoor) -> None:
    made = json.loads(cli.did("generate", "done", "-d", "1", "-o", "json"))
    refused = cli.run("cancel", made["id"])
    assert (refused.returncode, "nothing to cancel" in refused.stderr) == (REFUSED, True)
    door.director.open = False
    try:
        waits = cli.did("generate", "waits", "--no-wait").strip()
        for words in (("delete", waits), ("download", waits), ("extend", waits)):
            assert cli.run(*words).returncode == REFUSED, words
        cli.did("cancel", waits)
    finally:
        door.director.open = True


def test_what_is_refused_names_the_option_and_the_file(cli: Cli) -> None:
    for name in ("mine.png", "other.png"):
        Image.new("RGB", (40, 40), (200, 30, 30)).save(cli.folder / name)
    (cli.folder / "letter.txt").write_text("to you")
    (cli.folder / "empty.png").touch()
    for words, says in (
        (("generate", "x", "--first-frame", "empty.png"), "--first-frame empty.png (first_frame): the file is empty"),
        (
            ("generate", "x", "-r", "mine.png", "-r", "letter.txt", "-r", "other.png"),
            "--reference letter.txt (references[1]): it is no picture",
        ),
        (("extend", "letter.txt"), "VIDEO letter.txt (extends.media): it is no MP4"),
        (("image", "x", "--aspect", "4:3"), "--aspect (aspect_ratio): '4:3'"),
        (("generate", "x", "-d", "99"), "--seconds: 99"),
    ):
        refused = cli.run(*words)
        assert refused.returncode == USAGE
        assert refused.stderr.startswith(f"error: {says}")


def test_the_life_of_a_job_is_told_and_drawn(cli: Cli) -> None:
    made = json.loads(cli.did("generate", "told", "-d", "1", "--deadline", "5m", "--priority", "1", "-o", "json"))
    assert made["priority"] == 1
    assert "created" in cli.did("jobs", "explain", made["id"], "--html", "life.html")
    assert "<svg" in (cli.folder / "life.html").read_text()
    assert json.loads(cli.did("jobs", "explain", made["id"], "-o", "json"))["events"][0]["kind"] == "created"
    assert isinstance(json.loads(cli.did("jobs", "ls", "-o", "json")), list)
    assert "no dead letters" in cli.did("jobs", "ls", "--dead")


def test_a_plan_says_what_a_video_would_take(cli: Cli) -> None:
    said = cli.did("generate", "x", "-d", "3", "--plan")
    assert "3 of 1 s, 49 frames" in said
    assert "denoiser" in said
    assert not list(cli.folder.glob("*.mp4"))


def test_a_job_that_fails_is_exit_code_1_with_the_reason(cli: Cli) -> None:
    done = cli.run("generate", "fail", "-d", "1")
    assert done.returncode == FAILED
    assert "the worker burned down" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("status", "vid_nothing"), NOT_FOUND, "vid_nothing"),
        (("generate", "x", "-d", "99"), USAGE, "seconds"),
        (("generate", "x", "--resolution", "8k"), USAGE, "resolution"),
        (("generate", "x", "--reference", "no-such-file.png"), USAGE, "no-such-file.png"),
        (("extend", "no-such-file.mp4"), USAGE, "no-such-file.mp4"),
        (("status", "vid_x", "--server", "127.0.0.1:1"), UNREACHABLE, "longtake up"),
        (("generate", "x", "--deadline", "soon"), USAGE, "--deadline"),
        (("jobs", "requeue", "vid_nothing"), NOT_FOUND, "vid_nothing"),
        (("jobs", "requeue"), USAGE, "--all"),
        (("jobs", "requeue", "vid_x", "--all"), USAGE, "--all"),
        (("jobs", "requeue", "--all", "--code", "EXPIRED"), USAGE, "WORKERS_CRASHED"),
        (("jobs", "requeue", "--all", "--since", "soon"), USAGE, "--since"),
        (("models", "show", "nope"), NOT_FOUND, "error: model 'nope' is not known; there is sprite-2"),
        (("generate", "x", "--seed", "-1"), USAGE, "error: --seed: -1 is outside 0 to 9223372036854775807"),
        (("generate", "x", "--seed", "9" * 20), USAGE, "is outside 0 to 9223372036854775807"),
        (("ls", "--server", "foo.invalid"), UNREACHABLE, "foo.invalid (no machine of this name is found; write host:"),
        (("up", "--config", "nope.toml"), USAGE, "error: --config: nope.toml is not a file"),
        (("no-such-command",), USAGE, "no-such-command"),
        (("ls", "-o", "xml"), USAGE, "'text', 'json'"),
        (("generate", "x", "-d", "99999999999"), USAGE, "seconds: 99999999999"),
        (("status", "\udcff"), USAGE, "an argument holds bytes that are not UTF-8: b'\\xff'"),
        (("generate", "x", "--save", "/proc/new/x.mp4"), USAGE, "nothing can be saved in /proc/new"),
        (("up", "--store", "store", "--logs", "/proc/x"), USAGE, "/proc/x: No such file"),
        (("up", "--store", "store", "--logs", "/proc/uptime"), USAGE, "--logs: /proc/uptime is a file; name a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_one_line_and_a_code(cli: Cli, words: tuple[str, ...], code: int, says: str) -> None:
    done = cli.run(*words)
    assert done.returncode == code, done.stderr
    assert says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_result_is_saved_in_a_folder_that_was_not_there(cli: Cli) -> None:
    made = json.loads(cli.did("generate", "into a folder", "-d", "1", "--save", "new/here/", "-o", "json"))
    assert made["saved"] == [f"new/here/{made['id']}.mp4"]
    assert (cli.folder / made["saved"][0]).stat().st_size > 100


def test_a_video_that_cannot_be_saved_is_told_of_nevertheless(cli: Cli) -> None:
    done = cli.run("generate", "too long a name", "-d", "1", "--save", "x" * 250 + ".mp4", "-o", "json")
    made = json.loads(done.stdout)
    assert (done.returncode, made["state"], made["saved"]) == (FAILED, "SUCCEEDED", [])
    assert "File name too long" in done.stderr
    assert f"longtake download {made['id']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_line(cli: Cli) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "serving.cli.main", "models", "ls"],
            cwd=cli.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (FAILED, "error: No space left on device\n")


@pytest.mark.parametrize("nobody", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(cli: Cli, nobody: str) -> None:
    proxy = {"http_proxy": nobody, "https_proxy": nobody, "all_proxy": nobody, "no_proxy": "", "NO_PROXY": ""}
    made = json.loads(cli.did("generate", "by no proxy", "-d", "1", "-o", "json", **proxy))
    assert (cli.folder / made["saved"][0]).stat().st_size > 100


def test_a_file_may_have_any_name(cli: Cli) -> None:
    name = 'Bob\'s "b\udcfcld";\\.png'
    Image.new("RGB", (40, 40), (200, 30, 30)).save(cli.folder / "plain.png", "PNG")
    (cli.folder / "plain.png").rename(cli.folder / name)
    assert "1 of 1 s" in cli.did("generate", "<ref1> moves right", "-r", name, "-d", "1", "--plan")


def test_dead_letters_are_run_again_by_what_they_have_in_common(cli: Cli) -> None:
    done = cli.run("jobs", "requeue", "--all", "--code", "INTERNAL", "--since", "2h", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 dead letters would be run again" in done.stderr


def test_a_dead_letter_that_cannot_be_run_again_is_told_with_the_reason(cli: Cli, door: ThreadedDoor) -> None:
    made = json.loads(cli.did("generate", "a red circle", "-d", "1", "-o", "json"))["id"]
    jobs, tenant = Jobs(door.store), "default"
    done = door.do(jobs.get(tenant, made))
    error = JobError(code="INTERNAL", message="it met an error")
    dead, sound = (
        done.model_copy(update={"id": new_id("vid_"), "state": JobState.FAILED, "error": error}) for _ in "ab"
    )
    for record in (dead, sound):
        door.do(door.store.put_if_absent(keys.job(tenant, record.id), record.encode()))
        door.do(DeadLetters(door.store).bury(record, stage="", why="it met an error", quarantine=False))
    broken = keys.job(tenant, derived_id("vid_", f"{tenant}/requeue", dead.id))
    door.do(door.store.put_if_absent(broken, b"of a later version"))

    said = cli.run("jobs", "requeue", "--all", "--code", "INTERNAL")

    lines = dict(line.split("  ", 1) for line in said.stdout.splitlines())
    assert lines.keys() == {dead.id, sound.id}
    assert lines[dead.id].startswith("not run again: the record of vid_")
    assert lines[sound.id].startswith("vid_")
    assert (said.returncode, "1 dead letters run again" in said.stderr) == (FAILED, True)
    assert "error: 1 could not be run again, and stay dead letters" in said.stderr
    door.do(door.store.delete(keys.dead_letter(tenant, dead.id)))


def test_ctrl_c_stops_the_watching_and_not_the_video(cli: Cli) -> None:
    before = {video["id"] for video in json.loads(cli.did("ls", "-o", "json"))}
    child = cli.start("generate", "hang", "-d", "1")
    deadline = time.monotonic() + 30
    while not (found := [v for v in json.loads(cli.did("ls", "-o", "json")) if v["id"] not in before]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(1.0)  # it is watching by now
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == INTERRUPTED, err
    assert found[0]["id"] in out + err
    assert "Traceback" not in err
    assert json.loads(cli.did("status", found[0]["id"], "-o", "json"))["state"] in ("RUNNING", "QUEUED")


@pytest.mark.parametrize("command", ["", "generate", "image", "extend", "watch", "up", "engines build", "models score"])
def test_help_is_there_for_a_newcomer(cli: Cli, command: str) -> None:
    said = cli.did(*command.split(), "--help")
    assert "Usage" in said
    assert "--help" in said


def test_help_of_images_speaks_of_no_video(cli: Cli) -> None:
    said = cli.did("image", "--help")
    assert not [word for word in ("video", "first frame", ".mp4", "16:9 or") if word in said]
    assert "<id>.png" in said


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ("ray", "torch", "onnxruntime", "grpc", "numpy", "av", "minio")
    asked = f"import sys, serving.cli.main as m; m.build(); print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_command_is_imported_before_an_interrupt_is_met() -> None:
    slow = "n.startswith('serving.cli.') or n == 'typer'"
    asked = f"import sys, serving.cli.main; print([n for n in sys.modules if {slow}])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['serving.cli.main']"
