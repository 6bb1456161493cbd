"""`longtake jobs ls`, `explain`, `requeue`: the work behind videos, for those who wonder what it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import SERVER, ApiKey, Output, Server, Tls, as_dict, connected, describe, print_json, state_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from serving.gen.longtake.v1.jobs_pb2 import Job

app = typer.Typer(name="jobs", help="The queue, the life of a job, dead letters.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="A video's id; its job has the same one.")]


@app.command()
def ls(
    dead: Annotated[bool, typer.Option("--dead", help="Jobs whose workers crashed, or that met our errors.")] = False,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Show what waits and runs, oldest first: the work that is left, why it waits, when it will start and end.

    Or dead letters.
    """
    with connected(server, api_key, tls=tls) as client:
        found = client.jobs(dead=dead)
    if output == "json":
        print_json([as_dict(job) for job in found])
        return
    if not found:
        typer.echo("no dead letters" if dead else "nothing waits or runs")
    for job in found:
        typer.echo(_line(job))


@app.command()
def explain(
    job: JobId,
    html: Annotated[Path | None, typer.Option("--html", help="Also draw it into this HTML file.")] = None,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Tell the life of a job: attempts, what was lost, resumed and done again, and how long each part took.

    Example: longtake jobs explain vid_4x... --html life.html
    """
    from serving.cli.life import drawn, lines_of

    with connected(server, api_key, tls=tls) as client:
        history = client.explain(job)
    if html is not None:
        html.write_text(drawn(history))
        typer.echo(f"drawn in {html}", err=True)
    if output == "json":
        print_json(as_dict(history))
    else:
        typer.echo("\n".join(lines_of(history)))


@app.command()
def requeue(
    job: JobId, server: Server = SERVER, api_key: ApiKey = None, tls: Tls = False, output: Output = "text"
) -> None:
    """Run a dead letter again: a new video with the same request and seed. Asking twice gives the same one."""
    with connected(server, api_key, tls=tls) as client:
        again = client.requeue(job)
    print_json(as_dict(again)) if output == "json" else typer.echo(describe(again))


def _line(job: Job) -> str:
    video = job.video
    left = f"{job.remaining_seconds:.1f} s of work" if job.remaining_seconds else ""
    why = [job.why] if job.why not in ("", "running") else []
    times = ", ".join([*why, *_times(job, datetime.now(UTC))])
    error = video.error.code if video.HasField("error") else ""
    again = f"  again {job.requeue_of}" if job.requeue_of else ""
    return f"{video.id}  {state_of(video):<14} priority {video.priority}  {left:<16} {times}{error}{again}".rstrip()


def _times(job: Job, now: datetime) -> Iterator[str]:
    def seconds(moment: Timestamp) -> float:
        return (moment.ToDatetime(UTC) - now).total_seconds()

    if job.HasField("predicted_end_time"):
        start = seconds(job.predicted_start_time)
        if start > 0:
            yield f"starts in {start:.1f} s"
        yield f"done in {max(0.0, seconds(job.predicted_end_time)):.1f} s"
    if job.video.HasField("deadline"):
        yield f"due in {seconds(job.video.deadline):.0f} s"
