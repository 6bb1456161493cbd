"""`longtake keys`: make, list and remove API keys. Works on the keys file, without a running server.

A running front door reads the file again when it changes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from serving.cli.output import Output
from serving.errors import LongtakeError, SettingsError
from serving.frontdoor.edge.keys_file import KeysFound, StoredKey, add_key, digest_of, plain_name, read_keys, remove_key
from serving.home import expanded
from serving.settings import read_settings

app = typer.Typer(
    name="keys",
    help="Make, list and remove API keys. The file keeps only their digests.",
    no_args_is_help=True,
)

KeysFile = Annotated[
    Path | None,
    typer.Option("--file", help="The keys file; default: the setting `auth.keys_file`.", show_default=False),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is for, e.g. `laptop of Kim`.")],
    tenant: Annotated[str, typer.Option(help="Whose videos it sees. Tenants see nothing of each other.")] = "default",
    file: KeysFile = None,
    output: Output = "text",
) -> None:
    """Make a key and print it, once: it cannot be shown again.

    Example: longtake keys add "laptop of Kim" --tenant studio --file ~/.longtake/keys.jsonl
    """
    with _clear_errors():
        path = _path(file)
        key = f"lt-{secrets.token_urlsafe(32)}"
        try:
            plain_name(name)
        except ValueError as error:
            raise SettingsError(f"--{error}") from error
        try:
            stored = StoredKey(
                id=f"key-{secrets.token_hex(4)}",
                tenant=tenant,
                name=name,
                sha256=digest_of(key),
                created=datetime.now(UTC),
            )
        except ValidationError as error:
            what = error.errors()[0]
            raise SettingsError(f"--{what['loc'][0]}: {what['msg']}") from error
        add_key(path, stored)
    if output == "json":
        typer.echo(json.dumps({"id": stored.id, "tenant": tenant, "name": name, "key": key, "file": str(path)}))
        return
    typer.echo(key)
    typer.echo(f"{stored.id} of tenant {tenant} is in {path}. Keep the key now: it cannot be shown again.", err=True)


@app.command("ls")
def list_keys(file: KeysFile = None, output: Output = "text") -> None:
    """List the keys, without the keys themselves."""
    with _clear_errors():
        found = _read(_existing(file))
    keys = found.keys
    if output == "json":
        typer.echo(json.dumps([json.loads(key.model_dump_json(exclude={"sha256"})) for key in keys]))
        return
    for key in keys:
        typer.echo(f"{key.id}  {key.tenant:<16}  {key.created:%Y-%m-%d}  {_told(key.name)}")


@app.command("rm")
def remove(
    key_id: Annotated[str, typer.Argument(help="The id that `longtake keys ls` shows.")],
    file: KeysFile = None,
) -> None:
    """Remove a key: calls with it are refused within seconds."""
    with _clear_errors():
        path = _existing(file)
        if not remove_key(path, key_id):
            typer.echo(f"error: no key {key_id!r} in {path}: `longtake keys ls` shows them", err=True)
            raise typer.Exit(3)
    typer.echo(f"removed {key_id}", err=True)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what is wrong into one line and exit code 2."""
    try:
        yield
    except LongtakeError as error:
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(2) from error


def _path(file: Path | None) -> Path:
    if file is not None:
        return expanded(file)
    try:
        path = read_settings().auth.keys_file
    except SettingsError as error:
        raise SettingsError(f"{error.message}; or name --file PATH") from error
    if path is None:
        raise SettingsError("name the keys file: --file PATH, or the setting `auth.keys_file`")
    return path


def _existing(file: Path | None) -> Path:
    path = _path(file)
    if not path.is_file():
        raise SettingsError(f"{path} is not there: `longtake keys add NAME --file {path}` makes it")
    return path


def _read(path: Path) -> KeysFound:
    """The keys; lines that are none are told of on stderr."""
    try:
        found = read_keys(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    for complaint in found.complaints():
        typer.echo(complaint, err=True)
    return found


def _told(name: str) -> str:
    """A name as a terminal may have it: earlier versions took any."""
    return name if name.isprintable() else repr(name)
