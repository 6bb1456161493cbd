"""What the resources are made of: the form of a part, and Kubernetes' own shapes that they hold.

A list has a bound, and so has every text that a rule reads: the API server refuses rules whose cost has none.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

GROUP, VERSION = "longtake.dev", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Of another object in the same namespace."""
Quantity = Annotated[
    int | str,
    Field(
        json_schema_extra={"pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"}
    ),
]
"""Kubernetes' own, such as `500m`, `2Gi` or `1`. Of another one in a pod, the API server says nothing but that it
failed, and not where."""


class Part(BaseModel):
    """A part of a resource. Fields that a later version of the CRD has are left out when it is read."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class Claim(Part):
    """Devices that the pod claims (dynamic resource allocation, in Kubernetes 1.34 and newer)."""

    template: Name
    """A ResourceClaimTemplate: each pod has a claim of its own made of it."""
    gpus: int = Field(default=1, ge=0, le=64)
    """How many GPUs that brings: of a claim nobody else can tell Ray before there is one."""


class Resources(Part):
    """Compute resources of one pod."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What the scheduler keeps free for it, by resource: `cpu`, `memory`, `nvidia.com/gpu`."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """What it may take at most. Extended resources such as `nvidia.com/gpu` must stand here."""
    claims: list[Claim] = Field(default_factory=list, max_length=8)
    """Devices that it claims, instead of extended resources or beside them."""


class Placement(Part):
    """Where pods may run."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have, for example `nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3`."""
    tolerations: list[dict[str, Any]] = Field(default_factory=list, max_length=16)
    """Taints of nodes that do not keep the pods away, in Kubernetes' own form."""


class Condition(Part):
    """A condition, as Kubernetes has them (`metav1.Condition`)."""

    type: str
    """What is told of, for example `Ready`."""
    status: str
    """`True`, `False` or `Unknown`."""
    reason: str
    """One word in CamelCase for machines."""
    message: str = ""
    """For people: what is so, and what to do about it."""
    observed_generation: int = 0
    """The `metadata.generation` that it was told of."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` changed."""


class Told(Part):
    """What the operator says of any resource: the beginning of its status."""

    observed_generation: int = 0
    """The `metadata.generation` that the operator acted on."""
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """One of each type; what each means is said at the status."""


def rule(expression: str, message: str, field: str = "") -> dict[str, JsonValue]:
    """A validation rule in CEL, as the API server reads it."""
    return {"rule": expression, "message": message, **({"fieldPath": field} if field else {})}
