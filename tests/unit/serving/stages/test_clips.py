"""A family that is shown whole clips gets them: each encoded once and cached, made again where the store lost it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.families.base import ClipFamily, Conditions
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.wan.vace import WanVaceFamily
from engines.session import Session
from serving.media.encode import SegmentEncoder
from serving.media.sandbox import Decoder
from serving.media.still import frames_of, png
from serving.media.track import Track
from serving.metrics import Unrecorded
from serving.requests import Codec
from serving.segments.manifest import LatentRef, ManifestCanvas
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.condition import Conditioner
from serving.stages.contracts import CancelCall, ConditionCall, IngestCall, InputsCall, SliceCall, TakeCall
from serving.stages.denoise import Denoiser
from serving.stages.ingest import Ingester
from serving.stages.latents import get_array, get_latents, put_latents
from serving.stages.loaded import Loaded
from serving.store.open import open_store
from tests.unit.serving.stages import small

pytestmark = pytest.mark.anyio
MODEL, TENANT = "vace-tiny", "studio"
CANVASES = (Canvas("1:1", 32, 32), Canvas("3:2", 32, 48))
LATENTS, LEAD = 9, 5
TEXT = np.zeros((1024, 24), np.float32)


@pytest.fixture(scope="module")
def vace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The modules of a tiny VACE as its engines."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="a Wan is built with longtake[build]")
    from tests.unit.engines.families.wan.checkpoints import save
    from tests.unit.engines.families.wan.modules import session_of

    folder = tmp_path_factory.mktemp("vace")
    save("vace", folder)
    family = models.opened(Folder(folder), name=MODEL, sizes=Sizes(CANVASES, seconds=2)).family
    assert isinstance(family, WanVaceFamily)
    with session_of(family) as session:
        yield session


@pytest.fixture
async def clips(tmp_path: Path, vace: Session, anyio_backend: str) -> AsyncIterator[Loaded]:
    """Its stages' ground."""
    store = await open_store(str(tmp_path / "store"), probe=False)
    yield Loaded(vace, store, Unrecorded())
    await store.close()


def call(canvas: Canvas = CANVASES[0], tenant: str = TENANT) -> ConditionCall:
    return ConditionCall(tenant, MODEL, ManifestCanvas(**vars(canvas)))


def encoded(loaded: Loaded) -> int:
    """How many clips and pictures were begun to be encoded."""
    return small.calls(loaded, "vae_encoder_first")


async def test_the_clip_of_nothing_is_encoded_once_for_each_canvas_and_tenant(clips: Loaded) -> None:
    conditioner, before = Conditioner(clips, Decoder()), encoded(clips)

    first, *beside = await asyncio.gather(*(conditioner.condition(call(), TEXT) for _ in range(4)))
    again = await conditioner.condition(call(), TEXT)

    assert all(other.blank is not None for other in beside)

    assert encoded(clips) == before + 1
    assert first.blank is not None
    assert again.blank is not None
    assert first.blank.shape == (LATENTS, 4, 4, 4)
    np.testing.assert_array_equal(first.blank, again.blank)

    await conditioner.condition(call(CANVASES[1]), TEXT)
    await conditioner.condition(call(tenant="other"), TEXT)

    assert encoded(clips) == before + 3


async def test_a_first_frame_is_a_clip_that_begins_with_it(clips: Loaded, vace: Session) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    inputs = InputsCall(TENANT, MODEL, "d" * 64, call().canvas, first_frame=await _kept(clips, picture))
    conditioner, before = Conditioner(clips, Decoder()), encoded(clips)

    read, again = await conditioner.read_inputs(inputs), await conditioner.read_inputs(inputs)

    assert read == again
    assert encoded(clips) == before + 1
    found = await conditioner.condition(replace(call(), first_frame=read.first_frame), TEXT)
    family = clips.family(MODEL)
    assert isinstance(family, WanVaceFamily)
    assert found.first is not None
    np.testing.assert_array_equal(found.first, family.encode_clip(vace, picture[None]))


async def test_a_reference_is_seen_whole_and_as_large_as_the_video(clips: Loaded, vace: Session) -> None:
    wide = np.zeros((16, 64, 3), np.uint8)
    inputs = InputsCall(TENANT, MODEL, "d" * 64, call(CANVASES[1]).canvas, references=(await _kept(clips, wide),))

    read = await Conditioner(clips, Decoder()).read_inputs(inputs)

    seen = np.full((32, 48, 3), 255, np.uint8)
    seen[10:22] = 0
    found = await get_latents(clips.blobs(TENANT), read.references[0])
    np.testing.assert_array_equal(found[0], clips.family(MODEL).encode_still(vace, seen))
    assert read.effective_references == ("a picture, seen as 48x32 pixels",)


