"""`python -m serving.deployments.host`: one process that runs a local Ray and the Serve applications in it.

`keeper.py` starts it, and `local/up.py` reads how far it is (`reports.py`); the process's own output, with that of all
replicas, is the log. It ends on SIGTERM, and Ray with it. On SIGHUP it deploys what has changed in the settings that
`up` left for it, as a model that came or went; where nothing has, it replaces every replica, the new ones first. It
tries again when that fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import ray

from engines.cores import cores
from serving.deployments.applications import Applications, DeploymentFailed
from serving.deployments.given_up import LOOK_EVERY_S
from serving.deployments.roll_out import RollOut
from serving.errors import SettingsError
from serving.local.process_tree import kill_descendants
from serving.logs import configure, logger
from serving.reloading import reloaded
from serving.reports import Reports
from serving.settings import Settings, load_settings

OBJECT_STORE_BYTES = (200 << 20, 2 << 30)
"""At least and at most. Frames never enter it; of a large model the latents and embeddings of a job are tens of MB.
Memory is taken as it is used."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (Ray's own choice)
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


def _run(settings: Settings, reports: Reports, temp: Path) -> None:
    start_ray(temp, reports)
    signal.signal(signal.SIGTERM, _stop)  # Ray has put its own in its place
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    refuse_shared_directory(settings.store, nodes=len(nodes))
    grpc_port, http_port = free_ports(2)
    applications = Applications(settings, grpc_port=grpc_port, http_port=http_port)
    reports.say("starting Ray Serve")
    applications.deploy(reports)
    address = f"127.0.0.1:{grpc_port}"
    reports.ready(director=address, metrics=f"127.0.0.1:{nodes[0]['MetricsExportPort']}")
    # SIGTERM raises here; SIGHUP asks for a roll-out. A simple queue may be put into by a signal handler.
    hangups: queue.SimpleQueue[int] = queue.SimpleQueue()
    signal.signal(signal.SIGHUP, lambda number, _: hangups.put(number))
    roll_out = RollOut()
    while True:
        why = reason_to_deploy(hangups, applications, roll_out, partial(reloaded, folder=temp))
        logger("host").info("deploying", why=why, models=applications.settings.served)
        try:
            applications.deploy()
            roll_out.succeeded()
        except DeploymentFailed as error:  # Serve keeps the old replicas
            again_s = roll_out.failed(time.monotonic())
            logger("host").error("the roll-out failed", reason=str(error), again_in_s=again_s)


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


def reason_to_deploy(
    hangups: queue.SimpleQueue[int],
    applications: Applications,
    roll_out: RollOut,
    settings: Callable[[Settings], Settings],
) -> str:
    """Wait until something is to be deployed, and have it so in `applications`: somebody asks for it, or the last
    roll-out failed, or Serve has given a stage up. `settings`: what has become of them by now.
    """
    while True:
        with contextlib.suppress(queue.Empty):
            hangups.get(timeout=LOOK_EVERY_S)
            roll_out.asked()
            changed = settings(applications.settings)
            if changed == applications.settings:
                applications.replace(applications.names)
                return "all replicas are to be replaced"
            applications.settings = changed
            return "the settings have changed"
        if roll_out.due(time.monotonic()):
            applications.replace(applications.not_up())
            return "the last roll-out failed"
        if due := applications.given_up(time.monotonic()):
            applications.replace(due)
            told = "; ".join(f"{', '.join(stages)} of {name}" for name, stages in due.items())
            return f"Serve starts no replica any more of {told}"


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
