"""How a bug is planted: a part of the shipped code is replaced as long as the stack is open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

Plant = Callable[[ExitStack], None]
"""Its docstring says what is wrong then."""


def put(stack: ExitStack, where: object, name: str, what: object) -> None:
    """Replace it."""
    stack.enter_context(mock.patch.object(where, name, what))


def told(bug: Plant) -> str:
    """What is wrong, in a sentence."""
    return (bug.__doc__ or "").strip().replace("\n    ", " ")


async def nothing(*_: Any, **__: Any) -> None:
    """In place of what is left out."""
