"""The edge of the gRPC server: who calls → may it run → message → handler → errors → metrics → log, once per method.

`server.py` registers each service with `Edge.register`. A service's implementation is a plain object with one method
per RPC, named as in the proto, that takes (request, call) and returns a message; a streaming method is an async
generator; of a client stream the request is an async iterator. A unary method may also return bytes: a response that is
serialised already, which polls use. There are no interceptors, for each costs every call.

To gRPC each method takes a stream: of one that it takes for unary, it reads the message before anybody could ask who
calls.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from serving.errors import LongtakeError, Unauthenticated
from serving.frontdoor.edge.auth import Caller, Keys
from serving.frontdoor.edge.messages import Context, Messages
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.options import MAX_MESSAGE_BYTES, MAX_PIECE_BYTES, SMALL_BYTES, Places
from serving.frontdoor.edge.statuses import code_of, details_of, incident_details, told
from serving.logs import logger
from serving.metrics import RPC_HANDLED, RPC_SECONDS, RPC_STREAMS

Handler = Callable[[Any, Context], Any]
Implementation = Callable[[Any, "Call"], Any]


class Call:
    """One call as a method sees it: who calls, and what came beside the request."""

    __slots__ = ("caller", "context", "let_go")

    def __init__(self, caller: Caller, context: Context) -> None:
        self.caller = caller
        self.context = context
        self.let_go: Callable[[], None] = _nothing
        """For a method that waits for long: the request is of no use any more, and nothing of it is held."""

    def metadata(self, name: str) -> str | None:
        """The first value of a request header, lower-case name."""
        return header(self.context, name)

    @property
    def idempotency_key(self) -> str:
        """What the client gave to make a call that it sends twice one call; empty where it gave nothing."""
        return self.metadata("idempotency-key") or ""

    @property
    def traceparent(self) -> str:
        """The span that the client calls from, as it says; empty where it says nothing."""
        return self.metadata("traceparent") or ""

    @property
    def resent(self) -> bool:
        """Whether the client marked this call as a retry: transparent gRPC retries, or an HTTP client's own
        mark.
        """
        return any((self.metadata(name) or "0") not in ("", "0") for name in RETRY_MARKS)


def _nothing() -> None:
    pass


RETRY_MARKS = ("grpc-previous-rpc-attempts", "x-stainless-retry-count")


def header(context: Context, name: str) -> str | None:
    """The first value of a request header, lower-case name."""
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None


def serialise(response: Message | bytes) -> bytes:
    """A message's bytes; bytes are a response that was serialised before."""
    return response if isinstance(response, bytes) else response.SerializeToString()


