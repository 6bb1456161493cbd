"""Every error that Longtake raises on purpose, in one tree.

Rooms raise these; the edges (`frontdoor/edge`, CLI) turn them into a status, a message and details.

    LongtakeError
     ├─ InvalidArgument      a field is wrong: names the field, the reason and what is supported
     ├─ NotFound             no such thing, or it belongs to another tenant
     ├─ AlreadyExists        the same idempotency key with another request
     ├─ FailedPrecondition   right request, wrong moment (a video that is not finished, a cancelled parent)
     ├─ Unauthenticated      no key, or an unknown one
     ├─ PermissionDenied     a key that may not do this
     ├─ Unimplemented        a method that Longtake does not offer; names the alternative
     ├─ ResourceExhausted    a quota or a bound; says when to come back
     ├─ Unavailable          a part is away or draining; says when to come back
     ├─ Conflict             a compare-and-swap lost (internal: callers read again)
     ├─ StoreUnfit           the store failed its start-up probe, or cannot be reached
     │   └─ StoreMissing     there is none of this name
     ├─ Corrupt              bytes that do not match their digest
     ├─ EngineMissing        an engine is not in the store; names the command that builds it
     ├─ SettingsError        a setting is wrong: one line that names it and the fix
     │   └─ ModelUnknown     no model of this installation has the name
     │
     │  raised and caught inside, each defined in its room:
     ├─ StageLost            the replica that ran a call died: the same work is done again          stages/contracts.py
     ├─ StageAway            no replica took a call: it waits, and counts against nobody            stages/contracts.py
     ├─ LeaseLost            another replica has the attempt: stop without a word                   jobs/lease.py
     └─ EpochLost            a newer Director has started: this one stops without a word            jobs/epoch.py

Four are no `LongtakeError`, for no caller is ever told them: `Superseded` (the job is another attempt's,
director/publish.py), `Crashed` (a job lost too many workers, director/attempt.py), `Stuck` (a call to an engine or a
codec does not come back, stages/watchdog.py) and `StartFailed` (a part did not come up, local/parts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class LongtakeError(Exception):
    """The root of the tree. `reason` is a stable UPPER_SNAKE word for machines, the message is for people."""

    reason = "INTERNAL"
    final: ClassVar[bool] = False
    """True: the same work would only meet it again, so it ends a job. False: another attempt may do better."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class InvalidArgument(LongtakeError):
    """A field of the request is wrong. `field` is the name that the caller used, e.g. `aspect_ratio`."""

    reason = "INVALID_ARGUMENT"
    final = True

    def __init__(self, field: str, message: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {message}", reason=reason)
        self.field = field
        self.description = message

    def __reduce__(self) -> tuple[type[InvalidArgument], tuple[str, str], dict[str, object]]:
        """For pickle: stages raise it across processes, and its constructor takes other arguments than `args`."""
        return type(self), (self.field, self.description), self.__dict__


class NotFound(LongtakeError):
    reason = "NOT_FOUND"
    final = True


class AlreadyExists(LongtakeError):
    reason = "ALREADY_EXISTS"


class FailedPrecondition(LongtakeError):
    reason = "FAILED_PRECONDITION"
    final = True


class Unauthenticated(LongtakeError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(LongtakeError):
    reason = "PERMISSION_DENIED"


class Unimplemented(LongtakeError):
    reason = "UNIMPLEMENTED"
    final = True


class ResourceExhausted(LongtakeError):
    """A bound was reached. `retry_after_s` becomes RetryInfo."""

    reason = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, retry_after_s: float | None = None, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class Unavailable(LongtakeError):
    """A part is away for now. `retry_after_s` becomes RetryInfo."""

    reason = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: float | None = None, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class Conflict(LongtakeError):
    reason = "CONFLICT"


class StoreUnfit(LongtakeError):
    reason = "STORE_UNFIT"


class StoreMissing(StoreUnfit):
    """There is no such bucket or folder, and whoever asked for it makes none."""


class Corrupt(LongtakeError):
    reason = "CORRUPT"
    final = True


class EngineMissing(LongtakeError):
    reason = "ENGINE_MISSING"
    final = True


class SettingsError(LongtakeError):
    reason = "SETTINGS"


class ModelUnknown(SettingsError):
    """No model has this name. The message is for who set it; `told` says the same to who gave a command the name."""

    def __init__(self, name: str, there: Sequence[str]) -> None:
        self.told = f"{name!r} is not known; there is {', '.join(there)}, and `longtake models add` adds one"
        super().__init__(f"setting `model` or `models`: {self.told}")


MOST_SHOWN = 100


def shown(text: str) -> str:
    """A user's text for a message or a log line: quoted, and no more of it than anybody reads."""
    if len(text) <= MOST_SHOWN:
        return repr(text)
    return f"{text[:MOST_SHOWN]!r}... ({len(text)} characters)"


def alone(group: BaseExceptionGroup[BaseException], kind: type[BaseException]) -> BaseException:
    """The first of this kind that a group of tasks raised, or the group itself where it has none: raise what is given.

    It is for a plain `except BaseExceptionGroup`. What is raised inside `except*` comes out in a group of its own
    before Python 3.11.4 (CPython issue 103590), and callers that wait for the kind do not see it.
    """
    for error in group.exceptions:
        found = alone(error, kind) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, kind):
            return found
    return group
