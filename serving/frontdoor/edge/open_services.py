"""Services of libraries that ask nobody for a key, health and reflection, behind the same bounds as ours.

`server.py` registers them. What they take is read as `messages.py` reads: a stranger's message is bounded too. How
large it is, is known when it is here, so few are read at once, of one address fewer, and each in a short time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from serving.errors import LongtakeError
from serving.fair_places import FairPlaces
from serving.frontdoor.edge.messages import Context, Messages
from serving.frontdoor.edge.options import SMALL_BYTES
from serving.frontdoor.edge.statuses import code_of, details_of, told

_NOBODY = ""
"""Stands for all who call without a key."""
_READ_S = 2.0
"""Seconds within which a message must come: these are a few bytes."""

Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


class OpenServices:
    """What such services are added to in place of the server: `add_HealthServicer_to_server(servicer, these)`."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._reading = FairPlaces("calls without a key", places=8, each=4, waiting=512)
        """By address. They hold 20 MB each at most."""
        self._reading_many = FairPlaces("calls without a key", places=8, each=4, waiting=512)
        """The same for those who send one message after another, and may take their time between."""
        self._calls = FairPlaces("calls without a key", places=512, each=512, waiting=0)
        self._streams = FairPlaces("streams without a key", places=512, each=512, waiting=0)
        """Those who watch keep nobody from asking once."""
        self._services: dict[str, ServiceDescriptor] = {}

    def describe(self, service: ServiceDescriptor) -> OpenServices:
        """What a service takes must be known before it is added."""
        self._services[service.full_name] = service
        return self

    def add_generic_rpc_handlers(self, _: object) -> None:
        """Generated code calls it beside the next one, with the same handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        """Serve them, each behind the bounds."""
        methods = self._services[service].methods_by_name
        bounded = {}
        for name, handler in handlers.items():
            kind = methods[name].input_type
            messages = Messages(kind, most_bytes=SMALL_BYTES, places=self._reading, read_s=_READ_S)
            bounded[name] = self._bounded(handler, messages)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, bounded),))

    def _bounded(self, handler: grpc.RpcMethodHandler[Any, Any], messages: Messages) -> grpc.RpcMethodHandler[Any, Any]:
        encode = handler.response_serializer
        if handler.unary_unary is not None:
            once = self._one(handler.unary_unary, messages, self._calls)
            return grpc.stream_unary_rpc_method_handler(once, None, encode)
        if handler.unary_stream is not None:
            watched = self._one(handler.unary_stream, messages, self._streams)
            return grpc.stream_stream_rpc_method_handler(watched, None, encode)
        assert handler.stream_stream is not None, "uploads ask for a key"
        return grpc.stream_stream_rpc_method_handler(self._many(handler.stream_stream, messages), None, encode)

    def _one(self, behaviour: Callable[..., Any], messages: Messages, places: FairPlaces) -> Callable[..., Any]:
        """Takes one message, and answers or writes answers."""

        async def handle(_: object, context: Context) -> Any:
            try:
                async with places.place(_NOBODY):
                    async with messages.one(context, _address_of(context)) as taken:
                        pass
                    return await behaviour(taken.requests.pop(), context)
            except LongtakeError as error:
                await context.abort(code_of(error), told(error.message), trailing_metadata=details_of(error))

        return handle

    def _many(self, behaviour: Callable[..., Any], messages: Messages) -> Callable[..., Any]:
        """Takes messages as they come, and answers each."""

        async def handle(_: object, context: Context) -> AsyncIterator[Any]:
            try:
                async with self._streams.place(_NOBODY):
                    async for answer in behaviour(self._each(messages, context), context):
                        yield answer
            except LongtakeError as error:
                await context.abort(code_of(error), told(error.message), trailing_metadata=details_of(error))

        return handle

    async def _each(self, messages: Messages, context: Context) -> AsyncIterator[Any]:
        while True:
            async with self._reading_many.place(_address_of(context)):
                request = await messages.following(context)
            if request is None:
                return
            yield request


def _address_of(context: Context) -> str:
    """Where a call comes from, without the port."""
    peer: str = context.peer()
    return peer.rpartition(":")[0]
