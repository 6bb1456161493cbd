"""Ray is started once more where it did not come up, and nothing of the first try is left."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_HOST = """
import json, os, subprocess, sys
from pathlib import Path
from serving.deployments import host
from serving.local.process_tree import descendants, kill_descendants
from serving.reports import Reports

class Ray:
    beside = []

    def init(self, **_):
        self.beside.append(len(descendants(os.getpid())))
        if len(self.beside) <= int(sys.argv[1]):
            child = subprocess.Popen(["/bin/sh", "-c", "sleep 100 >&2 & echo; wait"], stdout=-1, stderr=-3)
            child.stdout.readline()
            raise Exception("The current node timed out during startup.")

    def shutdown(self):
        pass

host.ray, told = Ray(), ""
try:
    host.start_ray(Path("unused"), Reports(os.open(os.devnull, os.O_WRONLY)))
except host.DeploymentFailed as error:
    told = str(error)
kill_descendants()
print(json.dumps({"beside": Ray.beside, "told": told}))
"""
"""A host whose Ray leaves a process behind, which has one of its own, each time that it does not start.

In a process of its own: it kills all that it started.
"""


@pytest.mark.parametrize(("failures", "starts"), [(0, 1), (1, 2), (2, 2)])
def test_ray_is_started_once_more_beside_nothing_of_before(failures: int, starts: int) -> None:
    done = subprocess.run([sys.executable, "-c", _HOST, str(failures)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])  # after the log
    assert found["beside"] == [0] * starts
    assert found["told"].startswith("Ray did not start: The current node timed out") == (failures == 2)
