"""A video made again equals the stored one, digest by digest; what differs is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.session import Session
from serving.cli import reproduce as command
from serving.errors import FailedPrecondition, NotFound
from serving.jobs.record import JobRecord, JobState
from serving.media.still import png
from serving.reproduction.reproduce import reproduce
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.stages.contracts import PromptCall, PromptResult, StageLost
from serving.store.blobs import Blobs
from tests.unit.serving.director.conftest import TENANT, Office, office, session
from tests.unit.serving.director.plain import PlainStages

pytestmark = pytest.mark.anyio
__all__ = ["office", "session"]


async def _job(office: Office, session: Session, **fields: Any) -> JobRecord:
    """Finished, and made by the engines that are here."""
    if not office.directors:
        await office.director()
    done = await office.ended(await office.job(model_digest=session.digest, **fields))
    assert done.state is JobState.SUCCEEDED, done.error
    return done


async def test_text_extension_reference_and_image_are_reproduced(office: Office, session: Session) -> None:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:48] = (230, 20, 20)
    digest = await Blobs(office.store, TENANT).put(png(picture))
    root = await _job(office, session, seconds=2)
    office.stages.faults["render"].append(StageLost("gone"))  # a disturbed one is no different
    jobs = [
        root,
        await _job(office, session, parent=root),
        await _job(office, session, references=(digest,)),
        await _job(office, session, kind=Kind.IMAGE, seconds=0, resolution="1k", images=2),
    ]
    before = [entry async for entry in office.store.list(f"t/{TENANT}/")]
    for job in jobs:
        found = await reproduce(office.store, TENANT, job.id, session)
        assert found
        assert [digest.what for digest in found if not digest.equal] == []
    assert [entry async for entry in office.store.list(f"t/{TENANT}/")] == before


async def test_a_video_is_made_again_from_its_caption_however_its_prompt_would_be_worded_now(
    office: Office, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write_prompt(stages: PlainStages, call: PromptCall) -> PromptResult:
        return PromptResult(("a green square at column 1, row 4 moves up under a navy sky, the camera holds",))

    monkeypatch.setattr(PlainStages, "write_prompt", write_prompt)  # as a language model would word it
    job = await _job(office, session)

    found = await reproduce(office.store, TENANT, job.id, session)

    assert job.effective_prompt.startswith("a green square")
    assert [digest.what for digest in found if not digest.equal] == []


async def test_a_changed_segment_is_named(office: Office, session: Session) -> None:
    job = await _job(office, session, seconds=2)
    segments = Segments(office.store, TENANT)
    second = await segments.get(job.segments[1])
    other = second.model_copy(update={"latents": (await segments.get(job.segments[0])).latents})
    forged = await segments.commit(other)
    key = f"t/{TENANT}/jobs/{job.id}"
    stored = await office.store.get(key)
    await office.store.swap(key, stored.data.replace(job.segments[1].encode(), forged.encode()), stored.version)

    found = await reproduce(office.store, TENANT, job.id, session)

    differing = [(digest.segment, digest.what) for digest in found if not digest.equal]
    assert differing == [(1, "latents"), (1, "manifest")]


async def test_what_cannot_be_compared_is_refused(office: Office, session: Session, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await reproduce(office.store, TENANT, "vid_nothing", session)
    waiting = await office.job(model_digest=session.digest)
    with pytest.raises(FailedPrecondition, match="only a finished video"):
        await reproduce(office.store, TENANT, waiting.id, session)
    await office.director()
    foreign = await office.ended(await office.job(model_digest="e" * 64))
    with pytest.raises(FailedPrecondition, match="was made by the engines eeeeeeeeeeee of sprite-2"):
        await reproduce(office.store, TENANT, foreign.id, session)


async def test_a_video_of_a_model_that_is_gone_is_refused_with_its_name(
    office: Office, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    job = await _job(office, session)
    gone = job.model_copy(update={"plan": job.plan.model_copy(update={"model": "sprite-1"})})
    with pytest.raises(FailedPrecondition, match=f"{job.id} was made by sprite-1, a model that is not installed here"):
        await command.engines_of(gone, office.store)
    monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", "onnxruntime-gpu")
    with pytest.raises(FailedPrecondition, match=f"{job.id} was made by sprite-2, and engines of it are needed"):
        await command.engines_of(job, office.store)
