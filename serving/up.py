"""`longtake up`: a local Ray with the stages, and a front door, in one command.

    1. check what can be checked before anything starts: settings, ports, store, engines
    2. start the host (Ray and the Serve application) and the front door, each a process of its own
    3. wait until both are ready, telling how far they are
    4. stay until Ctrl-C, then end every process that came of it

`serving/cli/up.py` calls `run`. `Embedded` starts the same in a child process, for the demo, benchmarks and tests.
Nothing here imports Ray: a Ctrl-C is heard at any moment, because this process only waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from serving.errors import EngineMissing, LongtakeError, SettingsError
from serving.settings import Settings, load_settings, split_address
from serving.store.base import Store
from serving.store.open import open_store
from serving.supervise import ProcessTree

GRACE_S = 8.0
"""Each child has so long to end by itself."""
START_TIMEOUT_S = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """Where everything listens."""

    grpc: str
    http: str
    director: str
    metrics: str
    """The stages' Prometheus metrics; the front door's own are at `http`."""


class StartFailed(Exception):
    """A part did not come up. `code` is the exit code: 2 for something the user can set right, else 1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run(settings: Settings, *, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    """Run until Ctrl-C or SIGTERM; the exit code. `say` gets progress lines and, at last, what went wrong."""
    return asyncio.run(_run(settings, say, ready, logs))


async def _run(settings: Settings, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    tree = ProcessTree()
    stop = _signals(tree)
    temp = Path(tempfile.mkdtemp(prefix="longtake-", dir="/tmp"))
    life = asyncio.create_task(_life(settings, say, ready, logs, temp, tree))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            await life
    except StartFailed as error:
        say(f"error: {error}")
        return error.code
    except LongtakeError as error:
        say(f"error: {error.message}")
        return 2
    else:
        return 0
    finally:
        life.cancel()
        if stop.is_set():
            say("stopping (again Ctrl-C to force)")
        await tree.end(GRACE_S)
        shutil.rmtree(temp, ignore_errors=True)


async def _life(
    settings: Settings, say: Say, ready: Callable[[Ready], None], logs: Path, temp: Path, tree: ProcessTree
) -> None:
    """Start everything; returns only by raising, when a part could not start or has ended."""
    await check(settings)
    logs.mkdir(parents=True, exist_ok=True)
    async with asyncio.timeout(START_TIMEOUT_S):
        host, host_says = await _start_host(settings, logs, temp, tree)
        door, door_says = await _start_front_door(settings, logs, tree)
        addresses, inside = await asyncio.gather(
            _door_ready(door, door_says, logs), _host_ready(host, host_says, say, logs)
        )
    ready(Ready(addresses["grpc"], addresses["http"], inside["director"], inside["metrics"]))
    ends = {
        asyncio.create_task(host.wait(), name="the stages (Ray)"): "ray.log",
        asyncio.create_task(door.wait(), name="the front door"): "frontdoor.log",
    }
    done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        raise StartFailed(f"{task.get_name()} ended unexpectedly: see {logs / ends[task]}", 1)


async def check(settings: Settings) -> None:
    """All that can be known before anything starts. Raises `SettingsError`, `StoreUnfit`, `EngineMissing`…"""
    for name, address in (("grpc.address", settings.grpc.address), ("http.address", settings.http.address)):
        _check_port(name, address)
    store = await open_store(settings.store)
    try:
        await _check_engines(settings.model, store)
    finally:
        await store.close()


async def _check_engines(model: str, store: Store) -> None:
    from engines import models
    from engines.errors import EngineError
    from serving.stages.loaded import engines_of

    try:
        family = models.family(model)
        found = await engines_of(model, store).find(family.capabilities.model, models.weights_digest(model))
        for component in family.components:
            await found.read(found.manifest.entry(component))
    except EngineError as error:
        raise EngineMissing(str(error)) from error
    except ValueError as error:
        raise SettingsError(f"setting `model`: {error}") from error


def _check_port(name: str, address: str) -> None:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"setting `{name}`: cannot listen on {address} ({error.strerror}); "
                "is Longtake running already? Choose another with --grpc or --http"
            ) from error


# ── the two children ────────────────────────────────────────────────────────────────────────────────────────────────


async def _start_host(
    settings: Settings, logs: Path, temp: Path, tree: ProcessTree
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    command = [sys.executable, "-m", "serving.deployments.host", "--temp", str(temp)]
    env = {**environment_of(settings), **_RAY_ENVIRONMENT}
    return await _start(tree, command, "--reports", env, logs / "ray.log")


async def _start_front_door(
    settings: Settings, logs: Path, tree: ProcessTree
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    command = [sys.executable, "-m", "serving.frontdoor"]
    return await _start(tree, command, "--ready-fd", environment_of(settings), logs / "frontdoor.log")


async def _start(
    tree: ProcessTree, command: list[str], option: str, env: Mapping[str, str], log: Path
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    """Start a child that tells how far it is on a descriptor of its own."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    try:
        with log.open("wb") as output:
            child = await tree.start([*command, option, str(writing)], env=env, output=output, pass_fds=[writing])
    finally:
        os.close(writing)
    return child, reader


async def _door_ready(door: asyncio.subprocess.Process, says: asyncio.StreamReader, logs: Path) -> dict[str, str]:
    line = await says.readline()
    if not line:
        code = await door.wait()
        raise StartFailed(_last_line(logs / "frontdoor.log"), 2 if code == 2 else 1)
    addresses: dict[str, str] = json.loads(line)
    return addresses


async def _host_ready(
    host: asyncio.subprocess.Process, says: asyncio.StreamReader, say: Say, logs: Path
) -> dict[str, str]:
    async for line in says:
        report = json.loads(line)
        if "error" in report:
            raise StartFailed(report["error"], report["code"])
        if report["stage"] == "ready":
            return {name: str(report[name]) for name in ("director", "metrics")}
        if report["stage"] == "deployments":
            say(f"stages up: {len(report['up'])} of {report['total']}")
        else:
            say(report["text"])
    await host.wait()
    raise StartFailed(f"the stages did not start: {_last_line(logs / 'ray.log')} (all of it: {logs / 'ray.log'})", 1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Its name notwithstanding: with 0, all of Ray listens on loopback only, on every system.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DEDUP_LOGS": "0",
    # The video encoder tells of every segment otherwise.
    "SVT_LOG": "1",
    "RAY_COLOR_PREFIX": "0",
    # Two cores: no worker before it is needed, and no idle ones kept for tasks, of which there are none.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings in it, so that children read exactly these."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    for name, value in settings.model_dump(mode="json").items():
        env[f"LONGTAKE_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    return env


def _signals(tree: ProcessTree) -> asyncio.Event:
    """The first signal stops, the second forces."""
    stop = asyncio.Event()

    def heard() -> None:
        if stop.is_set():
            tree.force()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard)
    return stop


# ── in a child process ──────────────────────────────────────────────────────────────────────────────────────────────


class Embedded:
    """Longtake beside this program, for as long as a `with` block lasts.

    It runs in a child process, so that Ray and the tree of processes stay out of this one; when this program dies, it
    ends too. Use addresses with port 0 to get free ones: `embedded.ready` tells which.
    """

    def __init__(self, settings: Settings, *, logs: Path, say: Say = lambda _: None) -> None:
        self._settings = settings
        self._logs = logs
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """Where it listens."""
        assert self._ready is not None, "enter the context first"
        return self._ready

    @property
    def pid(self) -> int:
        """The process below which everything runs."""
        assert self._child is not None, "enter the context first"
        return self._child.pid

    def __enter__(self) -> Self:
        """Start and wait until ready. Raises `StartFailed`."""
        reading, writing = os.pipe()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "serving.up", "--reports", str(writing), "--logs", str(self._logs)],
                env=environment_of(self._settings),
                stdin=subprocess.DEVNULL,
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            with os.fdopen(reading, "rb") as reports:
                self._ready = self._await_ready(reports)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until every process has ended."""
        self.stop()

    async def __aenter__(self) -> Self:
        """As `__enter__`, beside other work."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `__exit__`, beside other work."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """End it; harmless to repeat."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(4 * GRACE_S)
        except subprocess.TimeoutExpired:
            self._child.send_signal(signal.SIGTERM)
            self._child.wait(GRACE_S)

    def _await_ready(self, reports: BinaryIO) -> Ready:
        assert self._child is not None
        said = "it said nothing"
        for line in reports:
            report: dict[str, Any] = json.loads(line)
            if "ready" in report:
                return Ready(**report["ready"])
            said = report["say"]
            self._say(said)
        raise StartFailed(said.removeprefix("error: "), self._child.wait())


def main() -> int:
    """`python -m serving.up`: what `Embedded` starts."""
    parser = argparse.ArgumentParser(description="Longtake in a child process; see Embedded.")
    parser.add_argument("--reports", type=int, required=True, help="file descriptor for progress lines")
    parser.add_argument("--logs", type=Path, required=True, help="folder for logs")
    arguments = parser.parse_args()
    reports = os.fdopen(arguments.reports, "w", buffering=1)
    parent = os.getppid()

    def tell(**fields: object) -> None:
        try:
            reports.write(json.dumps(fields) + "\n")
        except BrokenPipeError:  # nobody listens once we were ready
            return

    def ready(found: Ready) -> None:
        tell(ready=vars(found))

    return asyncio.run(_with_parent(parent, load_settings(), lambda text: tell(say=text), ready, arguments.logs))


async def _with_parent(parent: int, settings: Settings, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    """`_run`, and stop when the parent has gone."""
    watching = asyncio.create_task(_stop_without(parent))
    try:
        return await _run(settings, say, ready, logs)
    finally:
        watching.cancel()


async def _stop_without(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  (nobody tells of it)
        await asyncio.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
