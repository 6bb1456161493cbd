"""What an S3 server's refusals mean: gone, to be tried again, or never to be done, and then why.

`store.py` asks. A refusal comes as minio's `S3Error`, or as a plain answer where the library cannot send the request.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import urllib3
from minio.error import S3Error

from serving.errors import LongtakeError, StoreUnfit, Unavailable

_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_PASSING = frozenset(
    {"RequestTimeout", "BadDigest", "IncompleteBody", "SlowDown", "TooManyRequests", "ThrottlingException"}
)
"""Error codes that a second try may not meet, whatever status they come with."""
_PASSING_STATUS = frozenset({429, *range(500, 600)}) - {501}
_MOVED = frozenset({301, 302, 307, 308})
_WRONG_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestNotReadyYet"})
_CLOCK_MAY_BE_OFF_S = 840
"""A little less than the quarter of an hour that S3 allows."""
_EXPIRED = re.compile("expired", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """An answer without what was asked for."""

    status: int
    code: str = ""
    """S3's word for it; empty where it is something else's answer."""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_error(cls, error: S3Error) -> Answer:
        """Of what minio raises."""
        return cls(error.response.status, str(error.code or ""), str(error.message or ""), error.response.headers)

    @classmethod
    def of_response(cls, response: urllib3.BaseHTTPResponse) -> Answer:
        """Of what came back on a request that minio only signed."""
        return cls(
            response.status,
            _element(response.data, b"Code", rb"[A-Za-z]{1,64}"),
            _element(response.data, b"Message", rb"[^<]{1,512}"),
            response.headers,
        )

    @property
    def missing(self) -> bool:
        """No such object."""
        return self.code in _MISSING

    @property
    def passing(self) -> bool:
        """Whether another try may do better."""
        return self.status in _PASSING_STATUS or self.code in _PASSING

    @property
    def wait_s(self) -> float | None:
        """How long the server asks us to wait, in seconds; None where it does not say."""
        if (milliseconds := self.headers.get("x-amz-retry-after", "")).isdecimal():
            return int(milliseconds) / 1000
        told = self.headers.get("Retry-After", "")
        if told.isdecimal():
            return float(told)
        moment, now = _moment(told), _moment(self.headers.get("Date", ""))
        return None if moment is None else max(0.0, moment - (time.time() if now is None else now))

    def refusal(self, store: str) -> LongtakeError:
        """What to raise when no second try changes it. `store` is its URL."""
        if self.code == "NoSuchBucket":
            return StoreUnfit(f"store {store}: the bucket is gone; make it again, or name another with `store`")
        off_s = self._clock_off_s()
        # Without the code, too: the answer to a HEAD has no body.
        if self.code in _WRONG_CLOCK or (self.status == 403 and abs(off_s) > _CLOCK_MAY_BE_OFF_S):
            off = f"which is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} its own"
            return Unavailable(f"store {store} refuses this machine's clock, {off}: let NTP set it", retry_after_s=60)
        if self.code == "AccessDenied" and _EXPIRED.search(self.message):
            return Unavailable(f"store {store} was asked too late: {self.message}", retry_after_s=60)
        if self.code == "ExpiredToken":
            return Unavailable(f"store {store}: the session token has run out; renew the keys", retry_after_s=5)
        region = self.headers.get("x-amz-bucket-region")
        if region or self.code in ("PermanentRedirect", "AuthorizationHeaderMalformed") or self.status in _MOVED:
            where = f"region {region}: add ?region={region}" if region else self.headers.get("Location") or self.message
            return StoreUnfit(f"store {store}: the bucket is elsewhere, or of another region: {where}")
        told = f"{self.code}: {self.message}" if self.code else f"HTTP {self.status}"
        return StoreUnfit(f"store {store} refuses with {told}: check keys and bucket policy")

    def _clock_off_s(self) -> float:
        """By how much our clock is ahead of the server's; 0 where the answer has no date."""
        theirs = _moment(self.headers.get("Date", ""))
        return 0.0 if theirs is None else time.time() - theirs


class Refused(Exception):
    """The server's answer to a request that minio only signed is not what was asked for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status} {answer.code}")
        self.answer = answer


def _element(body: bytes, name: bytes, value: bytes) -> str:
    """Of an S3 error's XML; empty where the body is something else's."""
    found = re.search(b"<%b>(%b)</%b>" % (name, value, name), body[:4096])
    return found[1].decode(errors="replace") if found else ""


def _moment(header: str) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return email.utils.parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        return None
