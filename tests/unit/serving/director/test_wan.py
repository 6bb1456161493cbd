"""A Wan, or a Helios, through the Director and the real stages, without Ray; a tiny one's modules are its engines."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engines import models
from engines.checkpoints.files import Folder
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.helios.family import HeliosFamily
from engines.families.wan.clips import WanClipFamily
from engines.session import Session
from loadtests.accept import source
from serving.director.director import Director
from serving.director.served import Served
from serving.jobs.epoch import take_epoch
from serving.jobs.history import EventKind
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.plan import plan
from serving.reproduction.reproduce import reproduce
from serving.requests import Kind, VideoRequest
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import LatentRef, SegmentManifest
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.contracts import SliceCall, SliceResult
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded
from serving.store.blobs import Blobs
from serving.store.open import open_store
from tests.unit.serving.director.plain import PlainStages

pytestmark = pytest.mark.anyio
TENANT, NAME = "studio", "wan-tiny"
LEAD = 5
"""Latents of the second with which an extension's clip begins."""


@pytest.fixture(scope="module")
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Of a tiny checkpoint, a VACE's if the test names no other: two seconds of two by two tokens."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="a Wan is made with longtake[build]")
    from tests.unit.engines.families.helios import checkpoints as of_helios
    from tests.unit.engines.families.wan import checkpoints, modules

    task, folder = getattr(request, "param", "vace"), tmp_path_factory.mktemp("wan")
    helios = task == "helios"
    if helios:
        of_helios.save(folder)
    else:
        checkpoints.save(task, folder)
    side = 64 if helios or task == "5b" else 32
    sizes = Sizes((Canvas("1:1", side, side),), seconds=0 if helios else 2)
    family = models.opened(Folder(folder), name=NAME, sizes=sizes).family
    assert isinstance(family, (WanClipFamily, HeliosFamily))
    with modules.session_of(family) as session:
        yield session


class House:
    """One Director, its stages, and who asks for videos."""

    def __init__(self, loaded: Loaded) -> None:
        self.store, self.family = loaded.store, loaded.session.family
        self.jobs, self.stages = Jobs(loaded.store), PlainStages(loaded)
        self.digest = loaded.session.digest
        self.director: Director

    async def job(self, prompt: str, parent: JobRecord | None = None, **fields: Any) -> JobRecord:
        can = self.family.capabilities
        lengths, resolution = can.extension_seconds if parent else can.seconds, next(iter(can.resolutions))
        asked = {"seconds": lengths.default, "steps": 2, "resolution": resolution, **fields}
        request = VideoRequest(model=NAME, aspect_ratio="1:1", prompt=prompt, seed=3, extends=source(parent), **asked)
        extended = await Segments(self.store, TENANT).get(request.extends.segment) if request.extends else None
        planned = plan(
            request,
            self.family.capabilities,
            model_digest=self.digest,
            seed=3,
            parent=shape_of(extended) if extended else None,
        )
        made = JobRecord(id=new_id("vid_"), tenant=TENANT, request=request, plan=planned, created_ms=1)
        record = (await self.jobs.create(made)).record
        self.director.wake(TENANT, record.id)
        return record

    async def made(self, prompt: str, parent: JobRecord | None = None, **fields: Any) -> JobRecord:
        record = await self.until(await self.job(prompt, parent, **fields), lambda found: found.state.terminal)
        assert record.state is JobState.SUCCEEDED, record.error
        return record

    async def until(self, record: JobRecord, holds: Callable[[JobRecord], bool]) -> JobRecord:
        async with asyncio.timeout(120):
            while True:
                found = await self.jobs.get(TENANT, record.id)
                if holds(found):
                    return found
                await asyncio.sleep(0.01)

    async def picture(self, colour: tuple[int, int, int]) -> str:
        """A blob of one colour."""
        data = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(data, "PNG")
        return await Blobs(self.store, TENANT).put(data.getvalue())

    async def manifest(self, record: JobRecord) -> SegmentManifest:
        """Of its newest segment."""
        return await Segments(self.store, TENANT).get(record.segments[-1])


