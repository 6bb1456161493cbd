"""`longtake doctor`: what this machine has, and what to do about what it lacks. Starts nothing, changes nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import FAILED, Output, print_json
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from serving.settings import Settings
    from serving.store.base import Store

_LEAST_DISK = 2 << 30
_LEAST_FILES = 4096
_MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: str
    """`ok`, `note` (works without) or `bad` (Longtake will not run)."""
    detail: str


def doctor(
    store: Annotated[str | None, typer.Option(help="Check this store instead of the setting's.")] = None,
    output: Output = "text",
) -> None:
    """Check this machine: Python, memory, disk, files, ports, store, engines, Ray, GPU. Exit code 1 if one is bad."""
    findings = list(_findings(store))
    if output == "json":
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{_MARKS[finding.verdict]}  {finding.what:<10} {finding.detail}")
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(FAILED)


def _findings(store: str | None) -> Iterator[Finding]:
    from engines.cores import cores
    from serving.environment import unread
    from serving.errors import LongtakeError
    from serving.settings import load_settings

    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("cpu", "ok", f"{cores()} of {os.cpu_count()} cores may be used")
    for line in unread(os.environ):
        yield Finding("settings", "note", line)
    try:
        settings = load_settings(**({"store": store} if store else {}))
    except LongtakeError as error:
        yield Finding("settings", "bad", error.message)
        return
    yield Finding("settings", "ok", f"gRPC {settings.grpc.address}, HTTP {settings.http.address}")
    yield _port("grpc", settings.grpc.address)
    yield _port("http", settings.http.address)
    yield asyncio.run(_store(store))
    yield from asyncio.run(_engines(settings, store))
    yield _disk()
    yield _decoder()
    yield _files()
    ray = importlib.util.find_spec("ray")
    yield Finding("ray", "ok" if ray else "bad", "installed" if ray else "missing: pip install longtake")
    torch = importlib.util.find_spec("torch")
    without = "no torch: engines cannot be built here (pip install 'longtake[build]'); the shipped ones run without"
    yield Finding("build", "ok" if torch else "note", "torch is installed" if torch else without)
    gpu = os.path.exists("/dev/nvidiactl")  # noqa: PTH110
    yield Finding("gpu", "ok" if gpu else "note", "an NVIDIA driver is here" if gpu else "none: engines run on the CPU")


def _port(name: str, address: str) -> Finding:
    from serving.frontdoor.edge.listen import listen

    try:
        listen(address).close()
    except OSError as error:
        return Finding(name, "note", f"{address}: {error.strerror}; is Longtake running? Else choose another port")
    return Finding(name, "ok", f"{address} is free")


async def _store(url: str | None) -> Finding:
    from serving.errors import StoreMissing, StoreUnfit

    try:
        async with opened_store(url, probe=True) as store:
            return Finding("store", "ok", f"{store.url} passed the probe's races")
    except StoreMissing as error:
        return Finding("store", "note", error.message)
    except StoreUnfit as error:
        return Finding("store", "bad", error.message)


async def _engines(settings: Settings, url: str | None) -> list[Finding]:
    from serving.errors import StoreUnfit

    try:
        async with opened_store(url) as store:
            return [await _engines_of(name, settings, store) for name in settings.served]
    except StoreUnfit:
        return []


async def _engines_of(model: str, settings: Settings, store: Store) -> Finding:
    from serving import engine_store
    from serving.errors import LongtakeError

    try:
        manifest = (await engine_store.check(model, store, settings.of(model).engines, fetch=False)).manifest
    except LongtakeError as error:
        return Finding("engines", "bad", error.message)
    beside = sum(file.size for entry in manifest.engines for file in entry.weights)
    large = f"; {beside / 1e9:.1f} GB of weights beside them are in the store, and checked when they are loaded"
    told = f"{manifest.model}: {len(manifest.engines)} engines, digests match{large if beside else ''}"
    return Finding("engines", "ok", told)


def _decoder() -> Finding:
    """What keeps a picture or film of a stranger from this machine."""
    from serving.media.lockdown import protection

    told, whole = protection()
    return Finding("decoder", "ok" if whole else "note", told)


def _files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _LEAST_FILES
    told = "as many as it likes" if hard == resource.RLIM_INFINITY else str(hard)
    advice = "" if enough else f"; raise `ulimit -Hn` to {_LEAST_FILES}, for each connection takes one"
    return Finding("files", "ok" if enough else "note", f"a process may have {told} open{advice}")


def _disk() -> Finding:
    free = shutil.disk_usage("/tmp").free  # noqa: S108  (where Ray keeps its session)
    verdict = "ok" if free >= _LEAST_DISK else "bad"
    return Finding("disk", verdict, f"{free >> 30} GiB free in /tmp" + ("" if verdict == "ok" else "; Ray needs 2 GiB"))
