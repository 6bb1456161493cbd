"""Bugs in what a version does with what a later one wrote."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from serving.errors import Corrupt
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.retention.mark import Mark
from serving.segments.manifest import SegmentManifest
from tests.sim.plants.plant import Plant, put


def drops_unknown(stack: ExitStack) -> None:
    """A transition drops the fields that it does not know."""
    transition = Jobs.transition

    async def known_alone(self: Jobs, record: JobRecord, **changes: Any) -> JobRecord:
        known = {name: getattr(record, name) for name in JobRecord.model_fields}
        return await transition(self, JobRecord.model_validate(known), **changes)

    put(stack, Jobs, "transition", known_alone)


def refuses_newer(stack: ExitStack) -> None:
    """A record with a field that this version does not know is not read."""
    read = Jobs._read

    async def strict(self: Jobs, tenant: str, job: str) -> JobRecord | None:
        record = await read(self, tenant, job)
        if record is not None and any(record.unknown()):
            raise Corrupt(f"the record of {job} cannot be read by this version")
        return record

    put(stack, Jobs, "_read", strict)


def runs_newer(stack: ExitStack) -> None:
    """A Director runs a job whose plan it does not understand."""
    put(stack, JobRecord, "not_understood", lambda self: ())


def collects_newer(stack: ExitStack) -> None:
    """The collector passes over what a later version's records and manifests may need."""
    put(stack, Mark, "_may_need_more", lambda self, key, record: False)


def renames_newer(stack: ExitStack) -> None:
    """A later version's manifest is named as if this one had written it."""
    decode = SegmentManifest.decode

    def forgetful(data: bytes) -> SegmentManifest:
        manifest = decode(data)
        manifest._as_read = None
        return manifest

    put(stack, SegmentManifest, "decode", forgetful)


BUGS: dict[str, Plant] = {
    "drops-unknown": drops_unknown,
    "refuses-newer": refuses_newer,
    "runs-newer": runs_newer,
    "collects-newer": collects_newer,
    "renames-newer": renames_newer,
}
