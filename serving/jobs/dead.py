"""Dead letters and quarantine: what is left of jobs whose workers died again and again.

A dead letter is written before the job becomes FAILED; an operator lists and requeues them. An input whose reading
ended worker after worker is in quarantine: creates refuse it. The Director writes both; the front door reads them, and
takes them away when the dead letter is requeued.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.frozen import Digest, Stored
from serving.jobs.record import JobRecord
from serving.store import keys
from serving.store.base import Store


class DeadLetter(Stored):
    """Why a job is dead."""

    job: str
    stage: str
    """Where its workers died; empty: nowhere."""
    why: str


class Quarantine(Stored):
    """Why an input is refused: reading it ended so many workers of this job."""

    job: str
    stage: str
    crashes: int


class DeadLetters:
    """All of an installation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def bury(self, record: JobRecord, *, stage: str, why: str, quarantine: bool) -> None:
        """Keep the job as a dead letter; with `quarantine` its inputs are refused from now on. Harmless to repeat."""
        if quarantine:
            note = Quarantine(job=record.id, stage=stage, crashes=record.crashes).model_dump_json().encode()
            for digest in inputs_of(record):
                await self._store.put_if_absent(keys.quarantined(record.tenant, digest), note)
        letter = DeadLetter(job=record.id, stage=stage, why=why).model_dump_json().encode()
        await self._store.put_if_absent(keys.dead_letter(record.tenant, record.id), letter)

    async def of(self, tenant: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Ids of a tenant's dead letters, behind that one, in their order."""
        prefix = keys.dead_letters_of(tenant)
        async for entry in self._store.list(prefix, after=prefix + after if after else "", limit=limit):
            yield entry.key.removeprefix(prefix)

    async def stage_of(self, tenant: str, job: str) -> str:
        """The stage at which its workers died; empty where it was none, or there is no letter that can be read."""
        try:
            letter = DeadLetter.model_validate_json((await self._store.get(keys.dead_letter(tenant, job))).data)
        except (NotFound, ValidationError):
            return ""
        return letter.stage

    async def quarantined(self, tenant: str, digest: str) -> Quarantine | None:
        """Who found the input harmful, or None. Raises `Corrupt` for a note that cannot be read."""
        try:
            return Quarantine.model_validate_json((await self._store.get(keys.quarantined(tenant, digest))).data)
        except NotFound:
            return None
        except ValidationError as error:
            raise Corrupt(f"the note on the harmful input {digest} cannot be read: give another file") from error

    async def lift(self, record: JobRecord) -> None:
        """The job is done again: its inputs are taken again, and the letter goes."""
        for digest in inputs_of(record):
            await self._store.delete(keys.quarantined(record.tenant, digest))
        await self._store.delete(keys.dead_letter(record.tenant, record.id))


def inputs_of(record: JobRecord) -> tuple[Digest, ...]:
    """Digests of the media that the user handed in."""
    request = record.request
    first = (request.first_frame,) if request.first_frame else ()
    foreign = (request.ingests.blob,) if request.ingests else ()
    return (*first, *request.references, *foreign)
