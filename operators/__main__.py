"""`python -m operators`: the operator's process. The chart runs it; by hand it takes KUBECONFIG.

It ends with 0 on SIGTERM, with 1 when it does not lead any more, and with 2 when the CRDs are not installed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import kopf
from prometheus_client import start_http_server

from operators.api import engine_build, video_model, video_service
from operators.api.base import API_VERSION
from operators.builds import reconcile_build
from operators.children.names import BUILD, SERVICE
from operators.cluster import connect
from operators.controller import SETTLE_S, WATCHED, WATCHED_BUILDS, Controller, register
from operators.leader import lead
from operators.metrics import WAITING
from operators.models import reconcile_model
from operators.reconcile import reconcile

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def main() -> int:
    """Lead, then work until a signal comes."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stdout)
    for chatty in ("kopf.objects", "leaderelection"):  # a line for each event, and each time the Lease is renewed
        logging.getLogger(chatty).setLevel(logging.WARNING)
    cluster = connect(shared_s=SETTLE_S)
    kinds = (video_service.KIND, engine_build.KIND, video_model.KIND)
    missing = [kind for kind in kinds if not cluster.knows(API_VERSION, kind)]
    if missing:
        print(  # noqa: T201
            f"this cluster does not know {', '.join(missing)}: install the CRDs, "
            "`kubectl apply --server-side -f helm/longtake/crds`, and start the operator again",
            file=sys.stderr,
        )
    if video_service.KIND in missing:
        return 2
    start_http_server(arguments.metrics_port)
    identity = f"{socket.gethostname()}-{os.getpid()}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while it waits to lead; then kopf has its own
    lead(arguments.lease, arguments.lease_namespace, identity)
    registry = kopf.get_default_registry()
    looks = (reconcile, reconcile_build, reconcile_model)
    services, builds, models = (Controller(partial(look, cluster)) for look in looks)
    WAITING.set_function(lambda: services.waiting() + builds.waiting() + models.waiting())
    register(
        registry,
        services,
        None if engine_build.KIND in missing else builds,  # a chart's upgrade brings no new CRD
        None if {engine_build.KIND, video_model.KIND} & set(missing) else models,
        unknown={
            *(() if cluster.knows("ray.io/v1", "RayService") else ("ray.io",)),
            *(() if cluster.routes else ("gateway.networking.k8s.io",)),
        },
    )
    kopf.run(
        registry=registry,
        settings=_settings(),
        standalone=True,
        identity=cast(Any, identity),  # else kopf asks for the user's name, and a pod's user has none
        clusterwide=not arguments.namespace,
        namespaces=arguments.namespace,
        liveness_endpoint=f"http://0.0.0.0:{arguments.health_port}/healthz",
    )
    return 0


def _settings() -> kopf.OperatorSettings:
    """kopf watches, and does nothing else."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no watch of all CRDs and namespaces, which would need the right to
    settings.posting.enabled = False  # events of ours are posted on transitions
    for group, version, plural in WATCHED:  # the server chooses: others' pods never come here
        settings.watching.label_selectors[group, version, plural] = SERVICE
    for group, version, plural in WATCHED_BUILDS:
        settings.watching.label_selectors[group, version, plural] = BUILD
    return settings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m operators", description="Longtake's Kubernetes operator.")
    parser.add_argument(
        "--namespace", action="append", default=[], help="look after this namespace alone; may be given again"
    )
    parser.add_argument(
        "--lease-namespace",
        default=_NAMESPACE.read_text() if _NAMESPACE.is_file() else "default",
        help="where the Lease lies by which one of several operators works; default: its own",
    )
    parser.add_argument(
        "--lease", default="longtake-operator", help="its name: operators that share it are one (longtake-operator)"
    )
    parser.add_argument("--metrics-port", type=int, default=8090, help="where Prometheus reads (8090)")
    parser.add_argument("--health-port", type=int, default=8081, help="where /healthz answers (8081)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
