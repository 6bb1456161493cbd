"""`longtake generate`, `image` and `extend`: make something, follow it, save it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from serving.cli import given
from serving.cli.output import (
    FAILED,
    INTERRUPTED,
    NOT_FOUND,
    SERVER,
    USAGE,
    ApiKey,
    Output,
    Server,
    Tls,
    as_dict,
    connected,
    describe,
    describe_plan,
    fail,
    print_json,
    seconds_of,
)

if TYPE_CHECKING:
    from serving.client import Client
    from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Media, Video

Prompt = Annotated[str, typer.Argument(help="What to show, in your own words.")]
_NOT_LIKE: Final = "What it shall not be like, where the model takes that."
Model = Annotated[
    str, typer.Option(help="A model that the server offers; a wrong name lists them.", show_default="the server's")
]
_ASPECT = "Width to height, like 16:9, of those that the model has: `longtake models show MODEL` lists them."
Aspect = Annotated[str, typer.Option(help=_ASPECT, show_default="the first frame's, else the model's")]
ImageAspect = Annotated[str, typer.Option("--aspect", help=_ASPECT, show_default="the model's")]


def _seed(seed: int | None) -> int | None:
    """What `--seed` says. Ends the command for what no request has room for."""
    if seed is not None and not 0 <= seed <= _MOST_SEED:
        fail(f"--seed: {seed} is outside 0 to {_MOST_SEED}", USAGE)
    return seed


_MOST_SEED = 2**63 - 1
Seed = Annotated[
    int | None,
    typer.Option(callback=_seed, help="The same seed and request give the same result.", show_default="drawn"),
]
Steps = Annotated[int | None, typer.Option(help="Denoising steps per segment.", show_default="the model's")]
Deadline = Annotated[str, typer.Option(help="Done within this time or EXPIRED, like 90s, 5m, 2h.", show_default="none")]
Priority = Annotated[
    int | None, typer.Option(min=0, max=9, help="0 to 9; a smaller number is more urgent.", show_default="5")
]
Ttl = Annotated[str, typer.Option(help="Delete it after this time, like 12h, 7d.", show_default="the server's")]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Only check and plan: say what it would take, make nothing.")]
Save = Annotated[
    str, typer.Option("--save", help="Where to save the result: a file or a folder.", show_default="<id>.mp4")
]
ImageSave = Annotated[
    str, typer.Option("--save", help="Where to save the result: a file or a folder.", show_default="<id>.png")
]
_DIGEST, _SHORT = 64, 6
"""Letters of a segment's digest, and the fewest that stand for it: what is shorter is a number."""
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the id and return; `longtake watch ID` follows it.")]


def generate(
    prompt: Prompt = "",
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            "-r",
            help="Picture to show, <ref1> in the prompt: a file, URL or file id. May be given again.",
        ),
    ] = None,
    first_frame: Annotated[str | None, typer.Option(help="Picture to start from: a file, URL or file id.")] = None,
    negative_prompt: Annotated[str, typer.Option(help=_NOT_LIKE, show_default="none")] = "",
    seconds: Annotated[
        int | None, typer.Option("--seconds", "-d", help="Length in seconds.", show_default="the model's")
    ] = None,
    aspect: Aspect = "",
    resolution: Annotated[str, typer.Option(help="480p, 720p or 1080p.", show_default="the model's")] = "",
    codec: Annotated[str, typer.Option(help="av1 or h264.", show_default="the server's")] = "",
    model: Model = "",
    seed: Seed = None,
    steps: Steps = None,
    deadline: Deadline = "",
    priority: Priority = None,
    ttl: Ttl = "",
    plan: PlanOnly = False,
    save: Save = "",
    no_wait: NoWait = False,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Make a video from a prompt, a reference picture or a first frame, and save it.

    Examples:

      longtake generate "a red bar moves right under a navy sky, then the camera pans right" -d 2

      longtake generate "<ref1> moves up in the scene of <ref2>" -r logo.png -r scene.png

      longtake generate --first-frame start.png "it moves left"
    """
    from serving.client import create_request

    sources = given.references(reference) | ({"first_frame": first_frame} if first_frame else {})
    with connected(server, api_key, tls=tls) as client, given.named(sources):
        request = create_request(
            prompt,
            negative_prompt=negative_prompt,
            model=model,
            seconds=seconds,
            aspect_ratio=aspect,
            resolution=resolution,
            codec=codec,
            seed=seed,
            steps=steps,
            **_times(deadline, priority, ttl),
            first_frame=_media(client, "first_frame", first_frame) if first_frame else None,
            references=[_media(client, field, source) for field, source in given.references(reference).items()],
        )
        _plan(client, request, output) if plan else _make(client, request, save, output, wait=not no_wait)


def image(
    prompt: Prompt,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10, help="How many.")] = 1,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            "-r",
            help="Picture to show, <ref1> in the prompt: a file, URL or file id. May be given again.",
        ),
    ] = None,
    aspect: ImageAspect = "",
    resolution: Annotated[str, typer.Option(help="1k or 2k.", show_default="the model's")] = "",
    model: Model = "",
    seed: Seed = None,
    deadline: Deadline = "",
    priority: Priority = None,
    ttl: Ttl = "",
    plan: PlanOnly = False,
    save: ImageSave = "",
    no_wait: NoWait = False,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Make images from a prompt, and save them.

    Example: longtake image "a blue corner under a grey sky" -n 4
    """
    from serving.client import create_request
    from serving.gen.longtake.v1.videos_pb2 import Video

    sources = given.references(reference)
    with connected(server, api_key, tls=tls) as client, given.named(sources):
        request = create_request(
            prompt,
            kind=Video.KIND_IMAGE,
            images=count,
            model=model,
            aspect_ratio=aspect,
            resolution=resolution,
            seed=seed,
            references=[_media(client, field, source) for field, source in sources.items()],
            **_times(deadline, priority, ttl),
        )
        _plan(client, request, output) if plan else _make(client, request, save, output, wait=not no_wait)


