"""What the fields of a request are called on the command line, so that an error names the option, and the file too.

The server speaks of fields (`references[1]: it is no picture`). Who typed a command knows `--reference logo.png`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from serving.cli.output import code_of, fail

_OPTIONS: Final = {
    "aspect_ratio": "--aspect",
    "codec": "--codec",
    "deadline": "--deadline",
    "deadline_s": "--deadline",
    "extends": "VIDEO",
    "extends.media": "VIDEO",
    "extends.segment": "--segment",
    "first_frame": "--first-frame",
    "images": "--count",
    "model": "--model",
    "negative_prompt": "--negative-prompt",
    "priority": "--priority",
    "references": "--reference",
    "resolution": "--resolution",
    "seconds": "--seconds",
    "seed": "--seed",
    "steps": "--steps",
    "ttl": "--ttl",
    "ttl_s": "--ttl",
}
_SHOWN: Final = 100
"""Characters of a source that are told: a `data:` URL has millions."""


@contextmanager
def named(sources: dict[str, str]) -> Iterator[None]:
    """End the command where a field is refused, by its option. `sources`: the file, URL or id that each field with
    media has from the command line."""
    from serving.client import FailedPrecondition, InvalidArgument, NotFound, Unsendable

    try:
        yield
    except (FailedPrecondition, InvalidArgument, NotFound, Unsendable) as error:
        fail(_told(str(error), sources), code_of(error))


@contextmanager
def uploaded(field: str, source: str) -> Iterator[None]:
    """The same for a file on its way to the server, where `data` are its bytes."""
    from serving.client import InvalidArgument

    try:
        yield
    except InvalidArgument as error:
        fail(_told(f"{field}: {str(error).removeprefix('data: ')}", {field: source}), code_of(error))


def references(sources: list[str] | None) -> dict[str, str]:
    """The pictures by their fields."""
    return {f"references[{number}]": source for number, source in enumerate(sources or ())}


def _told(message: str, sources: dict[str, str]) -> str:
    """With the option before it: `--aspect (aspect_ratio): ...`. As it is where no option gave the field."""
    field, colon, why = message.partition(": ")
    option = _OPTIONS.get(field.partition("[")[0])
    if not colon or option is None:
        return message
    said = f"{option} {sources[field][:_SHOWN]}" if field in sources else option
    return (
        f"{said}: {why}"
        if option == f"--{field.replace('_', '-')}" and field not in sources
        else f"{said} ({field}): {why}"
    )
