"""A real front door for the public client, which runs its scenarios (`xai_client/`) in processes of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract.sample_media import CAT, FILM
from tests.contract.threaded_door import ThreadedDoor

CLIENTS = Path(__file__).parent / "xai_client"
CLIENT_TIMEOUT_S = 240


class XaiDoor(ThreadedDoor):
    """The door, and the client beside it."""

    def client(
        self, script: str, scenario: str, *, asynchronous: bool = False, key: str = "any", **env: str
    ) -> dict[str, Any]:
        """Run a scenario of the public client; what it saw."""
        environment = {"LONGTAKE_HOST": f"localhost:{self.grpc_port}", **env}
        return run_client(self.folder, script, scenario, asynchronous=asynchronous, key=key, **environment)


def run_client(
    folder: Path, script: str, scenario: str, *, asynchronous: bool = False, key: str = "any", **env: str
) -> dict[str, Any]:
    """Run a scenario of the public client in a process of its own, below `folder`; what it saw."""
    command = [sys.executable, str(CLIENTS / script), scenario, *(["--async"] if asynchronous else [])]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XAI_API_KEY": key, **env}
    work = folder / f"client-{scenario}-{asynchronous}"
    work.mkdir(exist_ok=True)
    (work / "cat.png").write_bytes(CAT)
    (work / "film.mp4").write_bytes(FILM)
    (work / "cat.dataurl").write_text(f"data:image/png;base64,{base64.b64encode(CAT).decode()}")
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S)
    if done.returncode:
        raise AssertionError(f"{script} {scenario} failed:\n{done.stderr[-6000:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen
