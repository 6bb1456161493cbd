"""The edge of the gRPC server: auth → handler → errors → metrics → log, wrapped once per method.

`server.py` registers each service with `Edge.register`. A service's implementation is a plain object with one method
per RPC, named as in the proto, that takes (request, call) and returns a message; a streaming method is an async
generator; of a client stream the request is an async iterator. A unary method may also return bytes: a response that is
serialised already, which polls use. There are no interceptors, for each costs every call.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from serving.errors import LongtakeError, Unauthenticated
from serving.frontdoor.edge.auth import Caller, Keys
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.requests import Reader
from serving.frontdoor.edge.statuses import code_of, details_of, incident_details, told
from serving.logs import logger
from serving.metrics import RPC_HANDLED, RPC_SECONDS, RPC_STREAMS

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
"""What the public clients send and take at most."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The public clients ping every 30 s, also when idle. By default a server says `too_many_pings` after 90 s
    # of that.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 1_000),
    # One process, one port: a second server on it must fail, not share it quietly.
    ("grpc.so_reuseport", 0),
)

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]
Implementation = Callable[[Any, "Call"], Any]


class Call:
    """One call as a method sees it: who calls, and what came beside the request."""

    __slots__ = ("caller", "context")

    def __init__(self, caller: Caller, context: Context) -> None:
        self.caller = caller
        self.context = context

    def metadata(self, name: str) -> str | None:
        """The first value of a request header, lower-case name."""
        return header(self.context, name)

    @property
    def idempotency_key(self) -> str:
        """What the client gave to make a call that it sends twice one call; empty where it gave nothing."""
        return self.metadata("idempotency-key") or ""

    @property
    def resent(self) -> bool:
        """Whether the client marked this call as a retry: transparent gRPC retries, or an HTTP client's own
        mark.
        """
        return any((self.metadata(name) or "0") not in ("", "0") for name in RETRY_MARKS)


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

    def register(
        self,
        server: grpc.aio.Server,
        service: ServiceDescriptor,
        implementation: object,
        *,
        quiet: Iterable[str] = (),
    ) -> None:
        """Serve all methods of `service`. Methods in `quiet` (polls) are not logged when they succeed."""
        silent = frozenset(quiet)
        handlers = {
            method.name: self._handler(service.full_name, method, getattr(implementation, method.name), silent)
            for method in service.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    def _handler(
        self, service: str, method: MethodDescriptor, function: Implementation, silent: frozenset[str]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        name = f"/{service}/{method.name}"
        reader = Reader(GetMessageClass(method.input_type))
        edge = _MethodEdge(self, name, reader, log_success=method.name not in silent)
        coders = (reader.parse, serialise)
        if method.server_streaming and not method.client_streaming:
            return grpc.unary_stream_rpc_method_handler(edge.streaming(function), *coders)
        if method.client_streaming and not method.server_streaming:
            return grpc.stream_unary_rpc_method_handler(edge.unary(function, reader.all_checked), *coders)
        if method.client_streaming:
            raise TypeError(f"{name}: streams both ways are not served")
        return grpc.unary_unary_rpc_method_handler(edge.unary(function, reader.checked), *coders)


class _MethodEdge:
    """Everything about one method that can be prepared before the first call."""

    def __init__(self, edge: Edge, name: str, reader: Reader, *, log_success: bool) -> None:
        self._reader = reader
        self._keys = edge.keys
        self._metrics = edge.metrics
        self._name = name
        self._upload_in_clear = not edge.tls and name.endswith("/UploadFile")
        self._log_success = log_success
        self._log = logger("rpc")
        self._ok = edge.metrics.bound_counter(RPC_HANDLED, method=name, code="OK")
        self._seconds = edge.metrics.bound_histogram(RPC_SECONDS, method=name)

    def unary(
        self, function: Callable[[Any, Call], Awaitable[Message | bytes]], checked: Callable[[Any], Any]
    ) -> Handler:
        """Wrap a method with one response. `checked`: its request, or a stream of them, as it may be read."""

        async def handle(request: Any, context: Context) -> Message | bytes:
            began = time.perf_counter()
            try:
                call = self._admit(context)
                response = await function(checked(request), call)
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
        """Wrap a method with a stream of responses."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Message | bytes]:
            self._metrics.shift(RPC_STREAMS, 1, method=self._name)
            try:
                call = self._admit(context)
                async with aclosing(function(self._reader.checked(request), call)) as responses:
                    async for response in responses:
                        yield response
            except LongtakeError as error:
                await self._refuse(error, context)
            except Exception as error:  # noqa: BLE001  (the process edge, as above)
                await self._fail(error, context)
            finally:
                self._metrics.shift(RPC_STREAMS, -1, method=self._name)
            self._ok.inc()

        return handle

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
        message = told(error.message)
        self._log.info("refused", method=self._name, code=code.name, reason=error.reason, message=message)
        await context.abort(code, message, trailing_metadata=details_of(error))

    async def _fail(self, error: Exception, context: Context) -> NoReturn:
        incident = f"inc_{secrets.token_hex(6)}"
        self._metrics.add(RPC_HANDLED, method=self._name, code="INTERNAL")
        self._log.error("failed", method=self._name, incident=incident, exc_info=error)
        message = f"something went wrong here, not in your request; the operator finds it in the log as {incident}"
        await context.abort(grpc.StatusCode.INTERNAL, message, trailing_metadata=incident_details(incident, message))
