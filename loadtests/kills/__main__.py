"""`python -m loadtests.kills`: strike a real Longtake while it works, then prove that nothing is missing.

    1. start Longtake (Ray, two Denoisers, front door) on a store of its own, with two tenants
    2. make each kind of job once, undisturbed
    3. while clients create, poll, cancel and delete, and collections run: kill or stop a process or two, Ray's head and
       the host among them; wait until a segment is committed again, strike again
    4. let every acknowledged job end, and compare every blob with the undisturbed ones

Exit code 1 when a job was lost, a client saw a failure other than a lost connection, or a byte differs. The same seed
strikes in the same order. With `--parts FILE` each run is a line of the file, and the table is of all of them:

    for seed in 1 2 3; do python -m loadtests.kills --blows 200 --seed $seed --parts kills.jsonl; done
    python -m loadtests.kills --blows 0 --parts kills.jsonl --write loadtests/KILLS.md
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from loadtests.kills.campaign import Campaign
from loadtests.kills.parts import Part, append, read, rows, together
from loadtests.kills.verify import lines
from loadtests.table import markdown
from serving.frontdoor.edge.keys_file import StoredKey, digest_of
from serving.local.embedded import Embedded
from serving.settings import Auth, Grpc, Http, Settings, Stages
from serving.store.open import open_store

TENANTS = ("studio", "agency")


def main(arguments: list[str]) -> int:
    """Run a part on a fresh Longtake, and tell of all parts."""
    asked = _asked(arguments)
    parts = read(asked.parts) if asked.parts else []
    if asked.blows:
        with tempfile.TemporaryDirectory() as folder:
            parts.append(_part(Path(folder), asked))
        if asked.parts:
            append(asked.parts, parts[-1])
    whole = together(parts)
    report = markdown(rows(whole))
    wrong = lines("stuck", whole.stuck) + lines("lost", whole.lost) + lines("not made", whole.not_made)
    wrong += lines("differs", whole.different) + lines("internal errors", whole.faults)
    wrong += lines("clients saw", (f"{number}x {what}" for what, number in whole.failures.items()))
    print(report + wrong)
    if asked.write:
        seeds = ", ".join(f"{part.seed} ({len(part.struck)} on a {part.store})" for part in parts)
        asked.write.write_text(f"# Kills\n\nBy `python -m loadtests.kills`, seeds {seeds}.\n\n{report}\n")
    return 0 if whole.good else 1


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.kills", description="Kill Longtake's processes while it works; nothing may be lost."
    )
    parser.add_argument("--blows", type=int, default=200, help="how many (default 200; 0: only tell of the parts)")
    parser.add_argument("--seed", type=int, default=1, help="order of the blows (default 1)")
    parser.add_argument(
        "--store", default="", help="an S3 store, s3://host:port/bucket/prefix?secure=false (default: a directory)"
    )
    parser.add_argument("--clients", type=int, default=4, help="jobs in flight (default 4)")
    parser.add_argument("--logs", type=Path, help="keep the logs in this folder")
    parser.add_argument("--parts", type=Path, metavar="FILE", help="add this run to those of this file")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to this Markdown file")
    return parser.parse_args(arguments)


def _part(folder: Path, asked: argparse.Namespace) -> Part:
    part = Part(store="S3 store" if asked.store else "directory", seed=asked.seed)
    tenants = {tenant: f"lt-{secrets.token_urlsafe(32)}" for tenant in TENANTS}
    settings = Settings(
        store=_fresh(asked.store, asked.seed) if asked.store else f"{folder}/store",
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        stages=Stages(replicas={"denoiser": 2}),
        auth=Auth(keys_file=_keys_file(folder, tenants)),
    )
    with Embedded(settings, logs=asked.logs or folder / "logs") as embedded:
        asyncio.run(_campaign(embedded, settings.store, tenants, part, asked))
    return part


async def _campaign(
    embedded: Embedded, url: str, tenants: Mapping[str, str], part: Part, asked: argparse.Namespace
) -> None:
    store = await open_store(url, probe=False)
    try:
        await Campaign(embedded, store, tenants, part).run(asked.blows, asked.clients)
    finally:
        await store.close()


def _fresh(url: str, seed: int) -> str:
    """A place of its own below the store."""
    place, mark, options = url.partition("?")
    return f"{place}/kills-{seed}-{os.getpid()}{mark}{options}"


def _keys_file(folder: Path, tenants: Mapping[str, str]) -> Path:
    path = folder / "keys.jsonl"
    keys = [
        StoredKey(id=f"key-{tenant}", tenant=tenant, name=tenant, sha256=digest_of(key), created=datetime.now(UTC))
        for tenant, key in tenants.items()
    ]
    path.write_text("".join(f"{key.model_dump_json()}\n" for key in keys))
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
