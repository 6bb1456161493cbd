"""One HTTP connection, for as long as it has something to say. `http.py` hands it to uvicorn.

By itself uvicorn waits for ever: for the rest of a request, and for a reader who does not read. Here a request must
come whole in `REQUEST_S`, and of an answer something must be taken in `STALLED_S`. Where connections are too many,
those go first that wait for a request. h11 reads headers of 64 KiB at most; httptools, which uvicorn would choose, any.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.frontdoor.edge.descriptors import http_connections

REQUEST_S = 10.0
STALLED_S = 60.0


class Connection(H11Protocol):
    """See the module."""

    request_s, stalled_s = REQUEST_S, STALLED_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most = http_connections()
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(self.request_s)
        if len(self.connections) > self._most:
            idle = (other for other in self.connections if isinstance(other, Connection) and not other.at_work)
            next(idle, self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    @property
    def at_work(self) -> bool:
        """Whether it has a request that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def handle_events(self) -> None:
        super().handle_events()
        if self.at_work and not self.cycle.more_body:
            self._expect(None)

    def on_response_complete(self) -> None:
        self._expect(self.request_s)  # the next one
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect(self.stalled_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect(None)

    def _expect(self, within_s: float | None) -> None:
        """Close it when nothing else was said by then; None: it has its time."""
        if self._late is not None:
            self._late.cancel()
        self._late = None if within_s is None else self.loop.call_later(within_s, self.transport.abort)
