"""Each stage by itself, on the real engines: what is cached, what is resumed, what joins."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.families.base import Canvas, Conditions
from serving.errors import Corrupt, FailedPrecondition, InvalidArgument, Unavailable
from serving.media.encode import SegmentEncoder
from serving.media.sandbox import Decoder
from serving.media.still import frames_of, png
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.manifest import LatentRef, ManifestCanvas
from serving.stages import denoise
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.condition import Conditioner
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    IngestCall,
    InputsCall,
    RenderCall,
    SliceCall,
    TakeCall,
    TextCall,
)
from serving.stages.denoise import Denoiser
from serving.stages.ingest import Ingester, fit, shrink
from serving.stages.latents import get_latents, put_latents
from serving.stages.loaded import Loaded
from serving.stages.render import Renderer
from serving.stages.text import TextEncoder

pytestmark = pytest.mark.anyio

TENANT = "studio"
MODEL = "sprite-1"
CANVAS = ManifestCanvas(aspect_ratio="1:1", height=64, width=64)
TRACK = Track(codec=Codec.H264, width=128, height=128, fps=16)
CAPTION = "a red circle moves right over a white background middle"


def _calls(loaded: Loaded, component: str) -> int:
    return loaded.session.usage[component].calls


async def _text(loaded: Loaded, tenant: str = TENANT) -> np.ndarray:
    return await TextEncoder(loaded).embed(TextCall(tenant, MODEL, "d" * 64, CAPTION))


async def _conditions(loaded: Loaded) -> Conditions:
    return Conditions(canvas=Canvas("1:1", 64, 64), text=await _text(loaded))


# ── text and pictures ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_caption_is_embedded_once_within_a_tenant(loaded: Loaded) -> None:
    before = _calls(loaded, "text_encoder")
    first, again = await _text(loaded), await _text(loaded)
    assert _calls(loaded, "text_encoder") == before + 1
    np.testing.assert_array_equal(first, again)

    await _text(loaded, tenant="other")

    assert _calls(loaded, "text_encoder") == before + 2


async def test_a_picture_is_decoded_and_encoded_once(loaded: Loaded) -> None:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[8:40, 8:40] = (20, 20, 230)
    digest = await loaded.blobs(TENANT).put(png(picture))
    conditioner = Conditioner(loaded, Decoder())
    call = InputsCall(TENANT, MODEL, "d" * 64, CANVAS, first_frame=digest, references=(digest,))
    before = _calls(loaded, "vae_encoder")

    first, again = await conditioner.read_inputs(call), await conditioner.read_inputs(call)

    assert first == again
    assert _calls(loaded, "vae_encoder") == before + 2
    assert first.effective_references[0]
    conditions = await conditioner.condition(
        ConditionCall(TENANT, MODEL, CANVAS, first.first_frame, first.references), await _text(loaded)
    )
    assert conditions.is_root
    assert conditions.first is not None
    assert (conditions.first.shape, conditions.references[0].shape) == ((1, 16, 8, 8), (16, 4, 4))


async def test_what_the_cache_names_and_the_store_lost_is_computed_again(loaded: Loaded) -> None:
    picture = await loaded.blobs(TENANT).put(png(np.full((64, 64, 3), 90, np.uint8)))
    call = InputsCall(TENANT, MODEL, "d" * 64, CANVAS, first_frame=picture, references=(picture,))
    conditioner = Conditioner(loaded, Decoder())
    text, inputs = await _text(loaded), await conditioner.read_inputs(call)
    async for entry in loaded.store.list(f"t/{TENANT}/blobs/"):
        if not entry.key.endswith(picture):
            await loaded.store.delete(entry.key)

    np.testing.assert_array_equal(await _text(loaded), text)
    assert await conditioner.read_inputs(call) == inputs
    assert inputs.first_frame is not None
    await get_latents(loaded.blobs(TENANT), inputs.first_frame)


async def test_a_picture_that_is_none_is_refused(loaded: Loaded) -> None:
    digest = await loaded.blobs(TENANT).put(b"GIF89a and then nothing")

    with pytest.raises(InvalidArgument):
        await Conditioner(loaded, Decoder()).read_inputs(
            InputsCall(TENANT, MODEL, "d" * 64, CANVAS, references=(digest,))
        )


async def test_a_call_for_another_model_is_refused(loaded: Loaded) -> None:
    with pytest.raises(FailedPrecondition, match="sprite-1"):
        await TextEncoder(loaded).embed(TextCall(TENANT, "wan", "d" * 64, CAPTION))


async def test_latents_beyond_their_blob_are_corrupt(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    ref = await put_latents(blobs, np.zeros((4, 16, 8, 8), np.float32))

    with pytest.raises(Corrupt, match="4 latents, not 6"):
        await get_latents(blobs, LatentRef(blob=ref.blob, start=2, count=4))
    with pytest.raises(Corrupt):
        await get_latents(blobs, LatentRef(blob=await blobs.put(b"junk"), start=0, count=1))


# ── denoising ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def denoiser(loaded: Loaded, anyio_backend: str) -> AsyncIterator[Denoiser]:
    denoiser = Denoiser(loaded, "one")
    denoiser.start()
    yield denoiser
    await denoiser.stop()


def _slice(**fields: Any) -> SliceCall:
    asked: dict[str, Any] = {
        "job": "job",
        "attempt": 1,
        "segment": 0,
        "seed": 7,
        "steps": 4,
        "budget_s": 30.0,
        "fingerprint": "f",
        "epoch": 1,
        **fields,
    }
    return SliceCall(tenant=TENANT, model=MODEL, **asked)


async def test_slices_reach_the_same_latents_as_one_run(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    steps = [(await denoiser.run_slice(_slice(budget_s=0.0), conditions)).steps_done for _ in range(3)]
    last = await denoiser.run_slice(_slice(budget_s=0.0), conditions)

    assert steps == [1, 2, 3]
    assert (last.done, last.replica) == (True, "one")
    assert last.latents == whole.latents != None  # noqa: E711  (a chain: equal, and there)


async def test_finished_latents_that_the_store_did_not_take_are_put_again_and_not_made_again(
    loaded: Loaded, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> LatentRef:
        raise Unavailable("the store is away")

    conditions = await _conditions(loaded)
    with monkeypatch.context() as patched:
        patched.setattr(denoise, "put_latents", away)
        with pytest.raises(Unavailable):
            await denoiser.run_slice(_slice(), conditions)
    before = _calls(loaded, "dit")

    again = await denoiser.run_slice(_slice(), conditions)

    assert (again.done, again.from_step, _calls(loaded, "dit")) == (True, 4, before)


async def test_a_segment_starts_again_on_a_replica_that_does_not_hold_it(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    other = Denoiser(loaded, "two")
    other.start()

    moved = await other.run_slice(_slice(resume=True), conditions)
    assert moved.latents is not None
    taken = await other.take(TakeCall(TENANT, "gone", 1, 0, "one", moved.latents))
    await other.stop()

    assert moved.latents == whole.latents
    assert taken.shape == (5, 16, 8, 8)


async def test_a_killed_replicas_segment_goes_on_from_its_checkpoint_to_the_same_bytes(
    loaded: Loaded, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    conditions = await _conditions(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    await denoiser.run_slice(_slice(budget_s=0.0), conditions)
    await asyncio.gather(*denoiser._writing.values())  # of each segment, one checkpoint is written at a time
    reached = await denoiser.run_slice(_slice(budget_s=0.0), conditions)
    await denoiser.stop()  # waits for the checkpoint that is being written
    before = _calls(loaded, "dit")
    other = Denoiser(loaded, "two")
    other.start()

    resumed = await other.run_slice(_slice(attempt=2, resume=True), conditions)
    await other.stop()

    assert (reached.steps_done, resumed.from_step, resumed.restored) == (2, 2, True)
    assert _calls(loaded, "dit") == before + 2
    assert resumed.latents == whole.latents


async def test_jobs_that_are_stepped_together_become_what_they_become_alone(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    seeds = range(6)
    alone = [await denoiser.run_slice(_slice(job=f"alone-{seed}", seed=seed), conditions) for seed in seeds]
    before = _calls(loaded, "dit")

    together = await asyncio.gather(
        *(denoiser.run_slice(_slice(job=f"crowd-{seed}", seed=seed, rank=(0, 5)), conditions) for seed in seeds)
    )

    assert [result.latents for result in together] == [result.latents for result in alone]
    assert _calls(loaded, "dit") - before < len(seeds) * 4


async def test_slices_of_a_director_that_was_replaced_are_refused(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    await denoiser.run_slice(replace(_slice(budget_s=0.0), epoch=2), conditions)
    old = await denoiser.run_slice(_slice(), conditions)
    assert (old.stale, old.steps_done, old.latents) == (True, 0, None)


async def test_a_finished_segment_is_not_run_again_and_is_handed_over(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    done = await denoiser.run_slice(_slice(), conditions)
    before = _calls(loaded, "dit")

    again = await denoiser.run_slice(_slice(), conditions)

    assert again.latents == done.latents is not None
    assert _calls(loaded, "dit") == before
    taken = await denoiser.take(TakeCall(TENANT, "job", 1, 0, "one", done.latents))
    np.testing.assert_array_equal(taken, await get_latents(loaded.blobs(TENANT), done.latents))


@pytest.mark.parametrize("budget_s", [0.0, 30.0], ids=["begun", "finished"])
async def test_other_work_under_the_same_job_and_segment_is_done_anew(
    loaded: Loaded, denoiser: Denoiser, budget_s: float
) -> None:
    conditions = await _conditions(loaded)
    wanted = await denoiser.run_slice(_slice(job="fresh", seed=8), conditions)
    before = await denoiser.run_slice(_slice(seed=7, fingerprint="before", budget_s=budget_s), conditions)

    now = await denoiser.run_slice(_slice(seed=8, fingerprint="now"), conditions)

    assert (now.done, now.from_step, now.latents) == (True, 0, wanted.latents)
    assert now.latents != before.latents


async def test_latents_are_handed_over_by_their_digest(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    results = [await denoiser.run_slice(_slice(seed=seed, fingerprint=f"{seed}"), conditions) for seed in (7, 8)]

    for latents in [result.latents for result in results]:
        assert latents is not None
        taken = await denoiser.take(TakeCall(TENANT, "job", 1, 0, "one", latents))
        np.testing.assert_array_equal(taken, await get_latents(loaded.blobs(TENANT), latents))


@pytest.mark.parametrize(("epoch", "stops"), [(1, False), (2, True), (3, True), (None, True)])
async def test_only_a_director_that_was_not_replaced_cancels(
    loaded: Loaded, denoiser: Denoiser, epoch: int | None, stops: bool
) -> None:
    conditions = await _conditions(loaded)
    begun = await denoiser.run_slice(_slice(epoch=2, steps=40, budget_s=0.0), conditions)
    running = asyncio.create_task(denoiser.run_slice(_slice(epoch=2, steps=40), conditions))
    await asyncio.sleep(0)  # it is handed to the loop before anything is cancelled

    await denoiser.cancel(CancelCall("job", "one", epoch))
    went_on = await running
    again = await denoiser.run_slice(_slice(epoch=2, steps=40, budget_s=0.0), conditions)

    assert begun.steps_done == 1
    assert (went_on.cancelled, went_on.done) == (stops, not stops)
    assert again.from_step == (0 if stops else 40)


def test_a_cancellation_of_an_earlier_version_is_read() -> None:
    earlier = CancelCall.__new__(CancelCall)
    earlier.__dict__.update(job="job", replica="one")  # what unpickling does

    assert pickle.loads(pickle.dumps(earlier)).epoch is None


async def test_cancelling_forgets_what_was_finished(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await _conditions(loaded)
    await denoiser.run_slice(_slice(), conditions)
    before = _calls(loaded, "dit")

    await denoiser.cancel(CancelCall("job", "one"))
    await denoiser.run_slice(_slice(), conditions)

    assert _calls(loaded, "dit") == before + 4


# ── rendering ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_segments_rendered_apart_are_the_video_decoded_in_one(loaded: Loaded, tmp_path: Path) -> None:
    blobs, renderer = loaded.blobs(TENANT), Renderer(loaded)
    latents = np.random.default_rng(3).standard_normal((9, 16, 8, 8)).astype(np.float32) * 0.5
    ref = await put_latents(blobs, latents)

    root = await renderer.render(RenderCall(TENANT, "job", MODEL, TRACK, 0, 0), latents[:5])
    lead = LatentRef(blob=ref.blob, start=4, count=1)
    rest = await renderer.render(
        RenderCall(TENANT, "job", MODEL, TRACK, root.frames, len(root.media.fragment_sizes), lead), latents[5:]
    )

    assert (root.frames, rest.frames) == (17, 16)
    assert root.media.fragment_frames == (1, 4, 4, 4, 4)
    assert root.init == rest.init
    assert set(root.seconds) == {"decode", "encode", "upload"}
    joined = frames_of(b"".join([await blobs.get(digest) for digest in (root.init, root.media.blob, rest.media.blob)]))
    whole = np.concatenate(list(loaded.session.family.decode(loaded.session, latents, lead=None)))
    native = joined[:, ::2, ::2].astype(int)
    assert len(joined) == 33
    assert np.abs(native - whole).mean() < 12
    assert (await blobs.get(root.thumbnail)).startswith(b"\x89PNG")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library keeps what it keeps")
async def test_a_renderer_does_not_grow_with_the_segments_that_it_encodes(loaded: Loaded) -> None:
    renderer = Renderer(loaded)
    latents = np.random.default_rng(3).standard_normal((5, 16, 8, 14)).astype(np.float32) * 0.5
    call = RenderCall(TENANT, "job", MODEL, Track(codec=Codec.AV1, width=784, height=448, fps=16), 0, 0)
    await renderer.render(call, latents)
    before = _resident_mb()

    for _ in range(4):  # without giving back, 100 to 280 MB more
        await renderer.render(call, latents)

    assert _resident_mb() - before < 70


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_an_image_is_the_first_frame_enlarged_by_a_whole_factor(loaded: Loaded) -> None:
    latents = np.zeros((5, 16, 8, 14), np.float32)

    made = await Renderer(loaded).render_image(ImageCall(TENANT, "job", MODEL, longest_side=1024), latents)

    assert (made.width, made.height) == (1008, 576)


# ── foreign videos ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_foreign_video_keeps_its_own_pixels_and_gets_latents(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    frames = np.full((40, 128, 128, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        frame[32:96, number : number + 48] = (20, 20, 230)
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    fragments = [*encoder.push(frames[:1]), *encoder.push(frames[1:]), *encoder.finish()]
    video = await blobs.put(encoder.init + b"".join(fragment.data for fragment in fragments))

    made = await Ingester(loaded, Decoder()).ingest(IngestCall(TENANT, MODEL, video, CANVAS, TRACK))

    assert made.frames == 37
    assert sum(made.media.fragment_frames) == 37
    assert (made.latents.count, made.anchor.start, made.tail.start, made.tail.count) == (10, 0, 8, 2)
    assert "37 frames" in made.warnings[0]
    shown = frames_of(await blobs.get(made.init) + await blobs.get(made.media.blob))
    assert np.abs(shown[20].astype(int) - frames[20]).mean() < 6


async def test_a_foreign_video_that_the_store_garbled_is_not_ingested(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    frames = np.full((40, 128, 128, 3), 255, np.uint8)
    fragments = [*encoder.push(frames), *encoder.finish()]
    film = encoder.init + b"".join(fragment.data for fragment in fragments)
    digest = await blobs.put(film)
    key = next(
        key for key in [entry.key async for entry in loaded.store.list(f"t/{TENANT}/blobs/")] if key.endswith(digest)
    )
    await loaded.store.delete(key)
    await loaded.store.put_if_absent(key, film[:-1] + bytes([film[-1] ^ 1]))

    with pytest.raises(Corrupt, match=digest):
        await Ingester(loaded, Decoder()).ingest(IngestCall(TENANT, MODEL, digest, CANVAS, TRACK))


async def test_whole_latents_are_taken_of_any_length(loaded: Loaded) -> None:
    capabilities = loaded.session.family.capabilities

    assert fit(2.0, capabilities)[0] == 29
    assert fit(33 / 16, capabilities) == (33, ())
    with pytest.raises(InvalidArgument, match="at least"):
        fit(0.2, capabilities)


async def test_frames_are_averaged_down_to_the_canvas() -> None:
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[:, ::2] = 200

    assert (shrink(frame, CANVAS) == 100).all()
