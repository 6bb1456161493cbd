"""The `longtake` command in processes of its own, as tests run it against a front door."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cli:
    """The command, against one server, in one folder."""

    server: str
    folder: Path

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """`longtake ...` as a child process, with more in its environment."""
        return subprocess.Popen(
            [sys.executable, "-m", "serving.cli.main", *words],
            cwd=self.folder,
            env={**os.environ, "LONGTAKE_SERVER": self.server, "COLUMNS": "100", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The same, until it has ended."""
        with self.start(*words, **env) as child:
            out, err = child.communicate(timeout=60)
        return subprocess.CompletedProcess(words, child.returncode, out, err)

    def did(self, *words: str, **env: str) -> str:
        """What a command that must succeed printed."""
        done = self.run(*words, **env)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout
