"""What a build told at its end, out of its pod's status. `builds.py` keeps it, for the pod goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from operators.api.checkpoint import Capabilities, Range, Report, Variant

Object = Mapping[str, Any]


def reported(pods: Sequence[Object]) -> Report | None:
    """Of the pod that came to a good end; None where there is none, or an image of another version told nothing that
    can be read."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            ended = container.get("state", {}).get("terminated") or {}
            if ended.get("exitCode") == 0 and (told := _read(str(ended.get("message") or ""))):
                return told
    return None


def _read(message: str) -> Report | None:
    """Of `longtake models show --output json`."""
    try:
        told = json.loads(message)
        return Report(
            family=told["family"],
            weights_digest=told["weights_digest"],
            variants=[
                Variant(name=one["variant"], key=one["digest"], verified=one["verified"]) for one in told["variants"]
            ],
            capabilities=Capabilities(
                canvases=[f"{one['aspect_ratio']}={one['width']}x{one['height']}" for one in told["canvases"]],
                fps=told["fps"],
                seconds=Range(min=told["seconds"]["min"], max=told["seconds"]["max"]),
                extension=told["extension"],
                references=told["references_max"],
                first_frame=told["first_frame"],
                image=told["image"],
                negative_prompt=told["negative_prompt"],
            ),
        )
    except (ValueError, KeyError, TypeError):  # pydantic's is a ValueError
        return None
