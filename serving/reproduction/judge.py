"""Is a video that was made again what is stored? Digest by digest of the same engines, and in a band of other ones.

    the engines that made it                    every digest is equal, or it came out otherwise
    others of the same weights                  in the band of the coarser precision of the two, or otherwise
    unknown ones (of a package that is gone)    in the widest band: what is wrong is far beyond that one, too
    those of other weights                      it is another model, whatever its name: `FailedPrecondition`

`serving/cli/reproduce.py` calls it for one video, and `newest.py` for many.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from engines.building.parity import BANDS
from engines.manifest import Manifest
from engines.session import Session
from serving.errors import FailedPrecondition
from serving.jobs.record import JobRecord
from serving.reproduction.bands import Measured, measured
from serving.reproduction.reproduce import Compared, compared, remade
from serving.store.base import Store

OTHER_WEIGHTS = "OTHER_WEIGHTS"
"""The reason of a refusal: nothing that is here was ever to make such a video."""
_WIDEST = max(BANDS, key=lambda kind: BANDS[kind].call)


@dataclass(frozen=True)
class Engines:
    """Those of a model that are here."""

    session: Session
    manifest: Manifest
    made_by: Callable[[str], Awaitable[Manifest | None]]
    """What is known of engines by their digest, whoever can run them."""


@dataclass(frozen=True)
class Judged:
    """What came of one video."""

    found: Sequence[Compared | Measured]
    band: str = ""
    """The precision whose band it was; empty where digests were compared."""
    why: str = ""
    """Whose engines made it, and whose are here, where they are not the same."""

    @property
    def first_wrong(self) -> Compared | Measured | None:
        """Which part is otherwise, and none before it; None where it came out as it should."""
        return next((one for one in self.found if not one.good), None)


async def judged(
    store: Store, record: JobRecord, engines: Engines, *, on_progress: Callable[[JobRecord], None] = lambda _: None
) -> Judged:
    """One finished video. Raises `NotFound`, and `FailedPrecondition` for one that cannot be made again, or not by any
    engines that are here."""
    digest = engines.session.digest
    if record.plan.model_digest == digest:
        return Judged(await compared(await remade(store, record, engines.session, on_progress)))
    made_by = await engines.made_by(record.plan.model_digest)
    if made_by is not None and made_by.weights_digest != engines.manifest.weights_digest:
        raise FailedPrecondition(
            f"{record.id} was made by {record.plan.model} of the weights {made_by.weights_digest[:12]}, and those here "
            f"are {engines.manifest.weights_digest[:12]}: another model, whose videos are others",
            reason=OTHER_WEIGHTS,
        )
    band = _coarser(made_by, engines.manifest)
    known = _in_words(made_by) if made_by else "that are not known here"
    why = f"made by the engines {record.plan.model_digest[:12]} {known}; here are {digest[:12]} "
    why += _in_words(engines.manifest)
    again = await remade(store, record, engines.session, on_progress)
    return Judged(await measured(again, BANDS[band]), band, why)


def _coarser(made_by: Manifest | None, here: Manifest) -> str:
    if made_by is None:
        return _WIDEST
    kinds = {*made_by.precisions.values(), *here.precisions.values()}
    return max(kinds, key=lambda kind: BANDS[kind].call)


def _in_words(manifest: Manifest) -> str:
    return f"({manifest.variant})"