@dataclass(frozen=True)
class Edge:
    """What every call passes through."""

    keys: Keys
    metrics: PrometheusRecorder
    tls: bool
    places: Places = field(default_factory=Places)

    def register(
        self,
        server: grpc.aio.Server,
        service: ServiceDescriptor,
        implementation: object,
        *,
        quiet: Iterable[str] = (),
        large: Iterable[str] = (),
    ) -> None:
        """Serve all methods of `service`. Methods in `quiet` (polls) are not logged when they succeed; those in `large`
        carry media, and have places of their own for it.
        """
        silent, bulky = frozenset(quiet), frozenset(large)
        handlers = {
            method.name: self._handler(service.full_name, method, getattr(implementation, method.name), silent, bulky)
            for method in service.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    def _handler(
        self,
        service: str,
        method: MethodDescriptor,
        function: Implementation,
        silent: frozenset[str],
        bulky: frozenset[str],
    ) -> grpc.RpcMethodHandler[Any, Any]:
        name, large = f"/{service}/{method.name}", method.name in bulky
        edge = _MethodEdge(self, name, method, log_success=method.name not in silent, large=large)
        if method.server_streaming and not method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(edge.streaming(function), None, serialise)
        if method.client_streaming and not method.server_streaming:
            return grpc.stream_unary_rpc_method_handler(edge.taking(function), None, serialise)
        if method.client_streaming:
            raise TypeError(f"{name}: streams both ways are not served")
        return grpc.stream_unary_rpc_method_handler(edge.unary(function), None, serialise)


class _MethodEdge:
    """Everything about one method that can be prepared before the first call."""

    def __init__(self, edge: Edge, name: str, method: MethodDescriptor, *, log_success: bool, large: bool) -> None:
        self._keys = edge.keys
        self._metrics = edge.metrics
        self._places = edge.places
        self._name = name
        self._large = large
        self._upload_in_clear = not edge.tls and name.endswith("/UploadFile")
        self._log_success = log_success
        self._log = logger("rpc")
        self._ok = edge.metrics.bound_counter(RPC_HANDLED, method=name, code="OK")
        self._seconds = edge.metrics.bound_histogram(RPC_SECONDS, method=name)
        most = MAX_PIECE_BYTES if method.client_streaming else MAX_MESSAGE_BYTES if large else SMALL_BYTES
        self._messages = Messages(
            method.input_type,
            most_bytes=most,
            places=edge.places.reading if large else edge.places.reading_small,
            read_s=edge.places.read_s,
            parsing=edge.places.parsing,
        )

    def unary(self, function: Callable[[Any, Call], Awaitable[Message | bytes]]) -> Handler:
        """Wrap a method with one request and one response."""

        async def answer(context: Context) -> Message | bytes:
            call = self._admit(context)
            tenant = call.caller.tenant
            async with self._places.calls.place(tenant), self._messages.one(context, tenant) as taken:
                call.let_go = taken.let_go
                return await function(taken.requests.pop(), call)

        return self._answering(answer)

    def taking(self, function: Callable[[Any, Call], Awaitable[Message | bytes]]) -> Handler:
        """Wrap a method with a stream of requests and one response."""

        async def answer(context: Context) -> Message | bytes:
            call = self._admit(context)
            tenant = call.caller.tenant
            async with (
                self._places.calls.place(tenant),
                self._places.uploads.place(tenant),
                self._keys.good_for(call.caller),
                aclosing(self._messages.each(context)) as requests,
            ):
                return await function(requests, call)

        return self._answering(answer)

    def _answering(self, answer: Callable[[Context], Awaitable[Message | bytes]]) -> Handler:
        async def handle(_: object, context: Context) -> Message | bytes:
            began = time.perf_counter()
            try:
                response = await answer(context)
            except LongtakeError as error:
                await self._refuse(error, context)
            except Exception as error:  # noqa: BLE001  (the process edge: nothing may leave, nothing be lost)
                await self._fail(error, context)
            self._ok.inc()
            self._seconds.observe(time.perf_counter() - began)
            if self._log_success:
                self._log.info("handled", method=self._name, ms=round((time.perf_counter() - began) * 1000, 1))
            return response

        return handle

    def streaming(self, function: Callable[[Any, Call], AsyncGenerator[Message | bytes]]) -> Handler:
        """Wrap a method with a stream of responses.

        They are written here, and not yielded: a client that does not read is waited for in gRPC's own frames then,
        where what ends the stream would end nothing.
        """

        async def handle(_: object, context: Context) -> None:
            self._metrics.shift(RPC_STREAMS, 1, method=self._name)
            try:
                call = self._admit(context)
                async with self._streaming(call), aclosing(await self._begun(function, call)) as responses:
                    async for response in responses:
                        await context.write(response)
            except LongtakeError as error:
                await self._refuse(error, context)
            except Exception as error:  # noqa: BLE001  (the process edge, as above)
                await self._fail(error, context)
            finally:
                self._metrics.shift(RPC_STREAMS, -1, method=self._name)
            self._ok.inc()

        return handle

    @asynccontextmanager
    async def _streaming(self, call: Call) -> AsyncIterator[None]:
        """A place for a stream, for as long as its key is good."""
        tenant = call.caller.tenant
        async with self._places.streams.place(tenant), AsyncExitStack() as stack:
            if self._large:
                await stack.enter_async_context(self._places.downloads.place(tenant))
            await stack.enter_async_context(self._keys.good_for(call.caller))
            yield

    async def _begun(
        self, function: Callable[[Any, Call], AsyncGenerator[Message | bytes]], call: Call
    ) -> AsyncGenerator[Message | bytes]:
        async with self._messages.one(call.context, call.caller.tenant) as taken:
            return function(taken.requests.pop(), call)

    def _admit(self, context: Context) -> Call:
        try:
            return Call(self._keys.caller(header(context, "authorization")), context)
        except Unauthenticated as error:
            if self._upload_in_clear and error.reason == "API_KEY_MISSING":
                raise Unauthenticated(
                    "this upload carries no API key. The xai-sdk client sends none on uploads over an insecure "
                    "channel: serve TLS (settings `grpc.tls_cert` and `grpc.tls_key`), or connect to `localhost:PORT`",
                    reason="API_KEY_MISSING",
                ) from error
            raise

    async def _refuse(self, error: LongtakeError, context: Context) -> NoReturn:
        code = code_of(error)
        if code is grpc.StatusCode.INTERNAL:
            await self._fail(error, context)
        self._metrics.add(RPC_HANDLED, method=self._name, code=code.name)
        _let_go(error)
        message = told(error.message)
        self._log.info("refused", method=self._name, code=code.name, reason=error.reason, message=message)
        await context.abort(code, message, trailing_metadata=details_of(error))

    async def _fail(self, error: Exception, context: Context) -> NoReturn:
        incident = f"inc_{secrets.token_hex(6)}"
        self._metrics.add(RPC_HANDLED, method=self._name, code="INTERNAL")
        self._log.error("failed", method=self._name, incident=incident, exc_info=error)
        _let_go(error)
        message = f"something went wrong here, not in your request; the operator finds it in the log as {incident}"
        await context.abort(grpc.StatusCode.INTERNAL, message, trailing_metadata=incident_details(incident, message))


def _let_go(error: BaseException | None) -> None:
    """Forget where it was raised. Those frames hold the request, and gRPC holds what ends a call in a circle with the
    call itself, which Python's collector may find only much later.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
