"""Keys stay as they are, byte for byte; and nothing but `serving/store/keys.py` spells them."""

from __future__ import annotations

import ast
import gc
import re
from pathlib import Path

import pytest

import serving
from serving.store import keys

JOB, FILE, DIGEST = "vid_" + "a" * 26, "file_" + "b" * 26, "c" * 64
MS = 1_790_000_000_123
WORK = keys.checkpoints_of_work("acme", JOB, 3, "0123456789abcdef" * 4)

SPELLED = [
    (keys.job("acme", JOB), f"t/acme/jobs/{JOB}"),
    (keys.job_by_time("acme", MS, JOB), f"t/acme/by-time/98209999999877-{JOB}"),
    (keys.keep_note("acme", JOB), f"t/acme/keep/{JOB}"),
    (keys.file("acme", FILE), f"t/acme/files/{FILE}"),
    (keys.file_by_time("acme", MS, FILE), f"t/acme/files-by-time/998209999999876-{FILE}"),
    (keys.segment("acme", DIGEST), f"t/acme/segments/{DIGEST}"),
    (keys.page("acme", DIGEST), f"t/acme/pages/{DIGEST}"),
    (keys.blob("acme", DIGEST), f"t/acme/blobs/{DIGEST}"),
    (keys.cached("acme", "first-frame", DIGEST), f"t/acme/cache/first-frame/{DIGEST}"),
    (
        keys.checkpoint(WORK, 12, 2, DIGEST),
        f"t/acme/checkpoints/{JOB}/00003/0123456789abcdef/000012-2-{DIGEST}",
    ),
    (keys.mark("acme", DIGEST), f"t/acme/marks/{DIGEST}"),
    (keys.quarantined("acme", DIGEST), f"t/acme/quarantine/{DIGEST}"),
    (keys.active("acme", 5, MS, JOB), f"active/7c/acme/5/01790000000123/{JOB}"),
    (keys.dead_letter("acme", JOB), f"dead/acme/{JOB}"),
    (keys.lease(JOB, 4), f"leases/{JOB}/4"),
    (keys.EPOCH, "runtime/epoch"),
    (keys.ESTIMATES, "runtime/estimates"),
    (keys.SWEEP, "runtime/sweep"),
    (keys.COLLECTOR, "runtime/collector"),
    (keys.DIRECTOR_ADDRESS, "runtime/director"),
    (keys.DIRECTOR_TOKEN, "runtime/director-token"),
    (keys.URL_KEY, "runtime/url-key"),
    (keys.probe("0f", "race"), "probe/0f/race"),
    (keys.clock_probe("0f"), "probe/0f"),
]


@pytest.mark.parametrize(("made", "want"), SPELLED)
def test_a_key_is_spelled_as_it_always_was(made: str, want: str) -> None:
    assert made == want


def test_a_job_without_a_deadline_sorts_behind_those_that_have_one() -> None:
    assert keys.active("acme", 5, None, JOB) == f"active/7c/acme/5/99999999999999/{JOB}"


def test_every_row_of_the_table_is_the_shape_of_one_kind_and_no_kind_is_without_a_row() -> None:
    shapes = [re.compile(re.sub(r"<[^>]+>", r"[^/]+", key) + r"\Z") for key, _ in table_of_the_code()]
    shapes = [shape for shape in shapes if not shape.match("engines/x") and not shape.match("models/x")]
    spelled = [literal for _, literal in SPELLED]
    assert [[literal for literal in spelled if shape.match(literal)] for shape in shapes] == [
        [literal] for literal in spelled
    ]


def test_no_key_is_made_that_the_table_has_not() -> None:
    rows = [re.sub(r"<[^>]+>", "<>", key) for key, _ in table_of_the_code()]
    made = [shape(node) for node in ast.walk(parsed(Path(keys.__file__)))]
    rooted = [found for found in made if re.match(r"[a-z]+/", found)]
    assert rooted
    assert [found for found in rooted if not any(row.startswith(found) for row in rows)] == [], (
        "give it a row in the docstring of serving/store/keys.py, the same row in docs/store.md, and a line in SPELLED"
    )


def parsed(source: Path) -> ast.Module:
    """A file's tree. No object is finalized meanwhile: CPython 3.11 takes the depth of what that runs for its own."""
    gc.disable()
    try:
        return ast.parse(source.read_text())
    finally:
        gc.enable()


