"""`longtake reproduce --newest`: which videos are made again, and what is said of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from engines.families.sprite.capabilities import CAPABILITIES
from engines.session import Session
from serving.cli.main import build
from serving.errors import NotFound
from serving.jobs.record import JobRecord, JobState
from serving.reproduction import newest as replays
from serving.reproduction.judge import Judged
from serving.reproduction.newest import newest
from serving.segments.lineage import Segments
from serving.store import keys
from tests.unit.serving.director.conftest import TENANT, Office, office, session

pytestmark = pytest.mark.anyio
__all__ = ["office", "session"]


async def _job(office: Office, digest: str, **fields: Any) -> JobRecord:
    if not office.directors:
        await office.director()
    done = await office.ended(await office.job(model_digest=digest, **fields))
    assert done.state is JobState.SUCCEEDED, done.error
    return done


async def _said(office: Office, *words: str, code: int = 0) -> str:
    """What the command says last, to people or to scripts; it runs beside the server."""
    command = ["reproduce", "--newest", *words, "--store", office.store.url]
    done = await asyncio.to_thread(CliRunner().invoke, build(), command)
    assert done.exit_code == code, done.output
    return done.output.strip().splitlines()[-1] if "json" not in words else done.stdout


async def test_the_newest_are_replayed_and_those_of_other_engines_are_judged_in_a_band(
    office: Office, session: Session
) -> None:
    assert await _said(office, "3") == "nothing to replay: the store has no finished video"
    foreign = await _job(office, "e" * 64)
    assert await _said(office, "3") == "1 replayed, 1 of other engines in the band of bfloat16, at most 0% of it taken"
    own = await _job(office, session.digest)

    assert [job.id for job in await newest(office.store, 1, None)] == [own.id]
    assert [job.id for job in await newest(office.store, 5, TENANT)] == [own.id, foreign.id]
    assert await newest(office.store, 5, "nobody") == []

    said = await _said(office, "5")
    assert said.startswith("2 replayed, all 5 digests are equal, 1 of other engines in the band of bfloat16")
    told = {one["video"]: one for one in json.loads(await _said(office, "5", "-o", "json"))}
    assert [digest["equal"] for digest in told[own.id]["digests"]] == [True] * 5
    assert (told[foreign.id]["digests"], told[foreign.id]["band"]) == ([], "bfloat16")
    assert [one["in_band"] for one in told[foreign.id]["measured"]] == [True] * 2
    assert (told[own.id]["band"], told[own.id]["passed_over"]) == ("", "")


async def test_a_video_that_comes_out_otherwise_is_named_with_what_that_means(office: Office, session: Session) -> None:
    job = await _job(office, session.digest, seconds=2)
    segments = Segments(office.store, TENANT)
    second = await segments.get(job.segments[1])
    forged = await segments.commit(second.model_copy(update={"latents": (await segments.get(job.segments[0])).latents}))
    key = f"t/{TENANT}/jobs/{job.id}"
    stored = await office.store.get(key)
    await office.store.swap(key, stored.data.replace(job.segments[1].encode(), forged.encode()), stored.version)

    said = await _said(office, "1", code=1)
    assert said.startswith(f"error: 1 of 1 videos came out otherwise; {job.id}: segment 1: latents differs first; ")


async def test_what_was_deleted_meanwhile_says_nothing_and_what_is_damaged_is_no_good_sign(
    office: Office, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await _job(office, session.digest)
    manifest = await Segments(office.store, TENANT).get(job.segments[0])
    monkeypatch.setattr(replays, "judged", judged_without(office, f"t/{TENANT}/blobs/{manifest.thumbnail}"))
    assert "could not be judged" in await _said(office, "1", code=5)
    monkeypatch.setattr(replays, "judged", judged_without(office, f"t/{TENANT}/jobs/{job.id}"))
    assert f"1 passed over; {job.id} was deleted meanwhile" in await _said(office, "1")


def judged_without(office: Office, key: str) -> Callable[..., Awaitable[Judged]]:
    """As it goes when an object is gone by then."""

    async def do(*_: Any) -> Judged:
        await office.store.delete(key)
        raise NotFound(f"no object {key}")

    return do


def test_one_video_or_the_newest_and_not_both() -> None:
    for words in (["reproduce"], ["reproduce", "vid_a", "--newest", "2"]):
        done = CliRunner().invoke(build(), words)
        assert (done.exit_code, "name a video, or say --newest" in done.output) == (2, True)


async def test_a_video_whose_manifest_is_damaged_or_gone_is_not_judged_and_hides_no_other(
    office: Office, session: Session
) -> None:
    first, damaged = await _job(office, session.digest), await _job(office, session.digest)
    key = keys.segment(TENANT, damaged.segments[0])
    stored = await office.store.get(key)
    await office.store.swap(key, stored.data[:-1] + b"X", stored.version)

    said = await _said(office, "2", "-o", "json", code=5)
    told = {one["video"]: one for one in json.loads(said[: said.rindex("]") + 1])}
    assert set(told) == {first.id, damaged.id}
    assert "holds other bytes" in told[damaged.id]["unjudged"]
    for _ in ("damaged", "gone"):
        command = ["reproduce", damaged.id, "--tenant", TENANT, "--store", office.store.url]
        done = await asyncio.to_thread(CliRunner().invoke, build(), command)
        assert done.exit_code == 5, done.output
        await office.store.delete(key)


async def test_the_engines_are_those_that_the_settings_name_though_by_an_alias(
    office: Office, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = await _job(office, session.digest)
    (alias,) = CAPABILITIES.aliases
    monkeypatch.setenv("LONGTAKE_MODEL", alias)
    monkeypatch.setenv("LONGTAKE_MODELS", json.dumps({alias: {"variant": "onnxruntime-cuda"}}))
    assert "onnxruntime-cuda" in await _said(office, "1", code=5)
    assert video.plan.model != alias