@pytest.fixture
async def house(tmp_path: Path, session: Session, anyio_backend: str) -> AsyncIterator[House]:
    store = await open_store(str(tmp_path / "store"), probe=False)
    house, times = House(Loaded(session, store, Unrecorded())), itertools.count(1_700_000_000_000)
    house.stages.start()
    house.director = Director(
        store=store,
        jobs=house.jobs,
        epoch=await take_epoch(store),
        models={NAME: Served(house.stages, house.family, 1, renders=1)},
        slice_s=0.0,
        metrics=Unrecorded(),
        now_ms=lambda: next(times),
        incident=lambda: "incident",
    )
    life = asyncio.create_task(house.director.run())
    yield house
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    await house.stages.stop()
    await store.close()


async def test_an_extension_is_shown_stills_that_were_stored_with_those_before(house: House) -> None:
    path = [await house.made("a cat")]
    for prompt in ("a dog", "a red hill", "a cat"):
        path.append(await house.made(prompt, path[-1]))
    root, first, second, third = [await house.manifest(record) for record in path]

    assert (root.memory, root.history) == ((), ())
    stills = [LatentRef(blob=manifest.latents.blob, start=0, count=1) for manifest in (first, second, third)]
    assert all(manifest.latents.start == LEAD for manifest in (first, second, third))
    assert [(kept.number, kept.latent) for kept in third.memory] == list(zip((4, 8, 12), stills, strict=True))
    assert [(source.kind, source.numbers) for source in third.history] == [
        ("memory", (8,)),
        ("memory", (4,)),
        ("anchor", (0,)),
        ("newest", (12, 13, 14, 15, 16)),
    ]
    assert "cat" in third.history[1].shows
    assert third.history_left_out == 17 - 8
    call = house.stages.calls["condition"][-1]
    assert call.memory == (stills[1], stills[0])


async def test_what_is_not_read_of_either_prompt_is_told_with_the_video(house: House) -> None:
    made = await house.made("cat " * 512, negative_prompt="dog " * 513)
    assert made.warnings == tuple(
        f"not read: the last {tokens} tokens of the {what}; this model reads 512"
        for tokens, what in ((1, "prompt"), (2, "negative prompt"))
    )


async def test_a_killed_denoiser_is_followed_to_the_same_latents_with_keyframes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    parent = await house.made("a dog", await house.made("a cat"))
    whole = await house.manifest(await house.made("a cat", parent, steps=40))
    record = await house.job("a cat", parent, steps=40)
    slices = house.stages.calls["run_slice"]
    await house.until(record, lambda _: any(call.job == record.id and call.resume for call in slices))
    await house.stages.kill_denoiser()
    done = await house.until(record, lambda found: found.state.terminal)

    manifest = await house.manifest(done)
    assert "memory" in [source.kind for source in manifest.history]
    assert (manifest.latents, manifest.parts) == (whole.latents, whole.parts)
    assert {EventKind.LOST, EventKind.RESUMED} & {event.kind for event in done.events}


async def test_images_are_of_one_latent_and_references_are_seen(house: House) -> None:
    digest = await house.picture((230, 20, 20))
    asked: dict[str, Any] = {"kind": Kind.IMAGE, "seconds": 0, "resolution": "1k"}
    plain, again, shown = [
        await house.made("a cat", **asked, **fields)
        for fields in ({"images": 2}, {"images": 1}, {"images": 1, "references": (digest,)})
    ]
    assert len({*plain.images, *shown.images}) == 3
    assert plain.images[0] == again.images[0]
    assert [segment.latents for segment in plain.plan.segments] == [1, 1]
    found = Image.open(io.BytesIO(await Blobs(house.store, TENANT).get(plain.images[0])))
    assert (found.format, found.size) == ("PNG", (32, 32))


