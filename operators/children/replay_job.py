"""The Job that makes finished videos again with a version that is to serve: `longtake reproduce --newest`.

It runs the engines in its own pod, which is as a Denoiser's, and writes nothing to the store: what serves is not
touched. `policies/replay.py` reads how it ended.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from operators.api.base import API_VERSION
from operators.api.video_service import KIND, Spec
from operators.children.names import Owner
from operators.children.pods import container, environment, placed, trusted_volume
from operators.children.ray import ray_image
from operators.children.settings import settings_of

REPLAY = "replay"
"""The component."""
DIFFERS, AWAY, UNJUDGED = 1, 4, 5
"""Longtake's exit codes for a video that came out otherwise, for a store that is away, and for what could not be found
out (`serving/cli/output.py`). All but the first are tried again."""
_SAID = "videos came out otherwise; "
"""In the command's last words, where it ends with the first: so does a Python that cannot begin."""
_TRIES = 100
"""More than there is time for: Kubernetes waits longer between them each time."""
_LENGTH = 10
"""Of the digest in its name, in hexadecimal digits."""


def replay_job(owner: Owner, spec: Spec) -> dict[str, Any]:
    """The whole object. Its name is another one for all that would change its pod, which Kubernetes lets nobody do."""
    labels = owner.labels(REPLAY)
    pod = _pod(spec)
    digest = hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()[:_LENGTH]
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{owner.name}-{REPLAY}-{digest}",
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "backoffLimit": _TRIES,
            "activeDeadlineSeconds": spec.rollout.progress_deadline_seconds,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [DIFFERS]}},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _script(videos: int) -> str:
    """Its last line is its last word, be it done or failed; a pipe would lose the exit code."""
    run = f"longtake reproduce --newest {videos}"
    return "\n".join(
        [
            f"{{ {run} 2>&1; echo $? >/tmp/code; }} | tee /tmp/said",
            "tail -n 1 /tmp/said >/dev/termination-log",
            f"if [ \"$(cat /tmp/code)\" = {DIFFERS} ] && ! tail -n 1 /tmp/said | grep -q '{_SAID}'",
            f"then echo {UNJUDGED} >/tmp/code; fi",
            'exit "$(cat /tmp/code)"',
        ]
    )


def _pod(spec: Spec) -> dict[str, Any]:
    settings = settings_of(spec)
    volumes, mounts = trusted_volume(spec)
    dump = settings.model_dump(mode="json", exclude_unset=True, include={"engines", "models"})
    dump["stages"] = settings.stages.model_dump(mode="json", include={"engine_threads"})
    variables = {f"LONGTAKE_{name.upper()}": json.dumps(group) for name, group in sorted(dump.items())}
    replays = {
        **container(REPLAY, spec, spec.denoisers.resources),
        "image": ray_image(spec),
        "command": ["sh", "-c", _script(spec.rollout.analysis.videos)],
        "env": environment(spec, LONGTAKE_STORE=spec.store.url, LONGTAKE_MODEL=spec.model, SVT_LOG="1", **variables),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108
    }
    return {
        **placed(spec, spec.denoisers, spec.denoisers.resources),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [replays],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }
