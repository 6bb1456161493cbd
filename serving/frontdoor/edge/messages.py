"""Reads the messages of calls: each within its bound and its time, and counted before it is parsed. `rpc.py` asks.

Nothing of a message is read before `rpc.py` knows who calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from serving.errors import InvalidArgument, ResourceExhausted, Unavailable
from serving.fair_places import FairPlaces
from serving.frontdoor.edge.options import LARGE_BYTES, READ_S, REST_S_PER_BYTE, SMALL_BYTES
from serving.frontdoor.edge.patience import Patience
from serving.frontdoor.edge.requests import Reader
from serving.frontdoor.edge.wire import has_more_fields

MOST_FIELDS = 1000
"""Of a message, with all that lies in it. None of the requests needs a tenth of it."""
HARMLESS_BYTES = 4096
"""So small a message is parsed uncounted."""

Context = grpc.aio.ServicerContext[Any, Any]


class Taken:
    """One message, and its place: a block in which they are there. It is a class, and no generator, for every call
    takes one.
    """

    __slots__ = ("_context", "_messages", "_places", "_tenant", "requests")

    def __init__(self, messages: Messages, places: FairPlaces, context: Context, tenant: str) -> None:
        self.requests: list[Message] = []
        """The one. Whoever takes it out is the last that holds it."""
        self._messages = messages
        self._places: FairPlaces | None = places
        self._context = context
        self._tenant = tenant

    def let_go(self) -> None:
        """Give the place back: the message was small, or nobody holds it any more."""
        if self._places is not None:
            self._places.give(self._tenant)
            self._places = None

    async def __aenter__(self) -> Self:
        if self._places is not None:
            await self._places.take(self._tenant)
        try:
            request, size = await self._messages.read(self._context, self._tenant)
        except BaseException:
            self.let_go()
            raise
        self.requests.append(request)
        if size <= SMALL_BYTES:
            self.let_go()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.let_go()


class Messages:
    """What one method reads."""

    def __init__(
        self,
        kind: Descriptor,
        *,
        most_bytes: int,
        places: FairPlaces,
        read_s: float = READ_S,
        parsing: FairPlaces | None = None,
    ) -> None:
        """`most_bytes`: of one message. `places`: for reading. `read_s`: seconds in which the next one must come.
        `parsing`: the place in which a large one is parsed.
        """
        self._kind = kind
        self._reader = Reader(GetMessageClass(kind))
        self._most_bytes = most_bytes
        self._places = places
        self._patience = Patience(read_s)
        self._parsing = parsing

    def one(self, context: Context, tenant: str) -> Taken:
        """The message of a call that has one. A large one keeps its place within the block, for it is not the only
        thing there that is large; unless it is let go of before.

        Entering raises `InvalidArgument` for none and for bytes that are none, `ResourceExhausted`, and `Unavailable`
        for one that does not come.
        """
        return Taken(self, self._places, context, tenant)

    async def read(self, context: Context, tenant: str) -> tuple[Message, int]:
        """The message of a call that has one, and its bytes. Raises as entering `one` does."""
        request, size = await self._read(context, tenant)
        if request is None:
            raise InvalidArgument("request", f"there is none: send one {self._kind.full_name}")
        return request, size

    async def each(self, context: Context) -> AsyncGenerator[Message]:
        """The messages of a client's stream. Raises as `one` does."""
        while (request := await self.following(context)) is not None:
            yield request

    async def following(self, context: Context) -> Message | None:
        """The next message of a client's stream; None at its end. Raises as `one` does."""
        return (await self._read(context))[0]

    async def _read(self, context: Context, tenant: str | None = None) -> tuple[Message | None, int]:
        """The next message and its bytes; None at the end of the client's stream. `tenant`: whose turn it is where it
        is large; pieces of uploads wait for none.
        """
        try:
            data = await self._patience.wait(context.read())
        except TimeoutError as error:
            raise Unavailable(
                f"nothing came for {self._patience.seconds:g} s: send the call again",
                retry_after_s=1,
                reason="TOO_SLOW",
            ) from error
        if data is grpc.aio.EOF:
            return None, 0
        size = len(data)
        if size > self._most_bytes:
            # What is raised may outlive the call for a while, and the frames that it names must not hold the bytes.
            del data
            raise ResourceExhausted(
                f"the message has {size} bytes; this method takes {self._most_bytes} at most",
                reason="MESSAGE_TOO_LARGE",
            )
        if self._parsing is not None and tenant is not None and size > LARGE_BYTES:
            await self._parsing.take(tenant)
            asyncio.get_running_loop().call_later(size * REST_S_PER_BYTE, self._parsing.give, tenant)
        too_many = size > HARMLESS_BYTES and has_more_fields(data, self._kind, MOST_FIELDS)
        request = None if too_many else self._reader.parse(data)
        del data
        if request is None:
            raise InvalidArgument("request", f"it has more than {MOST_FIELDS} fields, lists' elements counted each")
        message: Message = self._reader.checked(request)
        return message, size
