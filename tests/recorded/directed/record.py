# mypy: ignore-errors
"""Wrote `store.tar.xz`: a small directory store, as the code left it that shipped sprite-2 first. It runs on that code
alone, at the commit that brought this file:

    git worktree add ../before $(git log -1 --format=%H --diff-filter=A -- tests/recorded/directed/record.py)
    cp engines/families/sprite/prebuilt/* ../before/engines/families/sprite/prebuilt/
    PYTHONPATH=../before python tests/recorded/directed/record.py tests/recorded/directed

The engines are those that ship now: what other engines began is begun again, and is not what is tested. So when they
are built anew, the store is recorded anew, by the code of then; `CHECKPOINT` of the test is where the kill struck.

`tests/contract/test_recorded_store.py` reads the store with the code of today. What it holds, all of it made by the
real Director and stages on the shipped engines:

    an uploaded picture; a finished video that begins with it, and a note to keep the video as a file, not done yet
    its extension
    a finished image
    a job whose pictures ended worker after worker: a dead letter, and a quarantine
    a job of two segments whose process was killed in the second: a lease, a segment, a checkpoint
    a job that was never begun

`expected.json` beside it says what that code served. Change nothing here: a store of a later version is recorded by a
script of its own, beside this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from engines import models
from engines.session import Session, load_session
from serving.director.director import Director
from serving.files.repository import Files
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.surfaces.xai.keep import Keeper, KeepOptions
from serving.jobs.epoch import take_epoch
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.media.still import png
from serving.metrics import Unrecorded
from serving.plan import plan
from serving.requests import Kind, OwnSource, VideoRequest
from serving.segments.lineage import Segments, shape_of
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.contracts import InputsCall, InputsResult, SliceCall, SliceResult, StageLost
from serving.stages.in_process import InProcessStages
from serving.stages.interface import Ref
from serving.stages.loaded import Loaded
from serving.store.base import Store
from serving.store.blobs import Blobs
from serving.store.open import open_store

MODEL, TENANT = "sprite-2", "default"
LONG = 50
"""Steps of the job that is killed."""
PACKED_AT_S = 1_767_225_600
"""2026-01-01: every object's age in the archive."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class DisturbedStages(InProcessStages):
    """Whoever reads two references dies of it; a second segment takes so long that the first is committed meanwhile.
    Its checkpoints may cost what they like."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self._denoiser._policy = CheckpointPolicy(share=1.0)

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        if len(call.references) == 2:
            raise StageLost("the conditioner's process ended with exit code 139")
        return await super().read_inputs(call)

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        if call.segment == 1 and call.steps == LONG:
            await asyncio.sleep(0.5)
        return await super().run_slice(call, conditions)


class Recorder:
    """Writes jobs as a front door does, and has a Director carry them out."""

    def __init__(self, store: Store, session: Session) -> None:
        self.store = store
        self.session = session
        self.jobs = Jobs(store)
        self.seed = 7

    async def job(self, name: str, *, parent: JobRecord | None = None, priority: int = 5, **asked: object) -> JobRecord:
        self.seed += 1
        can = models.family(MODEL).capabilities
        fields = {"prompt": "a red square moves right under a white sky", "seconds": 1, "steps": 3} | asked
        extends = OwnSource(video=parent.id, segment=parent.head) if parent else None
        request = VideoRequest(
            model=MODEL, aspect_ratio="1:1", seed=self.seed, extends=extends, **{"resolution": "480p"} | fields
        )
        shape = shape_of(await Segments(self.store, TENANT).get(extends.segment)) if extends else None
        created = await self.jobs.create(
            JobRecord(
                id=derived_id("vid_", TENANT, name),
                tenant=TENANT,
                request=request,
                plan=plan(request, can, model_digest=self.session.digest, seed=self.seed, parent=shape),
                priority=priority,
                created_ms=now_ms(),
            )
        )
        return created.record

    @contextlib.asynccontextmanager
    async def director(self) -> AsyncIterator[None]:
        stages = DisturbedStages(Loaded(self.session, self.store, Unrecorded()))
        stages.start()
        director = Director(
            store=self.store,
            jobs=self.jobs,
            epoch=await take_epoch(self.store),
            stages=stages,
            family=models.family,
            slots=1,
            slice_s=0.1,
            metrics=Unrecorded(),
            now_ms=now_ms,
            incident=lambda: "1",
        )
        life = asyncio.create_task(director.run())
        yield
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await stages.stop()

    async def ended(self, record: JobRecord) -> JobRecord:
        while not (record := await self.jobs.get(TENANT, record.id)).state.terminal:  # noqa: ASYNC110  (the store tells nobody)
            await asyncio.sleep(0.05)
        return record


async def make(folder: Path) -> dict[str, object]:
    """Everything that ends; what today's code must find again."""
    store = await open_store(str(folder), probe=False)
    recorder = Recorder(store, await load_session(MODEL))
    signer = await UrlSigner.open(store, public_url="http://127.0.0.1:1", ttl_s=3600)
    films = Films(store, Records(recorder.jobs, RecordCache(clock=time.monotonic), Unrecorded()), signer)
    files = Files(store, films, now_ms=now_ms, max_bytes=100_000)
    file = await files.upload(TENANT, "square.png", _pieces(_square((230, 20, 20))))
    harmful = await Blobs(store, TENANT).put(_square((20, 20, 230)))
    async with recorder.director():
        video = await recorder.ended(await recorder.job("video", first_frame=file.sha256))
        await Keeper(store, files, signer).note(video, KeepOptions(filename="circle.mp4"))
        extension = await recorder.ended(await recorder.job("extension", parent=video, prompt="it goes left"))
        image = await recorder.ended(await recorder.job("image", kind=Kind.IMAGE, seconds=0, resolution="1k"))
        poison = await recorder.ended(await recorder.job("poison", references=(harmful, harmful)))
    served = {}
    for record in (video, extension):
        mp4 = b"".join([piece async for piece in films.video_bytes(TENANT, record.id)])
        served[record.id] = hashlib.sha256(mp4).hexdigest()
    await store.close()
    return {
        "video": video.id,
        "extension": extension.id,
        "image": image.id,
        "image_sha256": image.images[0],
        "poison": poison.id,
        "file": file.id,
        "file_sha256": file.sha256,
        "harmful_sha256": harmful,
        "mp4_sha256": served,
        "interrupted": derived_id("vid_", TENANT, "interrupted"),
        "queued": derived_id("vid_", TENANT, "queued"),
    }


