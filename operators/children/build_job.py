"""The Job of an EngineBuild: `longtake models add`, `longtake engines build`, or both, in one pod.

What may be over soon is tried again: a store that does not answer, a pod that was evicted or killed. A command that
says what is wrong is not.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from operators.api.base import API_VERSION
from operators.api.engine_build import KIND, Spec
from operators.children.checkpoint import copied, weights_volume
from operators.children.names import APP, BUILD, COMPONENT, FIELD_MANAGER, MANAGER, NAME, Owner
from operators.children.pods import container, environment, placed, trusted_keys, trusted_volume

COMPONENT_NAME = "engine-build"
_SIGNING, _KEY = "/etc/longtake/signing", "/tmp/key.pem"  # noqa: S108
_TOLD = "/dev/termination-log"
"""What is written there is in the pod's status."""
_REFUSED = (1, 2, 3)
"""Longtake's exit codes for what another try meets again (`serving/cli/output.py`): it failed, the input is wrong, and
something is missing. 4 says that the store does not answer."""
_TRIES = 3


def build_job(owner: Owner, spec: Spec) -> dict[str, Any]:
    """The whole object."""
    labels = {NAME: APP, COMPONENT: COMPONENT_NAME, MANAGER: FIELD_MANAGER, BUILD: owner.name}
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": owner.job,
            "namespace": owner.namespace,
            "labels": labels | owner.queued,
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            **tries(),
            "activeDeadlineSeconds": spec.deadline_seconds,
            "template": {"metadata": {"labels": labels}, "spec": _pod(spec)},
        },
    }


def tries() -> dict[str, Any]:
    """The part of a Job's spec that says what is tried again."""
    return {
        "backoffLimit": _TRIES,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(_REFUSED)}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
    }


def commands(spec: Spec) -> Iterator[list[str]]:
    """What is run, one after the other. A precision is of the engines for targets, and without any of the model's."""
    precision = ["--precision", spec.precision] if spec.precision else []
    if spec.source or spec.adapters:
        given = ["--from", spec.source] if spec.source else []
        given += [word for canvas in spec.canvases or () for word in ("--canvas", canvas)]
        given += ["--seconds", str(spec.seconds)] if spec.seconds else []
        given += [word for adapter in spec.adapters for word in ("--lora", f"{adapter.uri}={adapter.scale:g}")]
        yield ["longtake", "models", "add", spec.model, *given, *(() if spec.targets else precision)]
    if spec.targets:
        runtime = ["--runtime", spec.runtime] if spec.runtime else []
        targets = [word for target in spec.targets for word in ("--target", target)]
        yield ["longtake", "engines", "build", "--model", spec.model, *runtime, *targets, *precision]


def _pod(spec: Spec) -> dict[str, Any]:
    volumes, mounts = trusted_volume(spec)
    there, seen = weights_volume(spec.weights)
    variables = {
        "LONGTAKE_STORE": spec.store.url,
        "LONGTAKE_ENGINES__TRUSTED_KEYS": trusted_keys(spec),
        "LONGTAKE_ENGINES__SIGNING_KEY": _KEY,
    }
    # A key that others may read is refused, and a Secret's files are the group's, too.
    script = ["set -e", "umask 077", f"cp {_SIGNING}/key.pem {_KEY}", *map(shlex.join, commands(spec))]
    script.append(f"longtake models show {spec.model} --output json > {_TOLD}")
    build = {
        **container(COMPONENT_NAME, spec, spec.resources),
        "command": ["sh", "-c", "\n".join(script)],
        "env": environment(spec, **variables),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "signing", "mountPath": _SIGNING, "readOnly": True},
            *mounts,
            *seen,
        ],
    }
    first = copied(spec.weights, spec)
    return {
        **placed(spec, spec, spec.resources),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        **({"initContainers": first} if first else {}),
        "containers": [build],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "signing", "secret": {"secretName": spec.signing_key_secret, "defaultMode": 0o440}},
            *volumes,
            *there,
        ],
    }
