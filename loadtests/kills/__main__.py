"""`python -m loadtests.kills`: strike a real Longtake while it works, then prove that nothing is missing.

    1. start Longtake (Ray, two Denoisers, front door) on a directory of its own
    2. make each kind of job once, undisturbed
    3. while clients create and poll: kill or stop a process, wait until a segment is committed again, strike again
    4. let every acknowledged job end, and compare every blob with the undisturbed ones

Exit code 1 when a job was lost, a client saw a failure other than a lost connection, or a byte differs. The same seed
strikes in the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median

from loadtests.kills.clients import SPECS, Clients, Spec
from loadtests.kills.verify import TENANT, Findings, digest, lines, verify
from loadtests.kills.victims import Blow, choose, strike
from loadtests.table import Row, markdown
from serving.client import AsyncClient
from serving.jobs.repository import Jobs
from serving.local.embedded import Embedded
from serving.settings import Grpc, Http, Settings, Stages
from serving.stages.checkpoint import SHARE
from serving.store import keys
from serving.store.base import Store
from serving.store.open import open_store

RECOVERED_WITHIN_S = 60.0
"""If nothing is committed for so long after a blow, the run has failed."""
END_WITHIN_S = 300.0


class Stuck(Exception):
    """No segment was committed for too long."""


async def strike_all(root: int, store: Store, kills: int, random: Random) -> list[tuple[Blow, float]]:
    """Blow after blow; each with the seconds until the next segment was committed. Raises `Stuck`."""
    struck: list[tuple[Blow, float]] = []
    while len(struck) < kills:
        await asyncio.sleep(random.uniform(0.1, 1.5))
        blow = choose(random)
        if not await strike(root, blow, random):
            continue
        began, before = time.monotonic(), await _committed(store)
        while await _committed(store) == before:
            if time.monotonic() - began > RECOVERED_WITHIN_S:
                raise Stuck(f"nothing was committed in {RECOVERED_WITHIN_S:.0f} s after {blow.name}")
            await asyncio.sleep(0.25)
        struck.append((blow, time.monotonic() - began))
        print(f"{len(struck):4d}  {blow.name:24s} back after {struck[-1][1]:5.1f} s", file=sys.stderr, flush=True)
    return struck


async def _committed(store: Store) -> int:
    return sum([1 async for _ in store.list(keys.segments_of(TENANT))])


async def undisturbed(server: str, store: Store) -> dict[Spec, str]:
    """Every spec made in peace."""
    found = {}
    async with AsyncClient(server) as client:
        for spec in SPECS:
            video = await client.wait((await client.create(spec.request(f"calm-{spec.seed}"))).id)
            found[spec] = await digest(store, await Jobs(store).get(TENANT, video.id))
    return found


async def campaign(embedded: Embedded, store: Store, *, kills: int, seed: int, clients: int) -> tuple[bool, str]:
    """Steps 2 to 4; whether all is well, and the report."""
    calm = await undisturbed(embedded.ready.grpc, store)
    crowd = Clients(embedded.ready.grpc, clients)
    working = asyncio.create_task(crowd.run())
    try:
        struck = await strike_all(embedded.pid, store, kills, Random(seed))
        crowd.close()
        async with asyncio.timeout(END_WITHIN_S):
            await working
    finally:
        working.cancel()
    seen = crowd.seen
    found = await verify(store, seen.acknowledged, calm)
    good = found.good and not seen.failures and len(seen.ended) == len(seen.acknowledged)
    report = markdown(_rows(found, struck, seen.reconnects, sum(seen.failures.values())))
    wrong = lines("lost", found.lost) + lines("not made", found.not_succeeded) + lines("differs", found.different)
    wrong += lines("internal errors", found.faults)
    return good, report + wrong + lines("clients saw", (f"{n}x {what}" for what, n in seen.failures.items()))


def _rows(found: Findings, struck: list[tuple[Blow, float]], reconnects: int, failures: int) -> list[Row]:
    rows = [
        Row("kills", f"{name}", f"{count}", "", f"{median(s for b, s in struck if b.name == name):.1f} s to be back")
        for name, count in sorted(Counter(blow.name for blow, _ in struck).items())
    ]
    redone, worst = sum(found.recomputed), max(found.recomputed, default=0)
    step_s = median(found.step_s or [0.0])
    return [
        *rows,
        Row("kills", "all blows", f"{len(struck)}"),
        Row("kills", "jobs acknowledged", f"{found.jobs}"),
        Row("kills", "jobs lost or not made", f"{len(found.lost) + len(found.not_succeeded)}", aim="0"),
        Row("kills", "videos that differ from undisturbed ones", f"{len(found.different)}", aim="0"),
        Row("kills", "jobs that met an internal error", f"{len(found.faults)}", aim="0"),
        Row("kills", "failures that clients saw", f"{failures}", aim="0"),
        Row("kills", "reconnects that clients made", f"{reconnects}"),
        Row("kills", "attempts adopted by a new Director", f"{found.events['adopted']}"),
        Row("kills", "workers lost under a job", f"{found.events['lost']}"),
        Row("kills", "steps done again", f"{redone}", f"{found.steps} steps", f"{redone / max(1, found.steps):.3f}"),
        Row("kills", "steps done again after one loss, at most", f"{worst}", f"{worst * step_s:.2f} s of compute"),
        Row("kills", "a checkpoint interval, at 10 ms a checkpoint", f"{0.01 / SHARE:.2f} s of compute"),
    ]


def main(arguments: list[str]) -> int:
    """Run a campaign on a fresh Longtake."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.kills", description="Kill Longtake's processes while it works; nothing may be lost."
    )
    parser.add_argument("--kills", type=int, default=200, help="how many blows (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="order of the blows (default 1)")
    parser.add_argument("--clients", type=int, default=4, help="jobs in flight (default 4)")
    parser.add_argument("--logs", type=Path, help="keep the logs in this folder")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table to this Markdown file")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            store=f"{folder}/store",
            grpc=Grpc(address="127.0.0.1:0"),
            http=Http(address="127.0.0.1:0"),
            stages=Stages(replicas={"denoiser": 2}),
        )
        with Embedded(settings, logs=asked.logs or Path(folder) / "logs") as embedded:
            good, report = asyncio.run(_campaign(embedded, settings.store, asked))
    print(report)
    if asked.write:
        asked.write.write_text(f"# Kills\n\nBy `python -m loadtests.kills --kills {asked.kills}`.\n\n{report}\n")
    return 0 if good else 1


async def _campaign(embedded: Embedded, url: str, asked: argparse.Namespace) -> tuple[bool, str]:
    store = await open_store(url, probe=False)
    try:
        return await campaign(embedded, store, kills=asked.kills, seed=asked.seed, clients=asked.clients)
    except Stuck as stuck:
        return False, f"failed: {stuck}"
    finally:
        await store.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
