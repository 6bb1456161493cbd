"""All children of a service. `controller.py` asks for them, and `apply.py` makes them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.api.base import API_VERSION
from operators.api.video_service import KIND, Spec
from operators.children.frontdoor import front_door
from operators.children.names import Owner
from operators.children.network import director_service, policies
from operators.children.ray import ray_service
from operators.children.routes import routes
from operators.children.settings import settings_of
from serving.deployments.declared import FIRST

KINDS = (
    ("ray.io/v1", "RayService"),
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("batch/v1", "Job"),
)
"""Of which children may be, beside routes; what is there of them and is not wanted any more is removed."""


def desired(
    owner: Owner, spec: Spec, cluster: str, doors: Spec | None = None, generations: Mapping[str, int] = FIRST
) -> list[dict[str, Any]]:
    """What is wanted while front doors are to talk to this RayCluster; to none where the name is empty. `doors` is what
    front doors are made by, where they are of another version than stages. The RayService is the first, with these
    generations of its applications.

    Raises `SettingsError` for what cannot be made.
    """
    doors = doors or spec
    objects = [
        ray_service(owner, spec, settings_of(spec), generations),
        *front_door(owner, doors, settings_of(doors)),
        *routes(owner, doors),
        *policies(owner),
    ]
    if cluster:
        objects.append(director_service(owner, cluster))
    for child in objects:
        child["metadata"]["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return objects