async def die(folder: Path) -> None:
    """Work on one job until it has a segment and a checkpoint of the next, and end as by a power cut."""
    store = await open_store(str(folder), probe=False)
    recorder = Recorder(store, await load_session(MODEL))
    interrupted = await recorder.job(
        "interrupted",
        seconds=2,
        steps=LONG,
        prompt="a red square stays. the camera pans right",
    )
    async with recorder.director():
        await asyncio.sleep(1)
        await recorder.job("queued", priority=9)
        while True:
            record = await recorder.jobs.get(TENANT, interrupted.id)
            second = f"t/{TENANT}/checkpoints/{interrupted.id}/00001/"
            steps = [int(e.key.rpartition("/")[2][:6]) async for e in store.list(second)]
            if record.segments and 5 < max(steps, default=0) < 45:
                os.kill(os.getpid(), signal.SIGKILL)
            assert not record.state.terminal, "it was too fast: no checkpoint was written in its second segment"
            await asyncio.sleep(0.01)


def _square(colour: tuple[int, int, int]) -> bytes:
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[8:24, 8:24] = colour
    return png(picture)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def pack(folder: Path, archive: Path) -> None:
    """All objects, in order, each as old as the others."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = PACKED_AT_S
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=9) as tar:
        for path in sorted((folder / "objects").rglob("*")):
            if path.is_file():
                tar.add(path, arcname=str(path.relative_to(folder)), filter=plain)
    archive.write_bytes(packed.getvalue())


def main() -> None:
    """Record into the folder that is named."""
    if sys.argv[1] == "die":
        asyncio.run(die(Path(sys.argv[2])))
        return
    into = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        expected = asyncio.run(make(Path(scratch)))
        killed = subprocess.run([sys.executable, __file__, "die", scratch], check=False)
        assert killed.returncode == -signal.SIGKILL, killed
        pack(Path(scratch), into / "store.tar.xz")
    (into / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
