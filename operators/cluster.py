"""The API server, as the operator speaks to it: one client, one field manager, every call counted.

`gather.py`, `apply.py` and `status.py` stand on it. Writes are server-side applies, so what others own in an object
stays theirs. The client is synchronous: the controller runs a reconciliation in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from operators.api.base import API_VERSION
from operators.children.names import FIELD_MANAGER
from operators.children.routes import KINDS as ROUTES
from operators.metrics import CALLS
from operators.of_models import OfModels

Object = dict[str, Any]
TIMEOUT_S = 30
SCALE_MANAGER = f"{FIELD_MANAGER}-scale"
"""Who owns a Deployment's replicas while an autoscaler decides them."""


class KindMissing(Exception):
    """The API server knows no such kind: its CRD is not installed."""


class Cluster:
    """Calls by API version and kind. What the API server refuses is an `ApiException` with its status."""

    def __init__(self, api: client.ApiClient, *, shared_s: float = 0.0) -> None:
        """`shared_s`: as `OfModels` has it."""
        self._dynamic = DynamicClient(api)
        self.of_models = OfModels(self._every, shared_s)

    def knows(self, api_version: str, kind: str) -> bool:
        """Whether the API server has this kind. Everybody may ask that."""
        try:
            self._dynamic.resources.get(api_version=api_version, kind=kind)
        except ResourceNotFoundError:
            return False
        return True

    @cached_property
    def routes(self) -> bool:
        """Whether the API server has the Gateway API's routes, as it was when somebody asked first."""
        return all(self.knows(*kind) for kind in ROUTES)

    def find(self, api_version: str, kind: str, namespace: str, selector: str) -> list[Object]:
        """Those with these labels. Raises `KindMissing`."""
        found = self._call(
            "list", api_version, kind, "get", namespace=namespace, label_selector=selector, serialize=False
        )
        items = found.get("items") or []
        for item in items:  # a list's items do not say what they are
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", kind)
        return list(items)

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """One of them; None where there is none."""
        try:
            return self._call("get", api_version, kind, "get", namespace=namespace, name=name, serialize=False)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def apply(self, wanted: Mapping[str, Any], subresource: str = "", manager: str = FIELD_MANAGER) -> Object:
        """Make it so by server-side apply. What others set in the same fields is overwritten: they are ours."""
        metadata = wanted["metadata"]
        return self._call(
            "apply",
            wanted["apiVersion"],
            wanted["kind"],
            "server_side_apply",
            subresource=subresource,
            body=dict(wanted),
            name=metadata["name"],
            namespace=metadata["namespace"],
            field_manager=manager,
            force_conflicts=True,
            serialize=False,
        )

    def patch(self, found: Object, operations: list[dict[str, Any]], subresource: str = "") -> None:
        """Change an object by a JSON patch."""
        self._call(
            "patch",
            found["apiVersion"],
            found["kind"],
            "patch",
            subresource=subresource,
            body=operations,
            name=found["metadata"]["name"],
            namespace=found["metadata"]["namespace"],
            content_type="application/json-patch+json",
            field_manager=FIELD_MANAGER,
            serialize=False,
        )

    def delete(self, found: Object, **options: Any) -> None:
        """Remove an object, what belongs to it afterwards. It may be gone already. `options`: Kubernetes' own, such as
        `gracePeriodSeconds` and another `propagationPolicy`."""
        try:
            self._call(
                "delete",
                found["apiVersion"],
                found["kind"],
                "delete",
                name=found["metadata"]["name"],
                namespace=found["metadata"]["namespace"],
                body={
                    "propagationPolicy": "Background",
                    "preconditions": {"uid": found["metadata"]["uid"]},
                    **options,
                },
                serialize=False,
            )
        except ApiException as error:
            if error.status not in (404, 409):
                raise

    def create(self, made: Mapping[str, Any]) -> None:
        """Make an object that nobody changes, such as an Event."""
        metadata = made["metadata"]
        self._call(
            "create",
            made["apiVersion"],
            made["kind"],
            "create",
            body=dict(made),
            namespace=metadata["namespace"],
            serialize=False,
        )

    def _every(self, kind: str, namespace: str) -> list[Object]:
        """Of a kind of ours; none where its CRD is not installed: a chart's upgrade brings no new one."""
        try:
            return self.find(API_VERSION, kind, namespace, "")
        except KindMissing:
            return []

    def _call(
        self, verb: str, api_version: str, kind: str, method: str, subresource: str = "", **arguments: Any
    ) -> Object:
        CALLS.labels(verb=verb, kind=kind).inc()
        try:
            resource = self._dynamic.resources.get(api_version=api_version, kind=kind)
        except ResourceNotFoundError as error:
            raise KindMissing(f"{api_version} {kind}") from error
        if subresource:
            resource = resource.subresources[subresource]
        response = getattr(resource, method)(_request_timeout=TIMEOUT_S, **arguments)
        found: Object = json.loads(response.data)
        return found


def connect(*, shared_s: float = 0.0) -> Cluster:
    """With the pod's service account, or with KUBECONFIG where there is none."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return Cluster(client.ApiClient(), shared_s=shared_s)
