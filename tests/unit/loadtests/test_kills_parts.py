"""Parts of a campaign of kills make one table, whenever and on whatever store each was run."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from pathlib import Path
from random import Random

from loadtests.kills.__main__ import main
from loadtests.kills.parts import Part, append, read, together
from loadtests.kills.specs import SPECS, Base
from loadtests.kills.victims import EVERY, KINDS, strikes


def _part(seed: int, **changes: object) -> Part:
    part = Part(seed=seed, struck=[("denoiser, killed", 0.5)], jobs=3, kinds=Counter(text=2, image=1), steps=100)
    for name, value in changes.items():
        setattr(part, name, value)
    return part


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    parts = [_part(1), _part(2, store="S3 store", lost=["vid_1: gone"], failures=Counter({"INTERNAL: no": 2}))]

    for part in parts:
        append(tmp_path / "parts.jsonl", part)

    assert read(tmp_path / "parts.jsonl") == parts
    assert read(tmp_path / "none.jsonl") == []


def test_the_whole_is_good_only_if_every_part_is(tmp_path: Path) -> None:
    good = together([_part(1), _part(2, store="S3 store")])
    bad = together([_part(1), _part(2, stuck=["nothing was committed"])])

    assert (good.good, good.jobs, len(good.struck), good.kinds) == (True, 6, 2, Counter(text=4, image=2))
    assert good.store == "S3 store, directory"
    assert not bad.good


def test_parts_alone_make_the_table_anew_and_tell_what_is_wrong(tmp_path: Path) -> None:
    file, table = tmp_path / "parts.jsonl", tmp_path / "KILLS.md"
    append(file, _part(1))
    assert main(["--blows", "0", "--parts", str(file), "--write", str(table)]) == 0

    append(file, _part(2, different=["vid_2: another film"]))
    assert main(["--blows", "0", "--parts", str(file), "--write", str(table)]) == 1
    assert "| all blows" in table.read_text()
    assert "seeds 1 (1 on a directory), 2 (1 on a directory)" in table.read_text()


def test_every_blow_falls_once_before_any_falls_again() -> None:
    dealt = list(chain.from_iterable(islice(strikes(Random(1)), 2000)))

    assert set(dealt[: len(EVERY)]) == set(EVERY)
    assert {blow.kind for blow in EVERY} == {blow.kind for blow in dealt[len(EVERY) :]} == set(KINDS)


def test_every_kind_of_work_is_asked_for_under_a_key_of_its_own() -> None:
    base = Base("vid_base", "http://127.0.0.1/picture")
    requests = [spec.request(base) for spec in SPECS]

    assert len({request.request_id for request in requests}) == len(SPECS)
    assert {request.extends.video_id for request in requests} == {"", "vid_base"}
    assert any(request.first_frame.url for request in requests)
    assert any(reference.url for request in requests for reference in request.references)
    assert {spec.kind for spec in SPECS} == {"text", "image", "first frame", "reference", "extension"}
