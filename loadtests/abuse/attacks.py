"""The attacks. Each is a function of a server, which ends by itself within a minute whatever the server does.

Clients are refused, cut off and kept waiting here, which is what they are for: none of that is an error.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from loadtests.abuse.server import Server
from serving.gen.longtake.v1.models_pb2 import GetModelRequest
from serving.gen.longtake.v1.videos_pb2 import CancelVideoRequest, CreateVideoRequest, Media, Video, WatchVideoRequest

CANCEL = "/longtake.v1.Videos/CancelVideo"
CREATE = "/longtake.v1.Videos/CreateVideo"
GET_MODEL = "/longtake.v1.Models/GetModel"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WATCH = "/longtake.v1.Videos/WatchVideo"
LARGEST = 19 << 20
CALL_S = 30.0

Attack = Callable[[Server], None]


def bombs(server: Server) -> None:
    """A hundred creates at once, each of 19 KB that unpack to 19 MB."""
    message = CreateVideoRequest(prompt="a" * LARGEST).SerializeToString()
    _calls(server, CREATE, [message] * 100, zipped=True)


def empty_references(server: Server) -> None:
    """Creates with millions of references, of two bytes each."""
    _calls(server, CREATE, [b"\x62\x00" * (LARGEST // 2)] * 3)


def small_references(server: Server) -> None:
    """A create with millions of references that name something."""
    one = CreateVideoRequest(references=[Media(url="x")]).SerializeToString()
    _calls(server, CREATE, [one * (LARGEST // len(one))])


def long_url(server: Server) -> None:
    """A URL of ours with millions of parameters."""
    url = f"http://x/v/vid_{'a' * 26}.mp4?" + "a=1&" * (LARGEST // 4)
    _calls(server, CREATE, [CreateVideoRequest(references=[Media(url=url)]).SerializeToString()])


def long_names(server: Server) -> None:
    """Names of 19 MB, which an answer or a log might repeat."""
    _calls(server, GET_MODEL, [GetModelRequest(name="z" * LARGEST).SerializeToString()] * 10)


def large_health_checks(server: Server) -> None:
    """Messages of 19 MB to the one service that asks for no key."""
    _calls(server, HEALTH, [b"\x0a" + _varint(LARGEST) + b"a" * LARGEST] * 50)


def large_reflections(server: Server) -> None:
    """The same to the other service that asks for no key, which takes a stream."""
    message = b"\x3a" + _varint(LARGEST) + b"a" * LARGEST
    with server.channel() as channel:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(REFLECT)

        def send(_: int) -> None:
            with contextlib.suppress(grpc.RpcError):
                list(method(iter([message]), timeout=CALL_S))

        with ThreadPoolExecutor(50) as threads:
            list(threads.map(send, range(50)))


def half_calls(server: Server) -> None:
    """A thousand creates whose message never comes."""
    with server.channel() as channel:
        method: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(CREATE)
        calls = [method.future(_silence(10), metadata=server.metadata, timeout=20) for _ in range(900)]
        for call in calls:
            with contextlib.suppress(grpc.RpcError, grpc.FutureTimeoutError):
                call.result(timeout=20)


def watches(server: Server) -> None:
    """Three thousand streams of one video at once, which all are told when it is cancelled ten seconds later."""
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(server.channel()) for _ in range(4)]
        video = _created(server, channels[0])
        request = WatchVideoRequest(id=video).SerializeToString()
        methods: list[grpc.UnaryStreamMultiCallable[bytes, bytes]] = [one.unary_stream(WATCH) for one in channels]
        calls = [method(request, metadata=server.metadata, timeout=40) for method in methods for _ in range(750)]
        with ThreadPoolExecutor(1) as beside:
            cancelled = beside.submit(_cancel_later, server, channels[0], video)
            for call in calls:
                with contextlib.suppress(grpc.RpcError):
                    for _ in call:
                        pass
            cancelled.result()


def half_requests(server: Server) -> None:
    """1,100 HTTP requests whose headers never end."""
    _hold(server.connect_http, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-a: ", 1100)


def silent_connections(server: Server) -> None:
    """1,100 connections to the gRPC port that say nothing."""
    _hold(server.connect_grpc, b"", 1100)


def endless_headers(server: Server) -> None:
    """HTTP headers of 60 MB, in one and in many lines."""
    for piece in (b"a" * (1 << 20), b"".join(b"X%07d: a\r\n" % number for number in range(80_000))):
        with contextlib.suppress(OSError), server.connect_http() as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-first: ")
            for _ in range(60):
                connection.sendall(piece)


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        bombs,
        empty_references,
        small_references,
        long_url,
        long_names,
        large_health_checks,
        large_reflections,
        half_calls,
        watches,
        half_requests,
        silent_connections,
        endless_headers,
    )
}


def _calls(server: Server, method: str, messages: list[bytes], *, zipped: bool = False) -> None:
    """All at once, each to its end."""
    compression = grpc.Compression.Gzip if zipped else grpc.Compression.NoCompression
    with server.channel() as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)

        def send(message: bytes) -> None:
            with contextlib.suppress(grpc.RpcError):
                call(message, metadata=server.metadata, compression=compression, timeout=CALL_S)

        with ThreadPoolExecutor(len(messages)) as threads:
            list(threads.map(send, messages))


def _created(server: Server, channel: grpc.Channel) -> str:
    """A video's id; who may not have one asks for one that nobody has."""
    create: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CREATE)
    try:
        asked = CreateVideoRequest(prompt="a red bar moves right").SerializeToString()
        return Video.FromString(create(asked, metadata=server.metadata, timeout=CALL_S)).id
    except grpc.RpcError:
        return f"vid_{'a' * 26}"


def _cancel_later(server: Server, channel: grpc.Channel, video: str) -> None:
    time.sleep(10)
    cancel: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CANCEL)
    with contextlib.suppress(grpc.RpcError):
        cancel(CancelVideoRequest(id=video).SerializeToString(), metadata=server.metadata, timeout=CALL_S)


def _hold(connect: Callable[[], socket.socket], say: bytes, count: int) -> None:
    """Open so many connections, say this on each, and stay for a while."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(connect())
                connection.sendall(say)
        time.sleep(12)


def _silence(seconds: float) -> Iterator[bytes]:
    time.sleep(seconds)
    yield from ()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
