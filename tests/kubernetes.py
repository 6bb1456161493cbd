"""A real Kubernetes API server on etcd, for tests: found on the PATH, on free ports of loopback, ended by pid.

There are no nodes and no controllers: what KubeRay, a Deployment's controller and kubelets would tell is written by the
test, in the place where they write it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes import client

from tests.servers import free_port, program

PROGRAMS = ("etcd", "kube-apiserver")
_TOKEN = "longtake-test"


@dataclass(frozen=True)
class ApiServer:
    """A running one."""

    url: str
    kubeconfig: Path

    def client(self) -> client.ApiClient:
        """As the administrator."""
        configuration = client.Configuration()
        configuration.host = self.url
        configuration.verify_ssl = False
        configuration.api_key = {"authorization": f"Bearer {_TOKEN}"}
        return client.ApiClient(configuration)


def missing() -> list[str]:
    """Programs that are not on the PATH."""
    return [name for name in PROGRAMS if program(name) is None]


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Up and ready."""
    with ExitStack() as running:
        etcd, peer, port = free_port(), free_port(), free_port()
        _start(
            running,
            folder / "etcd.log",
            *("etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
            *(f"--listen-client-urls=http://127.0.0.1:{etcd}", f"--advertise-client-urls=http://127.0.0.1:{etcd}"),
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        )
        key = folder / "accounts.pem"
        key.write_bytes(
            rsa.generate_private_key(65537, 2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n")
        server = _start(
            running,
            folder / "kube-apiserver.log",
            *("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", f"--cert-dir={folder / 'certs'}"),
            *("--bind-address=127.0.0.1", f"--secure-port={port}", "--service-cluster-ip-range=10.96.0.0/16"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"),
            *(f"--service-account-signing-key-file={key}", f"--token-auth-file={folder / 'tokens.csv'}"),
            *("--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"),
        )
        found = ApiServer(f"https://127.0.0.1:{port}", _kubeconfig(folder, port))
        _wait(found, server, folder / "kube-apiserver.log")
        yield found


def _start(running: ExitStack, log: Path, *command: str) -> subprocess.Popen[bytes]:
    output = running.enter_context(log.open("wb"))
    process = subprocess.Popen(command, stdout=output, stderr=output)
    running.callback(process.wait)
    running.callback(process.kill)
    return process


def _wait(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    api = client.CoreV1Api(server.client())
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        try:
            api.read_namespace("default", _request_timeout=5)
        except Exception:  # noqa: BLE001  (it is not up yet: the log tells when it never is)
            time.sleep(0.25)
        else:
            return
    raise RuntimeError(f"kube-apiserver did not come up: {log.read_text()[-2000:]}")


def _kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True},
                    }
                ],
                "users": [{"name": "admin", "user": {"token": _TOKEN}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        )
    )
    return path
