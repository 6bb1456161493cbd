"""Clients: they create, resend what was not answered, poll, cancel, extend and delete, through any front door.

Each remembers what it was promised, and breaks the world (`Violation`) when a promise is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from serving.errors import (
    AlreadyExists,
    Corrupt,
    FailedPrecondition,
    InvalidArgument,
    LongtakeError,
    NotFound,
    ResourceExhausted,
    StoreUnfit,
    Unavailable,
)
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.follow.views import View
from serving.jobs.record import JobRecord, JobState
from serving.requests import Kind
from serving.stages.contracts import StageLost
from tests.sim.doors import Door, caller
from tests.sim.pictures import DEADLY, GOOD
from tests.sim.published import Violation
from tests.sim.world import World

T = TypeVar("T")
_AWAY = (Unavailable, StageLost, StoreUnfit, ResourceExhausted)
"""What a client answers with another try."""


class Client:
    """One user with one API key, who makes some videos one after the other."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._random = world.random
        self._number = number
        self._tenant = f"tenant{number % world.shape.tenants}"
        self._caller = caller(self._tenant, f"key{number}")
        self.videos = 0
        """How many it asked for."""
        self._seen: dict[str, tuple[Door, int]] = {}

    async def live(self) -> None:
        """Make a video, and perhaps go on with it."""
        parent = await self._make(self._draft(extends=self._old()))
        while parent is not None and self._random.random() < 0.4:
            parent = await self._make(self._draft(extends=parent))

    async def visit(self, number: int) -> None:
        """A video that harms nobody."""
        await self.made(Draft(prompt=f"visit | {number}", seconds=1, steps=1, request_id=f"visit {number}"))

    def _old(self) -> JobRecord | None:
        """A video of the past, sometimes."""
        ours = [record for record in self._world.library if record.tenant == self._tenant]
        return self._random.choice(ours) if ours and self._random.random() < 0.7 else None

    async def made(self, draft: Draft) -> JobRecord:
        """This very video, when it has ended."""
        record = await self._create(draft)
        if record is None:
            raise Violation(f"{draft.request_id}: what it extends is gone")
        return await self._ended(record.id)

    def _draft(self, extends: JobRecord | None = None) -> Draft:
        draw = self._random
        self.videos += 1
        image = extends is None and draw.random() < 0.1
        named = draw.random() < 0.5
        hurried = draw.random() < 0.25
        deadly = self._number == 0 and draw.random() < self._world.shape.deadly
        pictured = not image and draw.random() < 0.25
        picture = MediaDraft("picture", data=DEADLY if deadly else draw.choice(GOOD)) if pictured else None
        starts = picture is not None and extends is None and draw.random() < 0.5
        scene = f"{'deadly ' if deadly and not pictured else ''}scene {draw.randrange(3)}"
        usual = draw.random() < self._world.shape.usual
        return Draft(
            kind=Kind.IMAGE if image else Kind.VIDEO,
            prompt=f"{'usual' if usual else scene} | client {self._number} video {self.videos}",
            first_frame=picture if starts else None,
            references=(picture,) if picture is not None and not starts else (),
            ttl_ms=60_000 if draw.random() < 0.1 else None,
            seconds=None if image else draw.choice((1, 1, 2, 3)),
            steps=2 if usual else draw.choice((1, 2, 3, 4, 8, 24)),
            seed=7 if usual else draw.choice((None, 7)),
            extends=ExtensionDraft(video_id=extends.id) if extends else None,
            images=draw.choice((1, 2)) if image else None,
            deadline_ms=self._world.true_ms() + int(1000 * draw.choice((1, 2, 4, 8, 20, 60))) if hurried else None,
            priority=draw.randrange(10) if draw.random() < 0.2 else None,
            request_id=f"request {self._number} {self.videos}" if named else "",
        )

    async def _make(self, draft: Draft) -> JobRecord | None:
        """Create it and see it to its end; the record if it can be extended."""
        draw = self._random
        record = await self._create(draft)
        if record is None:
            return None
        lasting = draft.deadline_ms is None and draft.ttl_ms is None
        if draft.request_id and lasting and draw.random() < 0.2:
            await self._create_again(draft, record)
        if draw.random() < 0.25:
            await asyncio.sleep(self._world.chance.pause_s(0.003, 3.0))
            await self._cancel(record.id)
        record = await self._ended(record.id)
        if record.state is JobState.FAILED and draw.random() < 0.5:
            await self._requeue(record)
        old = self._old()
        if old is not None and draw.random() < 0.3:
            await self._delete(old.id)
        if draw.random() < 0.15:
            await self._delete(record.id)
            return None
        return record if record.state is JobState.SUCCEEDED and record.request.kind is Kind.VIDEO else None

    async def _create(self, draft: Draft) -> JobRecord | None:
        """The job, once a front door has acknowledged it; None if what it extends is gone, or its time too short."""
        marks = self._random.random() < 0.5
        resent = False
        while True:
            create = partial(self._created, draft=draft, resent=resent)
            there = self._world.ledger.same(self._tenant, draft.prompt) if resent else []
            try:
                record = await self._ask(create)
            except _AWAY:
                resent = marks
                await self._pause()
                continue
            except (FailedPrecondition, NotFound):
                if draft.extends is None and draft.deadline_ms is None and draft.ttl_ms is None:
                    raise
                return None
            except InvalidArgument as refused:
                if draft.deadline_ms is None and refused.reason != "QUARANTINED":
                    raise
                return None
            except Corrupt:
                if not self._world.chance.flips:
                    raise
                await self._pause()
                continue
            self._world.ledger.acknowledged(self._tenant, record.id)
            if there and record.id not in there and not self._world.clocks_jump:
                raise Violation(f"a create that was marked as resent made {record.id}, and there was {there} already")
            return record

    async def _created(self, door: Door, *, draft: Draft, resent: bool) -> JobRecord:
        return (await door.creator.create(self._caller, draft, resent=resent)).record

    async def _create_again(self, draft: Draft, record: JobRecord) -> None:
        """The same key names the same job, and takes no other request."""
        again = await self._create(draft)
        if again is None or again.id != record.id:
            raise Violation(f"{record.id} was created again as {again.id if again else None} under one request id")
        other = Draft(prompt="another", seconds=1, steps=1, request_id=draft.request_id)
        while True:
            try:
                taken = await self._ask(lambda door: door.creator.create(self._caller, other))
            except AlreadyExists:
                return
            except _AWAY:
                await self._pause()
                continue
            raise Violation(f"request id {draft.request_id!r} of {record.id} took another request as {taken.record.id}")

    async def _ended(self, job: str) -> JobRecord:
        """Poll it until it has ended."""
        pause = 0.2
        while True:
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)
            try:
                record = await self._view(job)
            except NotFound:  # its time was over before we looked
                known = self._world.ledger.jobs[job].record
                if known.expires_ms is None or known.state is not JobState.DELETED:
                    raise
                return known
            if record is not None and record.state.terminal:
                return record

    async def _view(self, job: str) -> JobRecord | None:
        """What a front door says; None if none answered. Nothing goes back at one door."""
        door = self._world.any_door()
        if door is None:
            return None
        try:
            view = await self._ask(lambda asked: asked.videos.view(self._caller, job), door)
        except _AWAY:
            return None
        known = self._seen.get(job)
        if known is not None and known[0] is door and view.record.version < known[1]:
            raise Violation(f"{door.process} told {job} at version {view.record.version} after {known[1]}")
        self._saw(door, view.record)
        self._world.ledger.told(door.process, view.record)
        return view.record

    def _saw(self, door: Door, record: JobRecord) -> None:
        self._seen[record.id] = door, record.version

    async def _cancel(self, job: str) -> None:
        while True:
            door = self._world.any_door()
            try:
                view = await self._ask(lambda asked: asked.videos.cancel(self._caller, job), door)
            except FailedPrecondition:  # it has ended already
                return
            except _AWAY:
                await self._pause()
                continue
            stored = self._world.ledger.jobs[job].record
            known = view.record.cancel_requested and (stored.cancel_requested or stored.state.terminal)
            if not known and not view.record.state.terminal:
                raise Violation(f"{job}: the cancellation was acknowledged, and the record knows nothing of it")
            if door is not None:
                self._saw(door, view.record)  # who writes sees it
            return

    async def _requeue(self, dead: JobRecord) -> None:
        """As an operator would: the job is made again as another one."""
        while True:
            try:
                again = await self._ask(lambda door: door.dead_jobs.requeue(self._tenant, dead.id))
            except (FailedPrecondition, NotFound):  # it failed for another reason, or is gone
                return
            except _AWAY:
                await self._pause()
                continue
            break
        self._world.ledger.acknowledged(self._tenant, again.id)
        if (again.request, again.plan, again.requeue_of) != (dead.request, dead.plan, dead.id):
            raise Violation(f"{dead.id} was requeued as {again.id}, which is another job")
        await self._ended(again.id)

    async def forget_past(self) -> None:
        """Delete every old video of the tenant."""
        old = [record for record in self._world.library if record.tenant == self._tenant]
        for record in old:
            await self._delete(record.id)
            self._world.library.remove(record)

    async def _delete(self, job: str) -> None:
        while True:
            try:
                await self._ask(lambda door: door.videos.delete(self._caller, job))
            except NotFound:  # an earlier call did it
                return
            except _AWAY:
                await self._pause()
                continue
            return

    async def _ask(self, question: Callable[[Door], Coroutine[Any, Any, T]], door: Door | None = None) -> T:
        world = self._world
        door = door or world.any_door()
        if door is None:
            raise Unavailable("no front door is up")
        asked = door
        try:
            answer = await world.network.call(world.loop.world, asked.process, lambda: question(asked))
        except LongtakeError as error:
            world.note(f"client {self._number} is told by {asked.process}: {error!r}")
            raise
        world.note(f"client {self._number} is told by {asked.process}: {_short(answer)}")
        return answer

    async def _pause(self) -> None:
        await asyncio.sleep(self._world.chance.pause_s(0.05, 2.0))


def _short(answer: object) -> str:
    record = answer.record if isinstance(answer, View) else answer
    return f"{record.id} v{record.version} {record.state}" if isinstance(record, JobRecord) else repr(answer)
