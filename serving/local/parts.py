"""The two processes of `longtake up`, the stages (Ray) and the front door: started, kept alive, started again.

`up.py` makes them. Each tells how far it is (`serving/reports.py`). A part that ends by itself is started again, and
its clients find it where it was; one that keeps ending is given up. Nothing is lost meanwhile: all state is in the
store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from serving import reports
from serving.local.process_tree import ProcessTree
from serving.reports import Report
from serving.settings import Settings

MOST_RESTARTS = 5
WITHIN_S = 60.0
"""A part that ended more often than that, within that time, is given up."""
_FIRST_PAUSE_S = 0.2

Say = Callable[[str], None]


class StartFailed(Exception):
    """A part did not come up. `code` is the exit code: 2 for something the user can set right, else 1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Part:
    """One child process. `ready_with` is what it said when it was ready."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        log: Path,
        tree: ProcessTree,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.ready_with: Mapping[str, str] = {}
        self.name = name
        self._command = [*command, "--reports"]
        self.log = log
        self._tree = tree
        self._extra = dict(extra or {})
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, env: Mapping[str, str], say: Say) -> None:
        """Start it and wait until it is ready. Raises `StartFailed`."""
        reading, writing = os.pipe()
        says = asyncio.StreamReader()
        pipe = os.fdopen(reading, "rb")
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(says), pipe)
        try:
            with self.log.open("ab") as output:
                self._child = await self._tree.start(
                    [*self._command, str(writing)], env={**env, **self._extra}, output=output, pass_fds=[writing]
                )
        finally:
            os.close(writing)
        try:
            async for line in says:
                if self._heard(reports.read(line), say):
                    return
        finally:
            transport.close()
        code = await self._child.wait()
        raise StartFailed(
            f"{self.name} did not start: {_last_line(self.log)} (all of it: {self.log})", 2 if code == 2 else 1
        )

    def reload(self) -> None:
        """Have it read the settings that were left for it."""
        assert self._child is not None, "start it first"
        with contextlib.suppress(ProcessLookupError):  # it is about to be started anew, and gets them so
            self._child.send_signal(signal.SIGHUP)

    async def keep(self, env: Callable[[], Mapping[str, str]], say: Say) -> None:
        """Start it again whenever it ends, with what the environment is then. Raises `StartFailed` when that happens
        too often."""
        ends: deque[float] = deque(maxlen=MOST_RESTARTS)
        while True:
            assert self._child is not None, "start it first"
            await self._child.wait()
            now = time.monotonic()
            if len(ends) == MOST_RESTARTS and now - ends[0] < WITHIN_S:
                raise StartFailed(f"{self.name} ended {MOST_RESTARTS + 1} times in a row: see {self.log}", 1)
            ends.append(now)
            say(f"{self.name} ended unexpectedly (see {self.log}): starting it again")
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (len(ends) - 1))
            await self._tree.end_orphans()
            try:
                await self.start(env(), say)
            except StartFailed as error:  # counted as one more end
                say(str(error))
            else:
                say(f"{self.name} is back")

    def _heard(self, report: Report, say: Say) -> bool:
        """One line of the child; True when it is ready."""
        if report.error:
            raise StartFailed(report.error, report.code)
        if report.text:
            say(report.text)
        self.ready_with = report.ready
        return bool(report.ready)


def stages_part(logs: Path, temp: Path, tree: ProcessTree) -> Part:
    """Ray and the Serve application. `temp` will be the folder of Ray's session."""

    command = [sys.executable, "-m", "serving.deployments.keeper", "--temp", str(temp)]
    return Part(
        "the stages (Ray)",
        command,
        log=_new(logs / "ray.log"),
        tree=tree,
        extra={**_RAY_ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
    )


def front_door_part(logs: Path, temp: Path, tree: ProcessTree) -> Part:
    """The front door. `temp`: where settings are left for it."""
    command = [sys.executable, "-m", "serving.frontdoor", "--reloads", str(temp)]
    return Part("the front door", command, log=_new(logs / "frontdoor.log"), tree=tree)


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings in it, so that children read exactly these, wherever they stand: all
    of them, so no file is read again, and paths from the root on. None imports from the folder that it stands in."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") and not _says(name)}
    said = settings.model_dump(mode="json")
    said["store"] = _from_the_root(said["store"])
    said["engines"] |= {name: _from_the_root(said["engines"][name]) for name in _PATHS}
    for name, value in said.items():
        env[f"LONGTAKE_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    return {**env, "PYTHONSAFEPATH": "1"}


def _says(variable: str) -> bool:
    """Whether it names a setting, or the file of them: what was read before counts, and no part of it is said anew."""
    group = variable.partition("__")[0].removeprefix("LONGTAKE_").lower()
    return variable == "LONGTAKE_CONFIG" or (variable.startswith("LONGTAKE_") and group in Settings.model_fields)


def _from_the_root(said: str) -> str:
    """A path, or the URL of a store."""
    mark = "dir://"
    if said.startswith(mark):
        path, question, options = said.removeprefix(mark).partition("?")
        return f"{mark}{_from_the_root(path)}{question}{options}"
    return said if "://" in said or said.startswith("~") else str(Path(said).absolute())


_PATHS = ("trusted_keys", "signing_key", "weights_folder")
"""Of `engines`: what stages read. The front door stands where it was started."""
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # a fresh one: Ray would keep one for good in the home folder, where others may read it
    # Its name notwithstanding: with 0, all of Ray listens on loopback only, on every system.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # `deployments/loopback.py`: without it, Serve's gRPC proxy listens on every address.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.deployments.loopback.of_proxy",
    # What its gRPC proxy takes in of one message, unpacked: the calls to the Director are small, and it allows 2 GiB.
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(4 << 20),
    "RAY_DEDUP_LOGS": "0",
    # The video encoder tells of every segment otherwise.
    "SVT_LOG": "1",
    "RAY_COLOR_PREFIX": "0",
    # Two cores: no worker before it is needed, and no idle ones kept for tasks, of which there are none.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    # Without its control store Ray is dead: end soon, and be started again.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def _new(log: Path) -> Path:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    return log


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
