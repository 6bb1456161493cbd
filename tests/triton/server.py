"""A real Triton Inference Server for tests, on this machine and on free ports.

It is the one in the wheel of `nvidia-pytriton`, in an environment of its own (`make triton`), since it needs other
versions of packages than ours. It has the Python backend alone: `model.py` beside runs our graphs in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import await_health, free_port

ROOT = Path(__file__).parents[2]
PACKAGES = "lib/python3.11/site-packages"
STARTS_S = 120.0


def environment() -> Path:
    """Where the server is installed: what TRITON_VENV names, or the folder that `make triton` makes."""
    return Path(os.environ.get("TRITON_VENV", ROOT / ".venv-triton")).absolute()


def missing() -> str | None:
    """What there is not of the server, and how it comes."""
    server = environment() / PACKAGES / "pytriton/tritonserver/bin/tritonserver"
    return None if server.exists() else f"no {server}: `make triton`, or name its environment in TRITON_VENV"


def served_by_python(repository: Path) -> None:
    """Have the Python backend run the ONNX graphs of a model repository: nothing else of it is changed."""
    for config in repository.glob("*/config.pbtxt"):
        text = config.read_text()
        assert 'platform: "onnxruntime_onnx"' in text
        config.write_text(text.replace('platform: "onnxruntime_onnx"', 'backend: "python"'))
        shutil.copyfile(Path(__file__).with_name("model.py"), config.parent / "1/model.py")


@dataclass
class TritonServer:
    """Started and ended by hand, again and again on the same ports."""

    repository: Path
    folder: Path
    """For its backends and its log."""
    grpc_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of its gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        """Start it, and wait until its models are loaded."""
        packages = environment() / PACKAGES
        backends = self.folder / "backends"
        if not backends.exists():
            shutil.copytree(packages / "pytriton/tritonserver/backends", backends)
            stub = packages / "pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub"
            shutil.copy(stub, backends / "python")
        command = [
            str(packages / "pytriton/tritonserver/bin/tritonserver"),
            f"--model-repository={self.repository}", f"--backend-directory={backends}",
            "--http-address=127.0.0.1", f"--http-port={self.http_port}",
            "--grpc-address=127.0.0.1", f"--grpc-port={self.grpc_port}",
            "--allow-metrics=false", "--exit-timeout-secs=5",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
        ]  # fmt: skip
        variables = {
            **os.environ,
            "PYTHONPATH": str(packages),
            "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        await_health(self.process, f"http://127.0.0.1:{self.http_port}/v2/health/ready", within_s=STARTS_S)

    def kill(self) -> None:
        """End it at once, and take away what it leaves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for left in Path("/dev/shm").glob(f"{self._prefix}*"):
            left.unlink()

    @property
    def _prefix(self) -> str:
        """Of the shared memory between its processes."""
        return f"longtake-test-{self.grpc_port}"
