"""`longtake reproduce`: make finished videos again from what is stored, and judge what comes out.

Digest by digest where the engines are those that made it, and in the band of their precision where they are others.
The operator reads how it ended (`operators/policies/replay.py`): a video that came out otherwise is one thing, and one
that nothing could be said of is another.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import FAILED, NOT_FOUND, UNJUDGED, UNREACHABLE, USAGE, Output, fail, print_json
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from serving.jobs.record import JobRecord
    from serving.reproduction.judge import Engines, Judged
    from serving.reproduction.newest import Replayed
    from serving.store.base import Store


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
    """Make a finished video again from its prompt, pictures and parent, and compare it with what is stored.

    Every digest, where the engines are those that made it. Other engines give other bytes: then latents, thumbnails
    and images have to be in the band that is allowed of engines of such a precision (docs/gpu.md). Which of the two it
    was is said, and what came out.

    Works on the store itself, beside a running server or without one, and writes nothing to it. Exit code 0 when all is
    as it should be, 1 when a digest differs or a value is beyond its band, and the first one is named; 5 when that
    could not be found out: the video cannot be made again, its engines are missing, an error. 4 when the store is away.
    With --newest, videos of models that are not served here are passed over, and it is no failure when nothing is left.
    """
    if (video is None) == (newest is None):
        fail("name a video, or say --newest and how many: one of the two", USAGE)
    with _ended():
        if newest is not None:
            asyncio.run(_newest(newest, store, tenant, output))
        elif video is not None:
            _tell(asyncio.run(_found(video, store, tenant or "default")), output)


@contextmanager
def _ended() -> Iterator[None]:
    """Whatever keeps it from being found out ends the command with its reason, and with no code of a difference."""
    from serving.errors import (
        Corrupt,
        FailedPrecondition,
        LongtakeError,
        NotFound,
        StoreMissing,
        StoreUnfit,
        Unavailable,
    )

    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except NotFound as error:
        fail(error.message, NOT_FOUND)
    except (Corrupt, FailedPrecondition) as error:
        fail(error.message, UNJUDGED)
    except StoreMissing as error:
        fail(error.message, USAGE)
    except (StoreUnfit, Unavailable) as error:
        fail(error.message, UNREACHABLE)
    except LongtakeError as error:
        fail(error.message, USAGE)
    except Exception as error:  # noqa: BLE001  (a traceback alone would end as a video that came out otherwise does)
        traceback.print_exc()
        fail(f"could not be judged: {type(error).__name__}: {error}", UNJUDGED)


def _tell(found: Judged, output: str) -> None:
    from serving.cli import reproduce_words as words

    if output == "json":
        print_json([words.plain(one) for one in found.found])
    else:
        if found.why:
            typer.echo(f"{found.why}: judged in the band of {found.band}")
        for one in found.found:
            typer.echo(f"segment {one.segment:<4} {one.what:<10} {words.how(one)}")
        if found.first_wrong is None:
            typer.echo(words.good(found))
    if said := words.wrong(found):
        fail(said, FAILED)


async def _newest(count: int, url: str | None, tenant: str | None, output: str) -> None:
    """A line for each as it is done, and one for all at the end; with JSON all at the end."""
    from serving.cli import reproduce_words as words

    os.environ.setdefault("SVT_LOG", "1")
    done: list[Replayed] = []
    try:
        async with opened_store(url) as store:
            async for one in await _replay(store, count, tenant):
                done.append(one)
                if output == "text":
                    typer.echo(f"{one.tenant} {one.video}: {words.line(one)}")
    finally:  # whatever ends it, it does not hide what came out otherwise before
        if wrong := words.otherwise(done):
            if output == "json":
                print_json([words.row(one) for one in done])
            fail(f"{len(wrong)} of {len(done)} videos came out otherwise; {wrong[0]}", FAILED)
    if output == "json":
        print_json([words.row(one) for one in done])
    if unjudged := [f"{one.video}: {one.unjudged}" for one in done if one.unjudged]:
        fail(f"could not be judged: {unjudged[0]}", UNJUDGED)
    if output == "text":
        typer.echo(words.summary(done))


async def _replay(store: Store, count: int, tenant: str | None) -> AsyncIterator[Replayed]:
    from serving.reproduction.newest import newest, replay
    from serving.settings import load_settings

    served = await _names(load_settings().served, store)
    return replay(store, await newest(store, count, tenant), engines_of, served)


async def _names(models: tuple[str, ...], store: Store) -> frozenset[str]:
    """Of models that are served, as records have them, and as the settings do."""
    from serving import model_store
    from serving.errors import SettingsError

    found = set(models)
    for name in models:
        try:
            found.add((await model_store.find(name, store)).name)
        except SettingsError:  # told of each video of it
            continue
    return frozenset(found)


async def _found(video: str, url: str | None, tenant: str) -> Judged:
    from serving.errors import FailedPrecondition, NotFound
    from serving.reproduction.judge import judged
    from serving.reproduction.reproduce import finished

    os.environ.setdefault("SVT_LOG", "1")  # the video encoder tells of every segment otherwise
    async with opened_store(url) as store:
        record = await finished(store, tenant, video)
        engines = await engines_of(record, store)
        with engines.session:
            try:
                return await judged(store, record, engines, on_progress=_say_what_is_made)
            except NotFound as error:  # of what it is made of: the video itself is there
                raise FailedPrecondition(f"{video} cannot be made again: {error.message}") from error


async def engines_of(record: JobRecord, store: Store) -> Engines:
    """Those that are here for the model that made it. Raises `FailedPrecondition` where its model or they are gone."""
    from serving import engine_store, model_store
    from serving.errors import EngineMissing, FailedPrecondition, SettingsError
    from serving.reproduction.judge import Engines
    from serving.settings import load_settings

    model = record.plan.model
    made = f"{record.id} was made by {model}"
    try:
        served = await model_store.find(model, store)
    except SettingsError as error:
        raise FailedPrecondition(
            f"{made}, a model that is not installed here, and no other one makes such videos: `longtake models add` "
            "brings back one that was removed; one that an earlier version of Longtake shipped, that version has"
        ) from error
    settings = load_settings()
    names = (served.name, *served.family.capabilities.aliases)
    own = settings.of(next((said for said in settings.served if said in names), model))
    try:
        found = await engine_store.find(served, store, own.engines)
        session = await engine_store.load(model, store, own.engines, threads=own.stages.engine_threads)
    except EngineMissing as error:
        raise FailedPrecondition(f"{made}, and engines of it are needed: {error.message}") from error
    made_by = partial(engine_store.made_by, name=model, store=store, settings=own.engines)
    return Engines(session, found.manifest, made_by)


def _say_what_is_made(record: JobRecord) -> None:
    if sys.stderr.isatty():
        made = len(record.segments) + len(record.images)
        typer.echo(f"\r  {made} of {len(record.plan.segments)} made again ", err=True, nl=False)
