"""Longtake's settings for a service: what its fields say, and `spec.settings` beside them.

They are checked here as every process of Longtake checks them at its start, so a wrong one is told before a pod has it.
"""

from __future__ import annotations

import re
from typing import Any

from operators.api.base import Resources
from operators.api.video_service import SHIPPED, Spec
from operators.children.names import DENOISE, LIGHT
from operators.children.pods import trusted_keys
from serving.errors import SettingsError
from serving.settings import Settings, Stages, load_settings
from serving.stage_names import DENOISER, STAGES

MODELS = 8
"""A light pod has places for the stages of so many. It says so from the start: another number would make KubeRay build
a new cluster."""
LIGHT_PLACES = MODELS * 2 * (len(STAGES) - 1)
"""Replicas that a light pod has room for: one of each stage and model, and its successor while it is replaced."""

_OWN = {
    "": ("store", "model", "grpc", "http", "auth", "director"),
    "engines": ("trusted_keys",),
    "stages": ("replicas", "scale", "needs", "backlog_s", "down_delay_s", "idle_s", "engine_threads"),
}
"""What the resource has fields for, by group."""


def settings_of(spec: Spec) -> Settings:
    """Raises `SettingsError`, which names what is wrong with `spec.settings`, or with `spec.traces`."""
    given = dict(spec.settings)
    for group, names in _OWN.items():
        found = given if not group else given.get(group, {})
        for name in names:
            if name in found:
                where = f"{group}.{name}" if group else name
                raise SettingsError(f"spec.settings.{where}: what of it can be chosen has fields here; leave it out")
    for name in spec.traces:
        if not name.startswith("OTEL_"):
            raise SettingsError(
                f"spec.traces.{name}: only OpenTelemetry's variables stand here, OTEL_...; leave it out"
            )
    slots = {"slots": max(Stages().slots, spec.denoisers.max)}
    stages = {**slots, **given.pop("stages", {}), **_stages(spec)}
    if keys := trusted_keys(spec):
        given["engines"] = {**given.get("engines", {}), "trusted_keys": keys}
    try:
        settings = load_settings(store=spec.store.url, model=spec.model, stages=stages, **given)
    except SettingsError as error:
        raise SettingsError(f"spec.settings: {error.message}") from error
    added = [model for model in settings.served if model not in SHIPPED]
    if added and spec.trusted_keys is None:
        raise SettingsError(
            f"spec.settings.models: {', '.join(added)}: trustedKeys must be given for a model that was added: its "
            "engines lie in the store, and are loaded only where one of these keys signed them"
        )
    same = [model for model in settings.served if model in SHIPPED]
    if len(same) > 1:  # jobs know the model by one name, and its stages would stand for each other
        raise SettingsError(f"spec.settings.models: {' and '.join(same)} are one model, keep one of them")
    return settings


def threads(resources: Resources) -> int:
    """As many as a container's CPUs, one at least: a quota is none of the CPUs that a process counts."""
    cpu = resources.limits.get("cpu") or resources.requests.get("cpu") or 1
    return max(1, int(_cpus(cpu)))


def _stages(spec: Spec) -> dict[str, Any]:
    share = gpus(spec.light.resources) / LIGHT_PLACES
    needs: dict[str, Any] = {name: {"resources": {LIGHT: 1.0}, "num_gpus": share} for name in STAGES}
    whole = float(gpus(spec.denoisers.resources))
    needs[DENOISER] = {"resources": {DENOISE: 1.0}, "num_gpus": whole, "surge": False}
    return {
        "replicas": {name: spec.light.replicas for name in STAGES if name != DENOISER},
        "scale": {DENOISER: {"min": spec.denoisers.min, "max": spec.denoisers.max}},
        "needs": needs,
        "backlog_s": spec.scaling.backlog_seconds,
        "down_delay_s": spec.scaling.down_delay_seconds,
        "idle_s": spec.scaling.idle_seconds,
        "engine_threads": spec.denoisers.engine_threads or threads(spec.denoisers.resources),
    }


def gpus(resources: Resources) -> int:
    """How many devices a pod has, parts of one (MIG) and claimed ones too. Raises `SettingsError` for what is no number
    of them."""
    count = sum(claim.gpus for claim in resources.claims)
    for name, amount in resources.limits.items():
        if name.endswith("gpu") or re.fullmatch(r"nvidia\.com/mig-\d+g\.\d+gb", name):
            if not str(amount).isdigit():
                raise SettingsError(f"resources.limits: {name} is {amount!r}: write a whole number of devices")
            count += int(amount)
    return count


def memory_bytes(resources: Resources) -> int:
    """What a pod may take of it, 0 where nothing is said, in Kubernetes' notation."""
    said = str(resources.limits.get("memory") or resources.requests.get("memory") or 0)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]i?|k)?", said)
    if found is None:
        return 0
    unit = found[2] or ""
    power = "KMGT".find(unit[:1].upper()) + 1 if unit else 0
    return int(float(found[1]) * (1024 if unit.endswith("i") else 1000) ** power)


def _cpus(quantity: int | str) -> float:
    """Of Kubernetes' notation."""
    text = str(quantity)
    if re.fullmatch(r"\d+m", text):
        return int(text[:-1]) / 1000
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 1.0
