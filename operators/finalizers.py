"""What keeps a resource of ours that is deleted, until something was done first. `models.py` and `reconcile.py` set it
while there is nothing to wait for, and `removal.py` and `reconcile.py` take it away at the end."""

from __future__ import annotations

from operators.api.base import API_VERSION
from operators.children.names import Owner
from operators.cluster import Cluster, Object


def finalize(cluster: Cluster, kind: str, owner: Owner, *finalizers: str) -> None:
    """Have it these of ours alone; without any, let it go. Raises `ApiException`."""
    metadata: Object = {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    cluster.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata})