async def test_a_draft_of_the_segment_under_way_is_told_with_its_progress(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    feed = house.director.feed
    watching = feed.watch(feed.cursor, feed.epoch, seconds=60)
    record = await house.job("a cat", steps=30)
    draft = ""
    async for batch in watching:
        draft = next((event.preview for event in batch.events if event.preview), "")
        if draft:
            break
    await house.until(record, lambda found: found.state.terminal)
    drawn = Image.open(io.BytesIO(await Blobs(house.store, TENANT).get(draft)))
    assert (drawn.format, drawn.size) == ("PNG", (32, 32))


@pytest.mark.parametrize("session", ["image", "5b"], indirect=True)
async def test_a_video_of_a_first_frame_is_extended_from_its_last(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is seen of a frame goes with its clip; and a killed denoiser is followed to the same latents."""
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    red, blue = [await house.picture(colour) for colour in ((230, 20, 20), (20, 20, 230))]
    path = [await house.made("a cat", first_frame=red)]
    other = await house.manifest(await house.made("a cat", first_frame=blue))
    for _ in range(2):
        path.append(await house.made("a cat", path[-1]))
    root, first, second = [await house.manifest(record) for record in path]

    can = house.family.capabilities
    assert root.latents.count == can.root_latents
    assert root.latents != other.latents
    for manifest in (first, second):
        assert (manifest.latents.start, manifest.latents.count) == (1, can.segment_latents)
        assert [source.kind for source in manifest.history] == ["newest"]
        assert manifest.frames == can.fps * 2
    assert house.stages.calls["condition"][-1].anchor is None

    whole = await house.manifest(await house.made("a cat", path[-1], steps=12))
    record = await house.job("a cat", path[-1], steps=12)
    slices = house.stages.calls["run_slice"]
    await house.until(record, lambda _: any(call.job == record.id and call.resume for call in slices))
    await house.stages.kill_denoiser()
    done = await house.until(record, lambda found: found.state.terminal)
    manifest = await house.manifest(done)
    assert (manifest.latents, manifest.parts) == (whole.latents, whole.parts)


@pytest.mark.parametrize("session", ["helios"], indirect=True)
async def test_helios_is_shown_its_newest_latents_across_segments_and_resumes_to_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment is decoded for itself; an extension goes on from latents that lie in the segments before."""
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    root = await house.made("a cat", seconds=3)
    first = await house.made("a dog", root, seconds=3)
    found = [await Segments(house.store, TENANT).get(segment) for segment in (*root.segments, *first.segments[-2:])]
    assert [(manifest.frames, manifest.total_frames) for manifest in found] == [(33, 33 * n) for n in (1, 2, 3, 4)]
    assert [[(source.kind, source.numbers) for source in manifest.history] for manifest in found] == [
        [],
        [("anchor", (0,)), ("newest", tuple(range(9)))],
        [("memory", tuple(range(9))), ("anchor", (0,)), ("newest", tuple(range(9, 18)))],
        [("memory", tuple(range(8, 18))), ("anchor", (0,)), ("newest", tuple(range(18, 27)))],
    ]
    assert [len(manifest.memory) for manifest in found] == [0, 9, 10, 10]
    assert {call.lead for call in house.stages.calls["render"]} == {None}

    whole = await house.manifest(await house.made("a dog", first, seconds=3, steps=12))
    record = await house.job("a dog", first, seconds=3, steps=12)
    slices = house.stages.calls["run_slice"]
    await house.until(record, lambda _: any(call.job == record.id and call.resume for call in slices))
    await house.stages.kill_denoiser()
    done = await house.until(record, lambda found: found.state.terminal)
    manifest = await house.manifest(done)
    assert (manifest.latents, manifest.parts) == (whole.latents, whole.parts)
    assert {EventKind.LOST, EventKind.RESUMED} & {event.kind for event in done.events}


async def test_a_job_reuses_predictions_as_it_was_planned_to_and_so_does_who_makes_it_again(
    house: House, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets the model otherwise meanwhile changes none of that: not after a loss, and not in a reproduction."""
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    exact = await house.made("a cat", steps=40)
    usual = house.family.capabilities
    monkeypatch.setattr(house.family, "capabilities", replace(usual, step_cache=0.9))
    whole = await house.made("a cat", steps=40)
    run_slice, slices = house.stages.run_slice, itertools.count(1)

    async def then_killed(call: SliceCall, conditions: Ref) -> SliceResult:
        if next(slices) == 16:
            await house.stages.kill_denoiser()
        return await run_slice(call, conditions)

    monkeypatch.setattr(house.stages, "run_slice", then_killed)
    record = await house.job("a cat", steps=40)
    monkeypatch.setattr(house.family, "capabilities", usual)
    done = await house.until(record, lambda found: found.state.terminal)

    assert (exact.plan.step_cache, exact.steps_reused) == (0, 0)
    assert (done.plan.step_cache, done.steps_done) == (0.9, 40)
    assert 0 < done.steps_reused == whole.steps_reused < 32
    assert any(event.kind is EventKind.RESUMED and event.step for event in done.events)
    assert f"{done.steps_reused} of 40 steps reused" in [event.text for event in done.events]
    made = [(await house.manifest(one)).latents for one in (exact, whole, done)]
    assert made[0] != made[1] == made[2]
    again = await reproduce(house.store, TENANT, done.id, session)
    assert again
    assert all(compared.equal for compared in again)
