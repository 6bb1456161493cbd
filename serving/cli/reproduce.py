"""`longtake reproduce`: make a finished video again from what is stored, and compare every digest."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import FAILED, NOT_FOUND, USAGE, Output, fail, print_json
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.session import Session
    from serving.jobs.record import JobRecord
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
    video: Annotated[str, typer.Argument(help="A finished video's id.")],
    store: Annotated[str | None, typer.Option(help="This store instead of the setting's.", show_default=False)] = None,
    tenant: Annotated[str, typer.Option(help="Whose video it is.")] = "default",
    output: Output = "text",
) -> None:
    """Make a finished video again from its prompt, pictures and parent, and compare every digest with the stored ones.

    Works on the store itself, beside a running server or without one, and writes nothing to it. Exit code 1 when a
    digest differs; the first one that does is named.
    """
    from serving.errors import FailedPrecondition, LongtakeError, NotFound

    try:
        found = asyncio.run(_found(video, store, tenant))
    except NotFound as error:
        fail(error.message, NOT_FOUND)
    except FailedPrecondition as error:
        fail(error.message, FAILED)
    except LongtakeError as error:
        fail(error.message, USAGE)
    first = next((digest for digest in found if not digest.equal), None)
    if output == "json":
        print_json([{**vars(digest), "equal": digest.equal} for digest in found])
    else:
        for digest in found:
            same = "equal" if digest.equal else f"differs: stored {digest.stored[:16]}, made {digest.made[:16]}"
            typer.echo(f"segment {digest.segment:<4} {digest.what:<10} {same}")
        if first is None:
            typer.echo(f"all {len(found)} digests are equal")
    if first is not None:
        fail(f"segment {first.segment}: {first.what} differs first; {_MEANINGS[first.what]}", FAILED)


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
