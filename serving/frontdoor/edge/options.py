"""What the gRPC server takes of connections and messages, and how many calls at once: `server.py` and `rpc.py`.

The numbers bound memory. A message is read when it has a place (`messages.py`), and none before it is known who calls;
so most memory is `READING` places of `MAX_MESSAGE_BYTES`. Of what nobody reads yet, a stream holds 64 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.fair_places import FairPlaces

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
"""What the public clients send and take at most."""
SMALL_BYTES = 64 * 1024
"""Of a message of a method that needs no more: all but creates and uploads."""
LARGE_BYTES = 1 << 20
"""Unpacking, copying and parsing more than this keeps everybody's calls waiting for a while that one would notice."""
REST_S_PER_BYTE = 10e-9
"""So long after a large message another one is parsed: calls of others come between. It is 0.2 s for the largest."""
MAX_PIECE_BYTES = 8 * 1024 * 1024
"""Of one message of an upload; clients send 1 to 5 MiB."""
IDLE_CONNECTION_S = 600
"""A connection without a call is closed after so long; clients connect again by themselves."""
STREAMS_OF_A_CONNECTION = 300
"""Calls at once; a client's further ones wait in the client. Calls are accepted one after the other, a fifth of a
millisecond each, so this many that come together are what the call of another connection may find before it.
"""

READ_S = 60.0


def server_options(connections: int, connection_s: int | None = None) -> tuple[tuple[str, int], ...]:
    """For `grpc.aio.server`. `connections`: how many may be open at once, and `connection_s`: each for so long."""
    return (
        *(() if connection_s is None else (("grpc.max_connection_age_ms", 1000 * connection_s),)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # The public clients ping every 30 s, also when idle. By default a server says `too_many_pings` after 90 s
        # of that.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_concurrent_streams", STREAMS_OF_A_CONNECTION),
        # One process, one port: a second server on it must fail, not share it quietly.
        ("grpc.so_reuseport", 0),
        # Who says nothing: at first, then without a call, then with one whose peer is gone.
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 1000 * IDLE_CONNECTION_S),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A burst of calls waits here for Python, which refuses in words those that are too many. Beyond, gRPC says
        # CANCELLED, which no client tries again.
        ("grpc.server.max_pending_requests", 16_000),
        ("grpc.server.max_pending_requests_hard_limit", 32_000),
        # Windows stay as they are: by default they grow to megabytes for each stream, read or not.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.absolute_max_metadata_size", 20 * 1024),
    )


def _reading() -> FairPlaces:
    return FairPlaces("calls whose message is read", places=32, each=4, waiting=1000)


def _parsing() -> FairPlaces:
    return FairPlaces("large messages that are parsed", places=1, each=1, waiting=1000)


def _uploads() -> FairPlaces:
    return FairPlaces("uploads", places=32, each=4, waiting=64)


def _downloads() -> FairPlaces:
    return FairPlaces("downloads", places=128, each=16, waiting=256)


def _streams() -> FairPlaces:
    return FairPlaces("streams", places=16_000, each=4_000, waiting=0)


def _calls() -> FairPlaces:
    return FairPlaces("calls", places=8_000, each=2_000, waiting=0)


@dataclass(frozen=True)
class Places:
    """How many calls there may be at once, of all and of one tenant. Who has no key is all together one tenant."""

    calls: FairPlaces = field(default_factory=_calls)
    """Those with one answer, uploads included."""
    streams: FairPlaces = field(default_factory=_streams)
    """Those with a stream of answers, downloads included: a watch takes about 30 KB."""
    reading: FairPlaces = field(default_factory=_reading)
    """Messages that are on their way in, and large ones until they are answered."""
    reading_small: FairPlaces = field(default_factory=_reading)
    """The same for methods of small messages, which wait behind no large one. How large one is, is known when it is
    here."""
    parsing: FairPlaces = field(default_factory=_parsing)
    """Large messages, one after the other."""
    uploads: FairPlaces = field(default_factory=_uploads)
    downloads: FairPlaces = field(default_factory=_downloads)
    read_s: float = READ_S
    """Seconds within which a message must come whole, and the next piece of an upload."""
