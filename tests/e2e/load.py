"""Two clients that make one video after the other while a cluster is struck: ours, whose bytes are compared with those
of undisturbed videos, and the stock xai-sdk, each a tenant.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from loadtests.kills.calm import make_base, undisturbed
from loadtests.kills.clients import Clients
from loadtests.kills.parts import Part
from loadtests.kills.specs import Base, Spec
from loadtests.kills.verify import verify
from serving.client import AsyncClient
from serving.jobs.epoch import newest_epoch
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.store.open import open_store
from tests.contract.sample_media import CAT
from tests.contract.xai_door import CLIENTS

SCRIPT = Path(__file__).parent / "xai_work.py"
MODEL, LONGEST_S = "sprite-2", 900.0
Made = dict[str, Any]
"""A line of the script."""


class Load:
    """The clients, at work from `begin` to `end`, which may be called again.

    `ours` and `theirs`: the name and the key of each one's tenant.
    """

    def __init__(self, server: str, store: str, ours: tuple[str, str], theirs: tuple[str, str], folder: Path) -> None:
        self._server, self._store, self._ours, self._theirs = server, store, ours, theirs
        self._lines, self._errors = folder / "xai.jsonl", folder / "xai.log"
        self._folder = folder
        base, self._calm = asyncio.run(self._in_peace())
        self._before = {record.id for tenant in (ours[0], theirs[0]) for record in asyncio.run(self._records(tenant))}
        self._clients = Clients(server, 1, dict([ours]), {ours[0]: base}, Random(1))
        self._script: subprocess.Popen[bytes] | None = None
        self._crowd: threading.Thread | None = None

    def begin(self) -> None:
        """Both make videos from now on."""
        (self._folder / "cat.png").write_bytes(CAT)
        output = self._lines.open("wb"), self._errors.open("wb")
        self._script = subprocess.Popen(
            [sys.executable, str(SCRIPT), MODEL],
            env=environment(self._server, self._theirs[1]),
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=output[0],
            stderr=output[1],
        )
        for file in output:
            file.close()  # the script has its own
        self._crowd = threading.Thread(target=asyncio.run, args=(self._clients.run(),), daemon=True)
        self._crowd.start()

    def end(self) -> None:
        """No more; what they have begun is waited for. Raises `AssertionError` when that does not come."""
        self._clients.close()
        if self._script is not None and self._script.returncode is None:
            try:
                self._script.communicate(timeout=LONGEST_S)
            except subprocess.TimeoutExpired:
                self._script.kill()
                self._script.wait()
        if self._crowd is not None:
            self._crowd.join(LONGEST_S)
            assert not self._crowd.is_alive(), f"our client still waits for a video after {LONGEST_S:.0f} s"

    def theirs(self) -> list[Made]:
        """What the stock client has made."""
        return [json.loads(line) for line in self._lines.read_text().split("\n")[:-1]]

    def waits(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Of our client and of the other one: when each video was asked for, and came."""
        ours = [(job.asked, job.ended) for job in list(self._clients.seen.jobs.values()) if job.ended is not None]
        return ours, [(made["asked"], made["ended"]) for made in self.theirs()]

    def back_since(self, moment: float) -> float | None:
        """Seconds from `moment` until each client had a video that it asked for afterwards; None before."""
        came = [min((ended for asked, ended in waits if asked > moment), default=None) for waits in self.waits()]
        times = [one for one in came if one is not None]
        return max(times) - moment if len(times) == len(came) else None

    def longest_since(self, moment: float) -> float:
        """Seconds that the video took which took longest, of those that came since."""
        return max((ended - asked for waits in self.waits() for asked, ended in waits if ended > moment), default=0.0)

    def ended_between(self, first: float, last: float) -> int:
        """Videos that came meanwhile."""
        return sum(first < ended < last for waits in self.waits() for _, ended in waits)

    def usual(self) -> float:
        """Seconds that a video takes."""
        return median([ended - asked for waits in self.waits() for asked, ended in waits])

    def epoch(self) -> int:
        """Of the Director that works."""
        return asyncio.run(self._epoch())

    def verified(self) -> Part:
        """Afterwards: what was lost, differs, failed, or was made without being asked for."""
        return asyncio.run(self._verify())

    async def _in_peace(self) -> tuple[Base, dict[Spec, str]]:
        store = await open_store(self._store, probe=False)
        try:
            async with AsyncClient(self._server, api_key=self._ours[1]) as client:
                base = await make_base(client)
                return base, await undisturbed(client, store, self._ours[0], base)
        finally:
            await store.close()

    async def _epoch(self) -> int:
        store = await open_store(self._store, probe=False)
        try:
            return await newest_epoch(store)
        finally:
            await store.close()

    async def _verify(self) -> Part:
        seen, part = self._clients.seen, Part(store="S3 store")
        part.reconnects, part.failures = seen.reconnects, seen.failures
        store = await open_store(self._store, probe=False)
        try:
            await verify(store, seen.jobs, self._calm, part)
        finally:
            await store.close()
        made = self.theirs()
        part.failures.update(one["failure"] for one in made if one["failure"])
        if self._script is None or self._script.returncode:
            part.failures[f"the script of the xai-sdk ended: {self._errors.read_text()[-2000:]}"] += 1
        part.jobs += len(made)
        part.lost += [f"{one['kind']} of the xai-sdk: {one['failure']}" for one in made if "id" not in one]
        ids = {one["id"] for one in made if "id" in one}
        records = await self._records(self._theirs[0])
        part.lost += [f"{job} of the xai-sdk" for job in ids - {record.id for record in records}]
        part.faults += [f"{record.id}: {record.faults} times" for record in records if record.faults]
        for record in (*records, *await self._records(self._ours[0])):
            if record.id not in self._before | ids | seen.jobs.keys():
                part.different.append(f"{record.id}: nobody asked for it")
        return part

    async def _records(self, tenant: str) -> list[JobRecord]:
        store = await open_store(self._store, probe=False)
        try:
            found: list[JobRecord] = []
            jobs, token = Jobs(store), ""
            while True:
                page = await jobs.list(tenant, limit=100, token=token)
                found += page.records
                token = page.next_token
                if not token:
                    return found
        finally:
            await store.close()


def load_record(url: str, tenant: str, job: str) -> JobRecord:
    """Of a job, as the store has it."""
    return asyncio.run(_record(url, tenant, job))


async def _record(url: str, tenant: str, job: str) -> JobRecord:
    store = await open_store(url, probe=False)
    try:
        return await Jobs(store).get(tenant, job)
    finally:
        await store.close()


def environment(server: str, key: str) -> dict[str, str]:
    """Of a process of the stock client."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLIENTS), "XAI_API_KEY": key, "LONGTAKE_HOST": server}


def one_round(server: str, key: str, folder: Path, model: str = MODEL) -> list[Made]:
    """What the stock client makes once: from text, an extension, with a reference. Fails where it fails."""
    (folder / "cat.png").write_bytes(CAT)
    command = [sys.executable, str(SCRIPT), model, "1"]
    done = subprocess.run(
        command, env=environment(server, key), cwd=folder, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [one["failure"] for one in made if one["failure"]], made
    return made
