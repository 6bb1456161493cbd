"""What all commands share: the connection, the ways out, and how a video prints.

Exit codes: 0 done, 1 it failed, 2 wrong usage or settings, 3 not found, 4 the server cannot be reached, 5 it could not
be found out, 6 refused as things stand (the job has ended already, has not ended yet, a quota), 130 interrupted.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from serving.client import Client, ClientError
    from serving.gen.longtake.v1.videos_pb2 import Video

FAILED, USAGE, NOT_FOUND, UNREACHABLE, UNJUDGED, REFUSED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130

Server = Annotated[
    str, typer.Option("--server", "-s", envvar="LONGTAKE_SERVER", help="host:port of the gRPC front door.")
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="LONGTAKE_API_KEY", help="API key, where the server asks for one.", show_default=False),
]
Tls = Annotated[bool, typer.Option("--tls", envvar="LONGTAKE_TLS", help="Connect with TLS.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="For people or for scripts.")]
SERVER = "127.0.0.1:50051"
CALL_S = 600.0
"""A call may take so long: a create fetches and checks all its inputs before it answers."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?)([smhd])")
_LONGEST_S = 100 * 365 * 86_400


@contextmanager
def connected(server: str, api_key: str | None, *, tls: bool) -> Iterator[Client]:
    """A client whose failures end the command with one clear line and the right exit code."""
    from serving.client import Client, ClientError, Unauthenticated, Unavailable

    try:
        with Client(server, api_key=api_key, tls=tls, timeout_s=CALL_S) as client:
            yield client
    except Unavailable as error:
        if error.reason:  # it answers, and says what is away
            fail(str(error), UNREACHABLE)
        fail(
            f"no Longtake answers at {server}{_why_not(error.message)}. Start one with `longtake up`, or name another "
            "with --server",
            UNREACHABLE,
        )
    except Unauthenticated as error:
        fail(f"{error} (give it with --api-key or LONGTAKE_API_KEY)", USAGE)
    except ClientError as error:
        fail(str(error), code_of(error))


def _why_not(said: str) -> str:
    """What gRPC says of a server that does not answer, where that tells more than the name of the server."""
    if "Connection refused" in said:
        return ""
    if "errors resolving" in said:
        return " (no machine of this name is found; write host:port, for example 127.0.0.1:50051)"
    return f" ({said})"


def code_of(error: ClientError) -> int:
    """The exit code for what a server refused."""
    from serving.client import (
        AlreadyExists,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        NothingToDownload,
        PermissionDenied,
        ResourceExhausted,
        Unsendable,
    )

    match error:
        case NotFound():
            return NOT_FOUND
        case InvalidArgument() | Unsendable():
            return USAGE
        case AlreadyExists() | FailedPrecondition() | NothingToDownload() | PermissionDenied() | ResourceExhausted():
            return REFUSED
    return FAILED


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line. Raises `typer.Exit`."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


def as_dict(message: Message) -> dict[str, Any]:
    """A message with its proto's field names, nothing left out that is set."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def print_json(value: Any) -> None:
    """For scripts: one JSON document."""
    typer.echo(json.dumps(value, indent=2))


def one_line(text: str, otherwise: int = 0) -> str:
    """As much of it as fits the terminal's width, or `otherwise` where there is no terminal; all of it for 0."""
    from rich.cells import cell_len, set_cell_size

    line = " ".join(text.splitlines())
    width = shutil.get_terminal_size((otherwise, 0)).columns
    return f"{set_cell_size(line, width - 1).rstrip()}…" if 0 < width < cell_len(line) else line


def state_of(video: Video) -> str:
    """`running 45 %`."""
    from serving.gen.longtake.v1.videos_pb2 import Video as Message

    name = Message.State.Name(video.state).lower()
    return f"{name} {video.progress.percent} %" if video.state == Message.RUNNING else name


def why_of(client: Client, video: Video) -> str:
    """Why a video that has not ended waits, or does not go on; empty where there is nothing to say."""
    from serving.client import ENDED

    why = "" if video.state in ENDED else client.explain(video.id).why
    return "" if why == "running" else why


def describe(video: Video, why: str = "") -> str:
    """A video, or a job of images, in lines, for people; `why` it waits, if it does."""
    from serving.gen.longtake.v1.videos_pb2 import Video as Message

    size = f"{video.width}x{video.height}"
    lines = {
        "image" if video.kind == Message.KIND_IMAGE else "video": f"{video.id}  ({state_of(video)})",
        "why": why,
        "prompt": video.prompt,
        "not like": video.negative_prompt,
        "understood as": video.effective_prompt,
        "reference": "; ".join(video.effective_references),
        "extends": video.parent_video_id,
        "size": size + (f", {video.fps} frames a second, {video.codec}" if video.fps else ""),
        "frames": f"{video.frames} ({video.frames / video.fps:.1f} s)" if video.frames and video.fps else "",
        "seed": str(video.seed),
        "note": "\n               ".join(video.warnings),
        "error": f"{video.error.code}: {video.error.message}" if video.HasField("error") else "",
        "url": video.url,
        "images": "\n               ".join(video.image_urls),
    }
    return "\n".join(f"{name:<14} {value}" for name, value in lines.items() if value)


def describe_plan(video: Video) -> str:
    """What a video would take, in lines."""
    plan = video.plan
    work = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in sorted(plan.engine_seconds.items()))
    began = plan.predicted_start_time.ToMilliseconds()
    wait = max(0.0, (began - video.create_time.ToMilliseconds()) / 1000)
    took = (plan.predicted_end_time.ToMilliseconds() - began) / 1000
    each = f" of {video.seconds / plan.segments:g} s, {plan.frames} frames" if video.seconds else ""
    lines = {
        "segments" if video.seconds else "images": f"{plan.segments}{each}, {plan.steps} denoising steps",
        "size": f"{video.width}x{video.height}, from {plan.native_width}x{plan.native_height}",
        "work": work,
        "starts": f"in about {wait:.1f} s",
        "done": f"about {took:.1f} s after that",
        "note": "\n               ".join(video.warnings),
    }
    return "\n".join(f"{name:<14} {value}" for name, value in lines.items() if value)


def seconds_of(name: str, text: str) -> float | None:
    """The time that an option says, like `90s`, `5m`, `2h`, `7d`; None for an empty one. Ends the command else."""
    if not text:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        fail(f"--{name} {text!r}: write a number and s, m, h or d, like 90s or 7d", USAGE)
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST_S:
        fail(f"--{name} {text}: it is more than 100 years, the most that can be asked for", USAGE)
    return seconds
