"""`python -m serving.deployments.host`: one process that runs a local Ray and the Serve application in it.

`keeper.py` starts it, and `local/up.py` reads how far it is (`reports.py`); the process's own output, with that of all
replicas, is the log. It ends on SIGTERM, and Ray with it; on SIGHUP it replaces every replica, the new ones
first, and tries again when that fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import queue
import random
import shutil
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatusOverview, ServeDeploySchema

from engines.cores import cores
from serving.deployments.app import config
from serving.deployments.declared import APPLICATION
from serving.deployments.given_up import LOOK_EVERY_S, GivenUp
from serving.deployments.roll_out import RollOut
from serving.errors import SettingsError
from serving.local.process_tree import kill_descendants
from serving.logs import configure, logger
from serving.reports import Reports
from serving.runtime_keys import announce_director
from serving.settings import Settings, load_settings
from serving.store.open import open_store

OBJECT_STORE_BYTES = (200 << 20, 2 << 30)
"""At least and at most. Frames never enter it; of a large model the latents and embeddings of a job are tens of MB.
Memory is taken as it is used."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (Ray's own choice)
DEPLOY_TIMEOUT_S = 120.0
LOWEST_PORT = 20_000
"""Ray gives the ports below it to its workers."""


def main() -> None:
    """Start, report, stay until SIGTERM. Exit code 2 for a setting that is wrong, 1 when the application fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, required=True, help="file descriptor for progress lines")
    parser.add_argument("--temp", type=Path, required=True, help="folder for Ray's session")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    configure(service="host", format="json")
    reports = Reports(arguments.reports)
    settings = load_settings()
    try:
        temp = arguments.temp.absolute()
        temp.mkdir(mode=0o700, exist_ok=True)
        os.chdir(temp)  # Ray's workers import from where their driver stands
        _run(settings, reports, temp)
    except SettingsError as error:
        reports.failed(error.message, code=2)
        raise SystemExit(2) from error
    except DeploymentFailed as error:
        reports.failed(str(error), code=1)
        raise SystemExit(1) from error
    finally:
        ray.shutdown()


class DeploymentFailed(Exception):
    """The application did not come up."""


def _run(settings: Settings, reports: Reports, temp: Path) -> None:
    start_ray(temp, reports)
    signal.signal(signal.SIGTERM, _stop)  # Ray has put its own in its place
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    refuse_shared_directory(settings.store, nodes=len(nodes))
    grpc_port, http_port = free_ports(2)
    wanted = config(settings, grpc_port=grpc_port, http_port=http_port)
    reports.say("starting Ray Serve")
    _deploy(wanted, reports)
    address = f"127.0.0.1:{grpc_port}"
    asyncio.run(_announce(settings, address))
    reports.ready(director=address, metrics=f"127.0.0.1:{nodes[0]['MetricsExportPort']}")
    # SIGTERM raises here; SIGHUP asks for a roll-out. A simple queue may be put into by a signal handler.
    hangups: queue.SimpleQueue[int] = queue.SimpleQueue()
    signal.signal(signal.SIGHUP, lambda number, _: hangups.put(number))
    given_up, roll_out = GivenUp(), RollOut()
    for generation in itertools.count(1):
        why = reason_to_deploy(hangups, given_up, roll_out)
        logger("host").info("replacing all replicas", generation=generation, why=why)
        try:
            _deploy(config(settings, grpc_port=grpc_port, http_port=http_port, generation=generation))
            roll_out.succeeded()
        except DeploymentFailed as error:  # Serve keeps the old replicas
            again_s = roll_out.failed(time.monotonic())
            logger("host").error("the roll-out failed", generation=generation, reason=str(error), again_in_s=again_s)


def start_ray(temp: Path, reports: Reports) -> None:
    """Ray gives its processes half a minute to come up, which an overloaded machine may exceed: then once more.

    Raises `DeploymentFailed`.
    """
    reports.say("starting Ray")
    try:
        _init_ray(temp)
    except Exception as error:  # noqa: BLE001  (Ray raises just that)
        logger("host").warning("Ray did not start: once more", reason=str(error))
        ray.shutdown()
        kill_descendants()
        reports.say("starting Ray once more")
        try:
            _init_ray(temp)
        except Exception as again:
            raise DeploymentFailed(f"Ray did not start: {again}") from again


def _init_ray(temp: Path) -> None:
    ray.init(
        address="local",
        num_cpus=cores(),
        object_store_memory=_object_store_bytes(),
        include_dashboard=False,
        configure_logging=False,
        _temp_dir=str(temp),
    )


def _object_store_bytes() -> int:
    """A quarter of what the shared memory has left: beyond that Ray would put all of it on a disk."""
    least, most = OBJECT_STORE_BYTES
    free = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else 0
    return min(max(free // 4, least), most)


def reason_to_deploy(hangups: queue.SimpleQueue[int], given_up: GivenUp, roll_out: RollOut) -> str:
    """Wait until every replica is to be replaced: somebody asks for it, or the last roll-out failed, or Serve has given
    a stage up.
    """
    while True:
        with contextlib.suppress(queue.Empty):
            hangups.get(timeout=LOOK_EVERY_S)
            roll_out.asked()
            return "asked for"
        if roll_out.due(time.monotonic()):
            return "the last roll-out failed"
        application = _application()
        if application is not None and (stages := given_up.due(application, time.monotonic())):
            return f"Serve starts no replica any more of: {', '.join(stages)}"


def _application() -> ApplicationStatusOverview | None:
    """As Serve's controller has it; None while that is being started again."""
    try:
        return serve.status().applications.get(APPLICATION)
    except (RayError, RayServeException) as error:
        logger("host").info("Serve does not say how it is", reason=str(error))
        return None


