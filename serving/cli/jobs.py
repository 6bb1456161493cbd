"""`longtake jobs ls`, `explain`, `requeue`, `drain`: the work behind videos, for those who wonder what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import (
    FAILED,
    SERVER,
    UNREACHABLE,
    USAGE,
    ApiKey,
    Output,
    Server,
    Tls,
    as_dict,
    connected,
    describe,
    fail,
    print_json,
    seconds_of,
    state_of,
    why_of,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from serving.gen.longtake.v1.jobs_pb2 import Job, RequeuedJob, RequeueJobsRequest
    from serving.jobs.drain import Drained

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
    jobs: Annotated[list[str] | None, typer.Argument(help="Dead letters by their ids; or `--all`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All dead letters that the options below leave.")] = False,
    code: Annotated[str, typer.Option(help="Failed with this code, like WORKERS_CRASHED.", show_default="any")] = "",
    stage: Annotated[str, typer.Option(help="Failed at this stage, like renderer.", show_default="any")] = "",
    since: Annotated[str, typer.Option(help="Failed within this time, like 2h.", show_default="ever")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Run so many again, at most.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell which ones, and do nothing.")] = False,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Run dead letters again: new videos with the same requests and seeds. Asking twice gives the same ones.

    Pictures that were refused because of them are taken again. `--all` can be stopped and asked for again at any time.
    The dead letters are those of the API key's tenant. One that cannot be run again is told and keeps no other; the
    exit code is 1 then.

    Example: longtake jobs requeue --all --code WORKERS_CRASHED --since 2h --dry-run
    """
    if all_ == bool(jobs) or (jobs and (code or stage or since or dry_run)):
        fail("name jobs by their ids, or say --all, which --code, --stage, --since and --dry-run narrow", USAGE)
    with connected(server, api_key, tls=tls) as client:
        if jobs:
            for job in jobs:
                again = client.requeue(job)
                print_json(as_dict(again)) if output == "json" else typer.echo(describe(again, why_of(client, again)))
            return
        seconds = seconds_of("since", since)
        done = [*_each(client.requeue_all(_wanted(code, stage, seconds, dry_run=dry_run), limit=limit), output)]
    would = "would be run again: leave out --dry-run" if dry_run else "run again"
    left = sum(bool(job.why_not) for job in done)
    stopped = f"; stopped at --limit {limit}" if len(done) == limit else ""
    typer.echo(f"{len(done) - left} dead letters {would}{stopped}", err=True)
    if left:
        fail(f"{left} could not be run again, and stay dead letters", FAILED)


@app.command()
def drain(
    within: Annotated[str, typer.Option(help="Wait so long at most, like 90s or 10m.")] = "60s",
    store: Annotated[str | None, typer.Option(help="This store instead of the setting's.", show_default=False)] = None,
) -> None:
    """Wait until the jobs that run now have ended, of all tenants: before you take the stages away.

    Works on the store itself, and writes nothing to it. Jobs that are taken meanwhile are not waited for. Exit code 1
    when some still run at the end: they go on, from what is stored, where stages are started on the store again.
    """
    from serving.errors import StoreMissing, StoreUnfit, Unavailable

    try:
        found = asyncio.run(_drained(store, seconds_of("within", within) or 0.0))
    except StoreMissing as error:
        fail(error.message, USAGE)
    except (StoreUnfit, Unavailable) as error:
        fail(error.message, UNREACHABLE)
    if found.left:
        of = found.ended + len(found.left)
        fail(f"{len(found.left)} of {of} jobs still run after {within}, {found.left[0][1]} among them", FAILED)
    typer.echo(f"{found.ended} jobs ended" if found.ended else "nothing runs")


async def _drained(url: str | None, within_s: float) -> Drained:
    from serving.cli.stores import opened_store
    from serving.jobs.drain import drain
    from serving.jobs.repository import Jobs

    async with opened_store(url) as store:
        return await drain(Jobs(store), within_s)


def _wanted(code: str, stage: str, since_s: float | None, *, dry_run: bool) -> RequeueJobsRequest:
    from serving.gen.longtake.v1.jobs_pb2 import RequeueJobsRequest

    wanted = RequeueJobsRequest(code=code, stage=stage, validate_only=dry_run)
    if since_s is not None:
        wanted.since.FromDatetime(datetime.now(UTC) - timedelta(seconds=since_s))
    return wanted


def _each(found: Iterable[RequeuedJob], output: str) -> Iterator[RequeuedJob]:
    """Told as they come: there may be many."""
    for job in found:
        what = f"not run again: {job.why_not}" if job.why_not else job.again
        print_json(as_dict(job)) if output == "json" else typer.echo(f"{job.id}  {what}".rstrip())
        yield job


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
