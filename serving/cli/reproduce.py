"""`longtake reproduce`: make finished videos again from what is stored, and compare every digest."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.output import FAILED, NOT_FOUND, UNREACHABLE, USAGE, Output, fail, print_json
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.session import Session
    from serving.jobs.record import JobRecord
    from serving.reproduction.newest import Replayed
    from serving.reproduction.reproduce import Compared
    from serving.store.base import Store

_MEANINGS = {
    "latents": "the Denoiser computed other latents: another engine, CPU or thread count, or a changed input",
    "media": "the frames were decoded or encoded otherwise: another VAE engine, or another encoder library",
    "header": "the encoder describes its stream otherwise: another encoder library",
    "thumbnail": "the last frame was decoded otherwise, or another library writes PNG",
    "manifest": "its media are equal, and what is recorded about them is not",
    "image": "the image was computed or written otherwise",
}


def reproduce(
    video: Annotated[str | None, typer.Argument(help="A finished video's id.", show_default=False)] = None,
    newest: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="So many of the newest finished ones instead.", show_default=False),
    ] = None,
    store: Annotated[str | None, typer.Option(help="This store instead of the setting's.", show_default=False)] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose; `default`, and with --newest everybody's.", show_default=False)
    ] = None,
    output: Output = "text",
) -> None:
    """Make a finished video again from its prompt, pictures and parent, and compare every digest with the stored ones.

    Works on the store itself, beside a running server or without one, and writes nothing to it. Exit code 1 when a
    digest differs, or a video cannot be made again; the first one that does is named. With --newest, videos of engines
    that are not here are passed over, and it is no failure when nothing is left to compare. 4 when the store is away.
    """
    from serving.errors import FailedPrecondition, LongtakeError, NotFound, StoreMissing, StoreUnfit, Unavailable

    if (video is None) == (newest is None):
        fail("name a video, or say --newest and how many: one of the two", USAGE)
    try:
        if newest is not None:
            asyncio.run(_newest(newest, store, tenant, output))
        elif video is not None:
            _tell(asyncio.run(_found(video, store, tenant or "default")), output)
    except NotFound as error:
        fail(error.message, NOT_FOUND)
    except FailedPrecondition as error:
        fail(error.message, FAILED)
    except StoreMissing as error:
        fail(error.message, USAGE)
    except (StoreUnfit, Unavailable) as error:
        fail(error.message, UNREACHABLE)
    except LongtakeError as error:
        fail(error.message, USAGE)


def _tell(found: list[Compared], output: str) -> None:
    if output == "json":
        print_json(_plain(found))
    else:
        for digest in found:
            same = "equal" if digest.equal else f"differs: stored {digest.stored[:16]}, made {digest.made[:16]}"
            typer.echo(f"segment {digest.segment:<4} {digest.what:<10} {same}")
        if all(digest.equal for digest in found):
            typer.echo(f"all {len(found)} digests are equal")
    if said := _differs(found):
        fail(said, FAILED)


def _plain(found: Iterable[Compared]) -> list[dict[str, Any]]:
    return [{**vars(digest), "equal": digest.equal} for digest in found]


def _differs(found: Iterable[Compared]) -> str:
    """What the first digest that is another one means; empty where all are equal."""
    first = next((digest for digest in found if not digest.equal), None)
    return f"segment {first.segment}: {first.what} differs first; {_MEANINGS[first.what]}" if first else ""


async def _newest(count: int, url: str | None, tenant: str | None, output: str) -> None:
    """A line for each as it is done, and one for all at the end; with JSON all at the end."""
    from serving.reproduction.newest import newest, replay

    os.environ.setdefault("SVT_LOG", "1")
    done: list[Replayed] = []
    async with opened_store(url) as store:
        async for one in replay(store, await newest(store, count, tenant), engines_of):
            done.append(one)
            if output == "text":
                said = one.passed_over or _differs(one.compared) or f"all {len(one.compared)} digests are equal"
                typer.echo(f"{one.tenant} {one.video}: {said}")
    if output == "json":
        print_json(
            [
                {"tenant": o.tenant, "video": o.video, "passed_over": o.passed_over, "digests": _plain(o.compared)}
                for o in done
            ]
        )
    wrong = [f"{one.video}: {said}" for one in done if (said := _differs(one.compared))]
    if wrong:
        fail(f"{len(wrong)} of {len(done)} videos came out otherwise; {wrong[0]}", FAILED)
    if output == "text":
        typer.echo(_summary(done))


def _summary(done: list[Replayed]) -> str:
    over = [one.passed_over for one in done if one.passed_over]
    compared = [one for one in done if not one.passed_over]
    if not done:
        return "nothing to replay: the store has no finished video"
    if not compared:
        return f"nothing to replay: {len(over)} passed over; {over[0]}"
    digests = sum(len(one.compared) for one in compared)
    passed = f"; {len(over)} passed over: {over[0]}" if over else ""
    return f"{len(compared)} replayed, all {digests} digests are equal{passed}"


async def _found(video: str, url: str | None, tenant: str) -> list[Compared]:
    from serving.reproduction.reproduce import finished
    from serving.reproduction.reproduce import reproduce as run

    os.environ.setdefault("SVT_LOG", "1")  # the video encoder tells of every segment otherwise
    async with opened_store(url) as store:
        record = await finished(store, tenant, video)
        with await engines_of(record, store) as session:
            return await run(store, tenant, video, session, on_progress=_say_what_is_made)


async def engines_of(record: JobRecord, store: Store) -> Session:
    """The engines that made it. Raises `FailedPrecondition` where its model or they are gone."""
    from serving import engine_store, model_store
    from serving.errors import EngineMissing, FailedPrecondition, SettingsError
    from serving.settings import load_settings

    model = record.plan.model
    made = f"{record.id} was made by {model}"
    try:
        await model_store.find(model, store)
    except SettingsError as error:
        raise FailedPrecondition(
            f"{made}, a model that is not installed here, and no other one gives the same bytes: `longtake models add` "
            "brings back one that was removed; one that an earlier version of Longtake shipped, that version has"
        ) from error
    own = load_settings().of(model)
    try:
        return await engine_store.load(model, store, own.engines, threads=own.stages.engine_threads)
    except EngineMissing as error:
        raise FailedPrecondition(f"{made}, and only its engines give the same bytes: {error.message}") from error


def _say_what_is_made(record: JobRecord) -> None:
    if sys.stderr.isatty():
        made = len(record.segments) + len(record.images)
        typer.echo(f"\r  {made} of {len(record.plan.segments)} made again ", err=True, nl=False)