def shape(node: ast.AST) -> str:
    """A string that code makes or assigns, with `<>` for what is put in; "" for all else."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif not ast.unparse(part.value if isinstance(part, ast.FormattedValue) else part).startswith("_"):
            parts.append("<>")
    return "".join(parts)


def test_what_a_key_says_is_read_back_from_it() -> None:
    assert keys.read_active(keys.active("acme", 0, MS, JOB)) == ("acme", 0, MS, JOB)
    assert keys.read_active(keys.active("acme", 9, None, JOB)) == ("acme", 9, None, JOB)
    for listed in (keys.job_by_time("acme", MS, JOB), keys.file_by_time("acme", MS, JOB)):
        assert keys.id_in(keys.name_of(listed)) == JOB
    checkpoint = keys.checkpoint(WORK, 1, 1, DIGEST)
    assert (keys.job_of_checkpoint(checkpoint), keys.digest_of_checkpoint(checkpoint)) == (JOB, DIGEST)
    assert keys.job_of_lease(keys.lease(JOB, 1)) == JOB
    cached = keys.cached("acme", "text", DIGEST)
    assert (keys.tenant_of(cached), keys.kind_of(cached), keys.kind_of_cached(cached)) == ("acme", "cache", "text")
    assert keys.tenant_of(keys.EPOCH) is None


@pytest.mark.parametrize("made", [made for made, _ in SPELLED if not made.startswith("runtime/")])
def test_a_key_that_is_made_is_known_as_ours_and_its_neighbours_are_not(made: str) -> None:
    assert keys.is_ours(made)
    folder = made[: made.rindex("/") + 1]
    for stray in (folder, f"{folder}.DS_Store", f"{made}/", f"{made}.bak", f"{made} (copy)", f"{folder}\udcff"):
        assert not keys.is_ours(stray)


def test_listings_show_the_newest_first_and_end_where_they_should() -> None:
    newer, older = keys.job_by_time("acme", MS, JOB), keys.job_by_time("acme", MS - 1, "vid_0")
    assert newer < keys.jobs_until("acme", MS) < older
    assert keys.file_by_time("acme", MS, FILE) < keys.file_by_time("acme", MS - 1, FILE)
    assert all(key < keys.behind("acme") for key, _ in SPELLED if keys.tenant_of(key) == "acme")
    assert keys.behind("acme") < keys.job("acme2", JOB)


def test_nobody_else_spells_a_key() -> None:
    """Strings that begin as a key does, outside docstrings."""
    begins = tuple(f"{word}/" for word in ("t", "active", "dead", "leases", "runtime", "probe"))
    root = Path(serving.__file__).parents[1]
    found = [
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for room in ("serving", "engines", "loadtests")
        for path in sorted((root / room).rglob("*.py"))
        if path != Path(keys.__file__)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(begins)
    ]
    assert found == [], "make it with a function of serving/store/keys.py"


def test_the_page_has_the_table_of_the_code() -> None:
    page = (Path(serving.__file__).parents[1] / "docs" / "store.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", page.partition("## Keys")[2].partition("##")[0], re.MULTILINE)
    assert rows == table_of_the_code()


def table_of_the_code() -> list[tuple[str, str]]:
    """Keys and what they are, as the docstring of `keys.py` has them."""
    lines = [line.strip() for line in (keys.__doc__ or "").splitlines() if line.startswith("    ")]
    rows = [tuple(re.split(r"  +", line)) for line in lines[1:]]
    return [(key, what) for key, what in rows]


@pytest.mark.parametrize(
    "stray",
    [
        "active/",
        "active/.DS_Store",
        "active/00/",
        "active/00/studio/5/99999999999999/",
        "active/00/studio/high/0/vid_x",
        "active/00/studio/5/-1/vid_x",
        "active/00/studio/5/99999999999999/vid_x",  # another's shard
        "active/1a/studio/\u0665/99999999999999/vid_x",
        "active/1a/studio/5/99999999999999/vid_x/more",
        "active/1a/studio/10/99999999999999/vid_x",
        "active/1a/studio/5/999999999999999999999/vid_x",  # more than fits where deadlines are kept
        "active/1a/studio/5/99999999999999/\udcff",  # a name in a directory that is no text
    ],
)
def test_what_no_job_left_on_the_active_list_is_known_for_that(stray: str) -> None:
    assert keys.read_active(stray) is None