async def test_the_clip_after_a_tail_is_encoded_once_for_all_that_follows_it(clips: Loaded, vace: Session) -> None:
    random = np.random.default_rng(0)
    latents = random.standard_normal((LATENTS, 4, 4, 4), dtype=np.float32)
    tail = await put_latents(clips.blobs(TENANT), latents)
    other = await put_latents(clips.blobs(TENANT), latents[::-1])
    following = replace(call(), anchor=LatentRef(blob=tail.blob, start=0, count=1), tail=tail)
    conditioner = Conditioner(clips, Decoder())
    await conditioner.condition(call(), TEXT)
    before = encoded(clips)

    first, again = await conditioner.condition(following, TEXT), await conditioner.condition(following, TEXT)

    assert encoded(clips) == before + 1
    family = clips.family(MODEL)
    assert isinstance(family, ClipFamily)
    assert first.short is not None
    assert again.short is not None
    np.testing.assert_array_equal(first.short, family.encode_continued(vace, latents))
    np.testing.assert_array_equal(first.short, again.short)

    before = encoded(clips)
    await conditioner.condition(replace(following, tail=other), TEXT)

    assert encoded(clips) == before + 1


async def test_an_extension_is_stored_behind_its_lead_and_handed_on_without_it(clips: Loaded) -> None:
    still = np.zeros((4, 4, 4), np.float32)
    clip = np.zeros((LATENTS, 4, 4, 4), np.float32)
    conditions = Conditions(CANVASES[0], TEXT, anchor=still[None], short=clip, blank=clip)
    replica = Denoiser(clips, "one")
    replica.start()

    made = await replica.run_slice(
        SliceCall(TENANT, "job", 1, 1, MODEL, segment=1, seed=7, steps=2, fingerprint="f", budget_s=60.0), conditions
    )
    assert made.latents is not None
    held = await replica.take(TakeCall(TENANT, "job", 1, 1, "one", made.latents))
    await replica.cancel(CancelCall("job", "one"))
    read = await replica.take(TakeCall(TENANT, "job", 1, 1, "one", made.latents))
    await replica.stop()

    assert (made.latents.start, made.latents.count) == (LEAD, LATENTS - LEAD)
    np.testing.assert_array_equal(held, read)
    assert len(read) == LATENTS - LEAD
    assert len(await get_array(clips.blobs(TENANT), made.latents.blob)) == LATENTS


async def test_a_foreign_video_is_gone_on_with_from_latents_that_begin_as_a_video_does(
    clips: Loaded, vace: Session
) -> None:
    track = Track(codec=Codec.H264, width=32, height=32, fps=16)
    encoder = SegmentEncoder(track, start_frame=0, sequence_start=0)
    fragments = [*encoder.push(np.random.default_rng(1).integers(0, 256, (41, 32, 32, 3)).astype(np.uint8))]
    fragments += encoder.finish()
    film = await clips.blobs(TENANT).put(encoder.init + b"".join(fragment.data for fragment in fragments))

    made = await Ingester(clips).ingest(IngestCall(TENANT, MODEL, film, call().canvas, track))

    assert made.frames == 41
    assert made.latents == made.tail  # no more of a film is encoded than is gone on from
    assert (made.tail.start, made.tail.count) == (0, LEAD)
    following = replace(call(), anchor=made.anchor, tail=made.tail)
    found = await Conditioner(clips, Decoder()).condition(following, TEXT)
    family = clips.family(MODEL)
    assert isinstance(family, ClipFamily)
    shown = frames_of(await clips.blobs(TENANT).get(film))[-17:]
    tail = await get_latents(clips.blobs(TENANT), made.tail)
    np.testing.assert_array_equal(tail, family.encode_video(vace, shown))
    anchor = await get_latents(clips.blobs(TENANT), made.anchor)
    begun = frames_of(await clips.blobs(TENANT).get(film))[:1]
    np.testing.assert_array_equal(anchor, family.encode_video(vace, begun))
    assert found.short is not None
    np.testing.assert_array_equal(found.short, family.encode_continued(vace, tail))


