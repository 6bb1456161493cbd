"""`python -m operators.farewell NAMESPACE NAME`: delete a VideoService, and wait until it has gone.

The chart's hook before `helm uninstall` runs it: the operator, which lets running jobs end first, goes with the
release, and nobody would let the service go any more.
"""

from __future__ import annotations

import sys
import time

from operators.api.base import API_VERSION
from operators.api.video_service import KIND
from operators.cluster import Cluster, connect

_LOOK_EVERY_S = 1.0


def depart(cluster: Cluster, namespace: str, name: str) -> None:
    """Return when there is none of this name. Raises `ApiException`."""
    while (live := cluster.get(API_VERSION, KIND, namespace, name)) is not None:
        if not live["metadata"].get("deletionTimestamp"):
            cluster.delete(live)
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    depart(connect(), *sys.argv[1:3])