def _deploy(wanted: ServeDeploySchema, reports: Reports | None = None) -> None:
    """Deploy as `serve run config.yaml` does, and wait until every deployment is up."""
    serve.start(
        proxy_location=wanted.proxy_location,
        http_options=HTTPOptions(host=wanted.http_options.host, port=wanted.http_options.port),
        grpc_options=gRPCOptions(**wanted.grpc_options.model_dump()),
        logging_config=wanted.logging_config,
    )
    client = _get_global_client()
    assert client is not None, "serve.start made it"
    client.deploy_apps(wanted)
    ends = time.monotonic() + DEPLOY_TIMEOUT_S
    healthy: list[str] = []
    while time.monotonic() < ends:
        application = _application()
        if application is not None:
            up = sorted(name for name, d in application.deployments.items() if d.status == "HEALTHY")
            if up != healthy and reports is not None:
                healthy = up
                reports.say(f"stages up: {len(up)} of {len(application.deployments)}")
            if application.status == "RUNNING":
                return
            if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise DeploymentFailed(f"the stages failed to start: {_reason(application)}")
        time.sleep(0.1)
    raise DeploymentFailed(f"the application was not up after {DEPLOY_TIMEOUT_S:.0f} s; up so far: {healthy}")


def _reason(application: ApplicationStatusOverview) -> str:
    """The first replica's own error, where there is one: its last line is the exception."""
    for name, deployment in application.deployments.items():
        lines = deployment.message.strip().splitlines()
        if deployment.status in ("DEPLOY_FAILED", "UNHEALTHY") and lines:
            return f"{name}: {lines[-1].strip()}"
    return application.message.strip()


async def _announce(settings: Settings, address: str) -> None:
    store = await open_store(settings.store, probe=False)
    try:
        await announce_director(store, address)
    finally:
        await store.close()


def refuse_shared_directory(store: str, *, nodes: int) -> None:
    """A directory belongs to one machine. Raises `SettingsError` when Ray has more."""
    if nodes > 1 and urlsplit(store).scheme in ("", "dir"):
        raise SettingsError(
            f"setting `store` is the directory {store}, but Ray has {nodes} nodes that cannot all see it: "
            "set `store` to s3://host:port/bucket"
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, on any interface.

    Serve binds them seconds later, so they lie where the kernel gives none to others meanwhile: below the range from
    which it takes ports for connections and for whoever asks for any.
    """
    with contextlib.ExitStack() as held:
        return [_bound(held.enter_context(socket.socket())) for _ in range(count)]


def _bound(trial: socket.socket) -> int:
    given_out_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(LOWEST_PORT, given_out_from)
    for port in random.sample(candidates, min(len(candidates), 100)):
        with contextlib.suppress(OSError):  # somebody listens there
            trial.bind(("0.0.0.0", port))  # noqa: S104  (Serve's gRPC proxy listens everywhere)
            return port
    trial.bind(("0.0.0.0", 0))  # noqa: S104
    port = trial.getsockname()[1]
    assert isinstance(port, int)
    return port


def _stop(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
