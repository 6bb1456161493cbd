"""What a server's memory and a bystander's calls come to while something is done to the server. `__main__.py` asks."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from loadtests.abuse.server import Server
from serving.gen.longtake.v1.models_pb2 import ListModelsRequest

LIST_MODELS = "/longtake.v1.Models/ListModels"
PAUSE_S = 0.05
PATIENCE_S = 60.0


@dataclass
class Seen:
    """During one attack."""

    peak_mb: float = 0.0
    """Of the server's resident memory, children not included."""
    worst_s: float = 0.0
    """A bystander's slowest answer: a call over gRPC, or a request over HTTP."""
    failed: int = 0
    """A bystander's calls that got none."""


def watched(server: Server, bystander: Server, attack: Callable[[Server], None]) -> Seen:
    """Run an attack, and see. `bystander`: the same server by another key."""
    seen, over = Seen(), threading.Event()
    looks: tuple[Callable[[], None], ...] = (
        lambda: _memory(server.pid, seen, over),
        lambda: _polls(bystander, seen, over),
        lambda: _health(bystander, seen, over),
    )
    threads = [threading.Thread(target=look) for look in looks]
    for thread in threads:
        thread.start()
    # The attackers have a process of their own, whose Python is not in the bystander's way.
    attacker = multiprocessing.get_context("spawn").Process(target=_as_from_elsewhere, args=(attack, server))
    try:
        attacker.start()
        attacker.join()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if attacker.exitcode:  # what was not sent was not withstood
        raise RuntimeError(f"the attackers' process ended with {attacker.exitcode}: its traceback is above")
    return seen


def _as_from_elsewhere(attack: Callable[[Server], None], server: Server) -> None:
    """Strangers compress and send on machines of their own. On this one they get what the server leaves."""
    os.nice(19)
    attack(server)


def resident_mb(pid: int) -> float:
    """Of a process on this machine."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def _memory(pid: int, seen: Seen, over: threading.Event) -> None:
    while not over.wait(0.01):
        seen.peak_mb = max(seen.peak_mb, resident_mb(pid))


def _polls(bystander: Server, seen: Seen, over: threading.Event) -> None:
    """On a connection that was there before."""
    with bystander.channel() as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST_MODELS)
        message = ListModelsRequest().SerializeToString()
        while not over.wait(PAUSE_S):
            began = time.monotonic()
            try:
                call(message, metadata=bystander.metadata, timeout=PATIENCE_S)
            except grpc.RpcError:
                seen.failed += 1
            seen.worst_s = max(seen.worst_s, time.monotonic() - began)


def _health(bystander: Server, seen: Seen, over: threading.Event) -> None:
    """On a new connection each time."""
    web = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not over.wait(PAUSE_S):
        began = time.monotonic()
        try:
            with web.open(f"http://{bystander.http}/healthz", timeout=PATIENCE_S) as answer:
                answer.read()
        except (urllib.error.URLError, OSError):
            seen.failed += 1
        seen.worst_s = max(seen.worst_s, time.monotonic() - began)
