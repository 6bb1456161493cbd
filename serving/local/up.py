"""`longtake up`: a local Ray with the stages, and a front door, in one command.

    1. check what can be checked before anything starts: settings, ports, store, engines
    2. start the host (Ray and the Serve application) and the front door, each a process of its own
    3. wait until both are ready, telling how far they are
    4. stay until Ctrl-C, starting again what ends by itself (`parts.py`), then end every process that came of it;
       on SIGUSR1 serve the models that the settings name by then (`reloading.py`); SIGHUP is a terminal that closes

`serving/cli/up.py` calls `run`; `embedded.py` does the same in a child process.
Nothing here imports Ray: a Ctrl-C is heard at any moment, because this process only waits.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import LongtakeError, SettingsError
from serving.frontdoor.edge.listen import listen
from serving.local.alone import alone
from serving.local.parts import Part, Say, StartFailed, environment_of, front_door_part, stages_part
from serving.local.process_tree import ProcessTree
from serving.local.rotation import keep_small
from serving.reloading import changed, leave, waiting
from serving.settings import Settings
from serving.store.base import Store
from serving.store.open import open_store

GRACE_S = 8.0
"""Each child has so long to end by itself."""
START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Ready:
    """Where everything listens."""

    grpc: str
    http: str
    director: str
    metrics: str
    """The stages' Prometheus metrics; the front door's own are at `http`."""


Read = Callable[[], Settings]


def run(read: Read, *, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    """Run until Ctrl-C or SIGTERM; the exit code. `read` reads the settings, now and on each SIGUSR1. `say` gets
    progress lines and, at last, what went wrong.
    """
    return asyncio.run(run_async(read, say, ready, logs))


async def run_async(read: Read, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    """`run`, in an event loop that there is already."""
    tree = ProcessTree()
    stop, again = _signals(tree), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, again.set)
    # Only a name: whoever uses the folder makes it, so that none is left when we are killed before that.
    temp = Path(f"/tmp/longtake-{secrets.token_hex(8)}")  # noqa: S108  (a socket's path must be short)
    life = asyncio.create_task(_life(read, again, say, ready, logs, temp, tree))
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
        await tree.end(GRACE_S, temp)
        if stop.is_set():
            say("stopped")


async def _life(
    read: Read,
    again: asyncio.Event,
    say: Say,
    ready: Callable[[Ready], None],
    logs: Path,
    temp: Path,
    tree: ProcessTree,
) -> None:
    """Start everything and keep it alive; returns only by raising, when a part cannot be kept up."""
    settings = read()
    await check(settings)
    logs.mkdir(parents=True, exist_ok=True)
    with alone(settings.store, logs):
        stages, door = stages_part(logs, temp, tree), front_door_part(logs, temp, tree)
        await _start((stages, door), environment_of(settings), say, within_s=START_TIMEOUT_S * len(settings.served))
        where = Ready(**stages.ready_with, **door.ready_with)
        ready(where)
        now = _Reloaded(_fixed(settings, where))
        keeping = [asyncio.create_task(part.keep(now.environment, say)) for part in (stages, door)]
        keeping.append(asyncio.create_task(keep_small([stages.log, door.log])))
        keeping.append(asyncio.create_task(_reload(read, again, now, temp, (stages, door), say)))
        try:
            await asyncio.gather(*keeping)
        finally:
            for task in keeping:
                task.cancel()


async def _start(parts: tuple[Part, ...], env: Mapping[str, str], say: Say, *, within_s: float) -> None:
    """All at once. Raises `StartFailed`, naming those that did not come up in time."""
    try:
        async with asyncio.timeout(within_s) as limit:
            await asyncio.gather(*(part.start(env, say) for part in parts))
    except TimeoutError as error:
        if not limit.expired():
            raise
        late = [part for part in parts if not part.ready_with]
        raise StartFailed(
            f"{' and '.join(part.name for part in late)}: not ready after {within_s:g} s (log: "
            f"{', '.join(str(part.log) for part in late)}). If this machine is busy, start again when it is less so",
            1,
        ) from error


def _fixed(settings: Settings, where: Ready) -> Settings:
    """A part that comes back must be where its clients know it."""
    return settings.model_copy(
        update={
            "grpc": settings.grpc.model_copy(update={"address": where.grpc}),
            "http": settings.http.model_copy(update={"address": where.http}),
        }
    )


@dataclass
class _Reloaded:
    """The settings by now."""

    settings: Settings

    def environment(self) -> dict[str, str]:
        """For a part that is started again."""
        return environment_of(self.settings)


async def _reload(
    read: Read, again: asyncio.Event, now: _Reloaded, temp: Path, parts: tuple[Part, ...], say: Say
) -> None:
    """Each time that it is asked for have the parts serve what the settings name by then; where nothing has changed,
    all replicas are replaced."""
    started_with = read()
    while True:
        await again.wait()
        again.clear()
        try:
            new = read()
            wanted, waits = changed(now.settings, new), waiting(started_with, new)
            store = await open_store(wanted.store, probe=False)
            try:
                await check_models(wanted, store)
            finally:
                await store.close()
        except LongtakeError as error:
            say(f"the settings are as they were: {error.message}")
            continue
        now.settings = wanted
        leave(wanted, temp)
        for part in parts:
            part.reload()
        say(f"serving {', '.join(wanted.served)}")
        if waits:
            say(f"what has changed of {', '.join(waits)} waits for the next start")


async def check(settings: Settings) -> None:
    """All that can be known before anything starts. Raises `SettingsError`, `StoreUnfit`, `EngineMissing`…"""
    for name, address in (("grpc.address", settings.grpc.address), ("http.address", settings.http.address)):
        _check_port(name, address)
    store = await open_store(settings.store)
    try:
        await check_models(settings, store)
    finally:
        await store.close()


async def check_models(settings: Settings, store: Store) -> None:
    """Whether each that is served is known and has its engines, and none is named twice. Raises `SettingsError`,
    `EngineMissing`."""
    from serving import engine_store

    names: dict[str, str] = {}
    for said in settings.served:
        name = (await engine_store.check(said, store, settings.of(said).engines)).manifest.model
        if name in names:
            raise SettingsError(
                f"settings `model` and `models`: {names[name]} and {said} are one model, keep one of them"
            )
        names[name] = said


def _check_port(name: str, address: str) -> None:
    try:
        listen(address).close()
    except OSError as error:
        raise SettingsError(
            f"setting `{name}`: cannot listen on {address} ({error.strerror}); "
            "is Longtake running already? Choose another with --grpc or --http"
        ) from error


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
