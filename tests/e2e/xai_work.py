"""The stock xai-sdk at work: a video from text, an extension of it, one with a reference picture, and again.

    python xai_work.py MODEL [ROUNDS]

as the scripts of `tests/contract/xai_client`, beside which it runs, with XAI_API_KEY and LONGTAKE_HOST set. It prints a
JSON line for each video, and ends after its rounds, or when its standard input does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from session import fetch
from xai_sdk import Client
from xai_sdk.video import VideoGenerationError

PATIENT = {"interval": timedelta(seconds=0.5), "timeout": timedelta(minutes=15)}
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "4s",
                "maxBackoff": "20s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""As docs/clients.md has it: the SDK's own tries end within two seconds, and a cluster misses a node after forty."""
_ID = re.compile(r"vid_[a-z0-9]+")
PROMPT = "a red square moves right under a white sky"


def main() -> None:
    """Work."""
    model, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize
    client = Client(
        api_key=os.environ["XAI_API_KEY"],
        api_host=os.environ["LONGTAKE_HOST"],
        channel_options=[("grpc.service_config", json.dumps(RETRIES))],
        use_insecure_channel=True,
    )
    closing = threading.Event()
    if rounds == sys.maxsize:
        threading.Thread(target=_await_the_end, args=(closing,), daemon=True).start()
    picture = f"data:image/png;base64,{base64.b64encode(Path('cat.png').read_bytes()).decode()}"
    for _ in range(rounds):
        if closing.is_set():
            return
        one_round(client, model, picture)


def _await_the_end(closing: threading.Event) -> None:
    sys.stdin.read()
    closing.set()


def one_round(client: Client, model: str, picture: str) -> None:
    """Three videos."""
    make, more = client.video.generate, client.video.extend
    root = one("text", lambda: make(PROMPT, model, duration=2, aspect_ratio="1:1", **PATIENT))
    if root is not None:
        one("extension", lambda: more("it turns", model, video_url=root.url, duration=1, **PATIENT))
    one("reference", lambda: make("<ref1> moves up", model, reference_image_urls=[picture], duration=1, **PATIENT))


def one(kind: str, make: Callable[[], Any]) -> Any:
    """A video, told of; None where the client failed."""
    told: dict[str, Any] = {"kind": kind, "asked": time.monotonic(), "failure": ""}
    video = None
    try:
        video = make()
        told |= {"id": _ID.findall(video.url)[0], "duration": video.duration}
        told["bytes"] = len(fetch(video.url)["body"])
    except (grpc.RpcError, VideoGenerationError, TimeoutError, OSError) as error:
        told["failure"] = f"{type(error).__name__}: {error}"
    print(json.dumps({**told, "ended": time.monotonic()}), flush=True)
    return video


if __name__ == "__main__":
    main()
