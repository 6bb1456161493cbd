"""`python -m loadtests.abuse`: attack a front door, without a key and with one, and print what a bystander felt.

    python -m loadtests.abuse                                    # one of its own, on loopback, over an empty store
    python -m loadtests.abuse --grpc HOST:PORT --http HOST:PORT --pid PID --key KEY --bystander KEY

Aims: 300 MB and half a second, whatever is done. Seconds are this machine's, with the attackers on it, at the lowest
priority. What was measured is in `loadtests/ABUSE.md`.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loadtests.abuse.attacks import ATTACKS
from loadtests.abuse.server import Server
from loadtests.abuse.watching import Seen, resident_mb, watched
from loadtests.benchmarks.frontdoor import front_door
from serving.frontdoor.edge.keys_file import StoredKey, add_key, digest_of
from serving.settings import load_settings

AIM_MB, AIM_S = 300.0, 0.5


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.abuse", description=__doc__.splitlines()[0])
    parser.add_argument("--grpc", help="host:port of a server on this machine; default: one is started")
    parser.add_argument("--http", help="its host:port for HTTP")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--key", default="", help="the attackers' API key")
    parser.add_argument("--bystander", default="", help="the API key of another tenant")
    parser.add_argument("--only", metavar="ATTACK", action="append", choices=list(ATTACKS), help=", ".join(ATTACKS))
    asked = parser.parse_args(arguments)
    if asked.grpc and not (asked.http and asked.pid):
        parser.error("--grpc comes with --http and --pid")
    if asked.grpc:
        return attack(Server(asked.grpc, asked.http, asked.pid, asked.key), asked.bystander, asked.only)
    with _started() as (server, bystander):
        return attack(server, bystander, asked.only)


def attack(server: Server, bystander: str, only: Sequence[str] | None) -> int:
    """All attacks, first without a key. 1: an aim was missed."""
    print(f"at rest: {resident_mb(server.pid):.0f} MB")
    missed = 0
    for attacker in (replace(server, key=""), server) if server.key else (server,):
        for name in only or ATTACKS:
            seen = watched(attacker, replace(server, key=bystander), ATTACKS[name])
            missed += not _within(seen)
            print(_row(name, seen, with_key=bool(attacker.key)), flush=True)
    print(f"after: {resident_mb(server.pid):.0f} MB")
    return int(missed > 0)


def _within(seen: Seen) -> bool:
    return seen.peak_mb <= AIM_MB and seen.worst_s <= AIM_S and not seen.failed


def _row(name: str, seen: Seen, *, with_key: bool) -> str:
    who = "with a key" if with_key else "without a key"
    failed = f", {seen.failed} calls failed" if seen.failed else ""
    mark = "" if _within(seen) else "   <-- misses its aim"
    return f"{name:<20} {who:<14} peak {seen.peak_mb:5.0f} MB, worst {seen.worst_s:6.2f} s{failed}{mark}"


@contextmanager
def _started() -> Iterator[tuple[Server, str]]:
    """A front door with keys for two tenants, and the second one's key."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.jsonl"
        mine, theirs = secrets.token_hex(16), secrets.token_hex(16)
        for name, key in (("attacker", mine), ("bystander", theirs)):
            add_key(keys, StoredKey(id=name, tenant=name, name=name, sha256=digest_of(key), created=datetime.now(UTC)))
        settings = load_settings(
            store=f"{folder}/store",
            grpc={"address": "127.0.0.1:0"},
            http={"address": "127.0.0.1:0"},
            auth={"keys_file": str(keys)},
        )
        with front_door(settings) as (pid, ready):
            yield Server(ready["grpc"], ready["http"], pid, mine), theirs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
