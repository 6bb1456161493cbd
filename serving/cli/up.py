"""`longtake up`: start everything on this machine and stay until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.output import USAGE, fail

if TYPE_CHECKING:
    from serving.local.up import Ready
    from serving.settings import Settings


def up(
    store: Annotated[
        str | None, typer.Option(help="A directory, or s3://host:port/bucket/prefix?secure=false.")
    ] = None,
    grpc: Annotated[str | None, typer.Option(help="host:port of the gRPC front door.")] = None,
    http: Annotated[str | None, typer.Option(help="host:port for media, health and metrics.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for the logs of all parts.", show_default="~/.longtake/logs")
    ] = None,
) -> None:
    """Start Longtake on this machine: the stages on a local Ray, and the front door. Ctrl-C ends it all.

    Exit codes: 0 stopped, 1 a part failed, 2 a setting is wrong, a port is taken or the store cannot be used.
    """
    from serving.environment import unread
    from serving.errors import SettingsError
    from serving.home import in_home
    from serving.local.up import run
    from serving.settings import load_settings

    began = time.monotonic()
    _check(config, logs)
    if config is not None:
        os.environ["LONGTAKE_CONFIG"] = str(config)
    flags: dict[str, Any] = {}
    if store is not None:
        flags["store"] = store
    if grpc is not None:
        flags["grpc"] = {"address": grpc}
    if http is not None:
        flags["http"] = {"address": http}
    for line in unread(os.environ):
        typer.echo(f"warning: {line}", err=True)
    try:
        settings = load_settings(**flags)
        where = logs or in_home("logs", instead="name the folder for logs (--logs)")
    except SettingsError as error:
        fail(error.message, USAGE)
    where.mkdir(parents=True, exist_ok=True)
    typer.echo(f"Longtake starts. Store: {settings.store}  Logs: {where}", err=True)

    def say(text: str) -> None:
        typer.echo(f"  {time.monotonic() - began:5.1f} s  {text}", err=True)

    of_text = asyncio.run(_takes_text(settings))

    def ready(found: Ready) -> None:
        typer.echo(_welcome(found, time.monotonic() - began, settings, of_text=of_text), err=True)

    raise typer.Exit(run(lambda: load_settings(**flags), say=say, ready=ready, logs=where))


def _check(config: Path | None, logs: Path | None) -> None:
    """End the command where one of these options names what it cannot be."""
    if config is not None and not config.is_file():
        fail(f"--config: {config} is not a file", USAGE)
    if logs is not None and logs.exists() and not logs.is_dir():
        fail(f"--logs: {logs} is a file; name a folder", USAGE)


async def _takes_text(settings: Settings) -> bool:
    """Whether the default model makes videos of text alone. Of a model that cannot be read, a part of it tells more."""
    from engines import models
    from engines.errors import EngineError
    from serving import model_store
    from serving.errors import LongtakeError
    from serving.store.open import open_store

    if models.ships(settings.model):
        return models.find(settings.model).family.capabilities.text
    try:
        store = await open_store(settings.store, probe=False, create=False)
        try:
            return (await model_store.find(settings.model, store)).family.capabilities.text
        finally:
            await store.close()
    except (EngineError, LongtakeError, OSError):
        return True


def _welcome(found: Ready, seconds: float, settings: Settings, *, of_text: bool = True) -> str:
    prompt = '"a red bar moves right under a white sky"' if of_text else '--first-frame start.png "it moves left"'
    options = "".join(f" {option}" for option in _options(found, settings))
    keys = settings.auth.keys_file
    return (
        f"\nLongtake is ready ({seconds:.1f} s).  gRPC {found.grpc}   HTTP http://{found.http}\n"
        f"Metrics: http://{found.http}/metrics and, of the stages, http://{found.metrics}/metrics\n\n"
        "Now, in another terminal:\n"
        f"  longtake generate {prompt}{options}\n"
        f"  longtake ls{options}\n\n"
        + (f"KEY is made by: longtake keys add NAME --file {keys}\n" if keys else "")
        + "Ctrl-C here ends it."
    )


def _options(found: Ready, settings: Settings) -> Iterator[str]:
    """What a client has to say, other than by default."""
    if found.grpc != "127.0.0.1:50051":
        yield f"--server {found.grpc}"
    if settings.grpc.tls_cert is not None:
        yield "--tls"
    if settings.auth.keys_file is not None:
        yield "--api-key KEY"