async def test_what_was_denoised_beside_a_video_is_none_of_it(clips: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a checkpoint of all of it, even of the finished segment, is gone on with."""
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    canvas, still = CANVASES[0], np.zeros((4, 4, 4), np.float32)
    conditions = Conditions(canvas, TEXT, (still, still), blank=np.zeros((LATENTS, 4, 4, 4), np.float32))
    whole = clips.family(MODEL).start(conditions, seed=7, segment=0, steps=3)
    while not whole.done:
        clips.family(MODEL).step(clips, [whole])
    asked = SliceCall(TENANT, "job", 1, 1, MODEL, segment=0, seed=7, steps=3, fingerprint="f", budget_s=60.0)
    replicas = [Denoiser(clips, name) for name in ("one", "two")]
    for replica in replicas:
        replica.start()

    made = await replicas[0].run_slice(asked, conditions)
    await replicas[0].stop()
    again = await replicas[1].run_slice(replace(asked, attempt=2, resume=True), conditions)
    assert made.latents is not None
    taken = await replicas[1].take(TakeCall(TENANT, "job", 2, 0, "two", made.latents))
    await replicas[1].stop()

    assert (again.restored, again.from_step, again.latents) == (True, 3, made.latents)
    assert made.latents.count == LATENTS
    for found in (taken, await get_latents(clips.blobs(TENANT), made.latents)):
        np.testing.assert_array_equal(found, whole.latents[2:])


async def test_a_clip_that_the_store_lost_is_encoded_again(clips: Loaded) -> None:
    conditioner = Conditioner(clips, Decoder())
    wanted = (await conditioner.condition(call(), TEXT)).blank
    async for entry in clips.store.list(f"t/{TENANT}/blobs/"):
        await clips.store.delete(entry.key)

    found = (await conditioner.condition(call(), TEXT)).blank

    assert found is not None
    assert wanted is not None
    np.testing.assert_array_equal(found, wanted)


async def test_a_clip_that_the_store_broke_is_encoded_again_and_mended(clips: Loaded) -> None:
    conditioner = Conditioner(clips, Decoder())
    wanted = (await conditioner.condition(call(), TEXT)).blank
    async for entry in clips.store.list(f"t/{TENANT}/blobs/"):
        there = await clips.store.get(entry.key)
        await clips.store.swap(entry.key, there.data[:-1] + bytes([there.data[-1] ^ 1]), there.version)
    before = encoded(clips)

    found = (await conditioner.condition(call(), TEXT)).blank
    again = (await conditioner.condition(call(), TEXT)).blank

    assert encoded(clips) == before + 1
    for blank in (found, again):
        assert blank is not None
        assert wanted is not None
        np.testing.assert_array_equal(blank, wanted)


async def test_a_clip_that_nobody_waits_for_any_more_is_not_encoded_to_its_end(clips: Loaded) -> None:
    """And the next one begins when it has ended."""
    conditioner, steps = Conditioner(clips, Decoder()), "vae_encoder_step"
    before = small.calls(clips, steps)
    waiting = asyncio.create_task(conditioner.condition(call(tenant="left"), TEXT))
    while small.calls(clips, steps) == before:  # noqa: ASYNC110  (an engine tells nobody of its calls)
        await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert small.calls(clips, steps) - before < LATENTS - 1
    assert not clips.encoding.locked()


async def test_the_same_checkpoint_in_another_length_takes_no_clip_of_this_one(clips: Loaded, vace: Session) -> None:
    """Engines, and so their digest, are the same for every length."""
    family = clips.family(MODEL)
    assert isinstance(family, WanVaceFamily)
    longer = models.opened(family.weights, name=MODEL, sizes=Sizes(CANVASES, seconds=3)).family
    picture = await _kept(clips, np.zeros((32, 32, 3), np.uint8))
    inputs = InputsCall(TENANT, MODEL, "d" * 64, call().canvas, first_frame=picture)
    await Conditioner(clips, Decoder()).read_inputs(inputs)
    await Conditioner(clips, Decoder()).condition(call(), TEXT)

    same_engines = copy(vace)
    same_engines.family = longer
    conditioner = Conditioner(replace(clips, session=same_engines), Decoder())
    read = await conditioner.read_inputs(inputs)
    found = await conditioner.condition(replace(call(), first_frame=read.first_frame), TEXT)
    assert found.first is not None
    assert found.blank is not None
    assert len(found.first) == len(found.blank) == 13


async def test_a_family_of_stills_is_given_no_clip_and_none_is_looked_for(loaded: Loaded) -> None:
    conditioner = Conditioner(loaded, Decoder())

    found = await conditioner.condition(ConditionCall(small.TENANT, small.MODEL, small.CANVAS), TEXT)

    assert found.blank is None
    assert [entry.key async for entry in loaded.store.list(f"t/{small.TENANT}/cache/")] == []


async def _kept(loaded: Loaded, picture: np.ndarray) -> str:
    return await loaded.blobs(TENANT).put(png(picture))
