"""`longtake jobs ls`, `explain`, `requeue`: the work behind videos, for those who wonder what it does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import SERVER, ApiKey, Output, Server, Tls, as_dict, connected, describe, print_json, state_of

if TYPE_CHECKING:
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
    """Show what waits and runs, oldest first, with the work that is left; or dead letters."""
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
    from serving.cli.life import drawn, told

    with connected(server, api_key, tls=tls) as client:
        history = client.explain(job)
    if html is not None:
        html.write_text(drawn(history))
        typer.echo(f"drawn in {html}", err=True)
    if output == "json":
        print_json(as_dict(history))
    else:
        typer.echo("\n".join(told(history)))


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
    due = ""
    if video.HasField("deadline"):
        seconds = (video.deadline.ToDatetime(UTC) - datetime.now(UTC)).total_seconds()
        due = f"due in {seconds:.0f} s"
    error = video.error.code if video.HasField("error") else ""
    return f"{video.id}  {state_of(video):<14} priority {video.priority}  {left:<16} {due:<14} {error}".rstrip()