def extend(
    video: Annotated[str, typer.Argument(help="A video's id, a URL that Longtake returned, or an MP4 file.")],
    prompt: Annotated[str, typer.Argument(help="What happens next; empty: it goes on as it was.")] = "",
    negative_prompt: Annotated[str, typer.Option(help=_NOT_LIKE, show_default="the extended video's")] = "",
    seconds: Annotated[
        int | None,
        typer.Option("--seconds", "-d", help="Length of the new part in seconds.", show_default="the model's"),
    ] = None,
    segment: Annotated[
        str,
        typer.Option(
            help="Branch from this segment, by its number or digest (`longtake lineage`), not from the end.",
            show_default="the last one",
        ),
    ] = "",
    seed: Seed = None,
    steps: Steps = None,
    deadline: Deadline = "",
    priority: Priority = None,
    ttl: Ttl = "",
    plan: PlanOnly = False,
    save: Save = "",
    no_wait: NoWait = False,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Continue a video; the result is one file, the input and the new part.

    Examples:

      longtake extend vid_4x... -d 6

      longtake extend holiday.mp4 "it moves right"
    """
    from serving.client import create_request
    from serving.gen.longtake.v1.videos_pb2 import Extension

    with connected(server, api_key, tls=tls) as client, given.named({"extends": video, "extends.media": video}):
        own = video.startswith("vid_") and not Path(video).is_file()  # results are saved as <id>.mp4
        extends = (
            Extension(video_id=video, segment=_segment(client, video, segment))
            if own
            else Extension(media=_media(client, "extends.media", video), segment=segment)
        )
        times = _times(deadline, priority, ttl)
        request = create_request(
            prompt, negative_prompt=negative_prompt, seconds=seconds, seed=seed, steps=steps, extends=extends, **times
        )
        _plan(client, request, output) if plan else _make(client, request, save, output, wait=not no_wait)


def _segment(client: Client, video: str, named: str) -> str:
    """The digest of a segment that is named as `longtake lineage` shows it: by its number, or how its digest begins."""
    if not named or len(named) == _DIGEST:
        return named
    path = client.lineage(video).segments
    if len(named) < _SHORT:
        found = [segment.digest for segment in path if str(segment.index) == named]
    else:
        found = [segment.digest for segment in path if segment.digest.startswith(named)]
    if len(found) != 1:
        fail(
            f"--segment {named}: {video} has no such segment; `longtake lineage {video}` lists those it has", NOT_FOUND
        )
    return found[0]


def _times(deadline: str, priority: int | None, ttl: str) -> dict[str, Any]:
    """The options as arguments of `create_request`."""
    return {"deadline_s": seconds_of("deadline", deadline), "priority": priority, "ttl_s": seconds_of("ttl", ttl)}


def _media(client: Client, field: str, source: str) -> Media:
    if not source.startswith(("http://", "https://", "data:", "file_")) and not Path(source).is_file():
        fail(f"{source} is no file; give a path, a URL or a file id", USAGE)
    with given.uploaded(field, source):
        return client.media(source)


def _plan(client: Client, request: CreateVideoRequest, output: str) -> None:
    planned = client.plan(request)
    print_json(as_dict(planned)) if output == "json" else typer.echo(describe_plan(planned))


def _make(client: Client, request: CreateVideoRequest, to: str, output: str, *, wait: bool) -> None:
    from serving.cli.progress import follow
    from serving.cli.save import make_ready
    from serving.gen.longtake.v1.videos_pb2 import Video

    if wait:
        make_ready(to)
    elif to:
        fail("--save and --no-wait: what is not waited for is saved later, by `longtake download`", USAGE)
    made = client.create(request)
    if not wait:
        print_json(as_dict(made)) if output == "json" else typer.echo(made.id)
        return
    try:
        done = follow(client, made.id, quiet=output == "json")
    except KeyboardInterrupt:
        typer.echo(f"\nIt goes on without us: `longtake watch {made.id}`, or `longtake cancel {made.id}`", err=True)
        raise typer.Exit(INTERRUPTED) from None
    saved, failure = _saved(client, done, to) if done.state == Video.SUCCEEDED else ([], "")
    if output == "json":
        print_json(as_dict(done) | {"saved": saved})
    else:
        typer.echo(describe(done))
        for path in saved:
            typer.echo(f"{'saved':<14} {path}")
    if failure:
        fail(f"it is made, and could not be saved: {failure}. `longtake download {done.id}` tries again", FAILED)
    if done.state != Video.SUCCEEDED:
        raise typer.Exit(FAILED)


def _saved(client: Client, video: Video, to: str) -> tuple[list[str], str]:
    """The files, and what went wrong: the video is made by now, and is told of in any case."""
    from serving.cli.save import save
    from serving.client import ClientError

    files: list[str] = []
    try:
        for path, _ in save(client, video, to):
            files.append(str(path))
    except (ClientError, OSError) as error:
        return files, str(error)
    return files, ""
