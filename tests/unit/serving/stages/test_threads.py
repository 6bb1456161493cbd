"""Whoever is cancelled keeps his place until his thread is done, at every stage."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.media.encode import SegmentEncoder
from serving.media.sandbox import Decoder
from serving.media.still import png
from serving.stages.condition import Conditioner
from serving.stages.contracts import RENDERS_AT_ONCE, ImageCall, IngestCall, InputsCall, RenderCall
from serving.stages.ingest import Ingester
from serving.stages.loaded import Loaded
from serving.stages.render import Renderer
from serving.stages.threads import Stop, Stopped, in_thread, stoppable
from tests.unit.serving.stages.small import CANVAS, MODEL, TENANT, TRACK

pytestmark = pytest.mark.anyio

LATENTS = np.zeros((9, 16, 8, 8), np.float32)


@dataclass(frozen=True)
class Held(Loaded):
    """Its engines answer when they may."""

    asked: threading.Event = field(default_factory=threading.Event)
    may: threading.Event = field(default_factory=threading.Event)

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        self.asked.set()
        self.may.wait(10.0)
        return super().infer(component, inputs)


async def _render(loaded: Loaded) -> object:
    return await Renderer(loaded).render(RenderCall(TENANT, "job", MODEL, TRACK, 0, 0), LATENTS)


async def _draw(loaded: Loaded) -> object:
    return await Renderer(loaded).render_image(ImageCall(TENANT, "job", MODEL, longest_side=128), LATENTS)


async def _ingest(loaded: Loaded) -> object:
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    fragments = [*encoder.push(np.zeros((40, 128, 128, 3), np.uint8)), *encoder.finish()]
    video = await loaded.blobs(TENANT).put(encoder.init + b"".join(fragment.data for fragment in fragments))
    return await Ingester(loaded).ingest(IngestCall(TENANT, MODEL, video, CANVAS, TRACK))


async def _read_inputs(loaded: Loaded) -> object:
    picture = await loaded.blobs(TENANT).put(png(np.zeros((64, 64, 3), np.uint8)))
    call = InputsCall(TENANT, MODEL, "d" * 64, CANVAS, references=(picture,))
    return await Conditioner(loaded, Decoder()).read_inputs(call)


@pytest.mark.parametrize("call", [_render, _draw, _ingest, _read_inputs])
async def test_a_cancelled_call_is_over_when_its_thread_is(
    loaded: Loaded, call: Callable[[Loaded], Awaitable[object]]
) -> None:
    held = Held(loaded.session, loaded.store, loaded.metrics)
    running = asyncio.ensure_future(call(held))
    assert await asyncio.to_thread(held.asked.wait, 10.0)

    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()

    held.may.set()
    with pytest.raises(asyncio.CancelledError):
        await running


@dataclass(frozen=True)
class Counted(Loaded):
    """Takes its time, and counts."""

    inside: list[str] = field(default_factory=list)
    most: list[int] = field(default_factory=lambda: [0])
    calls: list[str] = field(default_factory=list)

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        self.inside.append(component)
        self.calls.append(component)
        self.most[0] = max(self.most[0], len(self.inside))
        time.sleep(0.1)
        self.inside.pop()
        return super().infer(component, inputs)


async def test_no_more_segments_are_encoded_at_once_than_allowed_though_cancelled_calls_give_their_places_away(
    loaded: Loaded,
) -> None:
    counted = Counted(loaded.session, loaded.store, loaded.metrics)
    renderer = Renderer(counted)
    call = RenderCall(TENANT, "job", MODEL, TRACK, 0, 0)
    cancelled = []
    for _ in range(4):
        two = [asyncio.ensure_future(renderer.render(call, LATENTS)) for _ in range(RENDERS_AT_ONCE)]
        await asyncio.sleep(0.05)
        for running in two:
            running.cancel()
        cancelled += two
    ended = await asyncio.gather(*cancelled, return_exceptions=True)

    assert [type(end) for end in ended] == [asyncio.CancelledError] * len(ended)
    assert counted.most[0] <= RENDERS_AT_ONCE
    in_vain = len(counted.calls)
    assert (await renderer.render(call, LATENTS)).frames == 33
    whole = len(counted.calls) - in_vain
    assert in_vain < len(cancelled) * whole / 2, "they end between two groups of frames"


async def test_long_work_is_told_that_nobody_wants_it_any_more() -> None:
    began, ends = threading.Event(), []

    def work(stop: Stop) -> None:
        try:
            while True:
                began.set()
                time.sleep(0.01)
                stop.check()
        except Stopped:
            time.sleep(0.1)
            ends.append("told")
            raise

    running = asyncio.ensure_future(stoppable(work))
    await asyncio.to_thread(began.wait, 10.0)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ends == ["told"]


async def test_what_the_work_returns_and_raises_is_handed_on() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)
