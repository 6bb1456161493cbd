"""Where media lie on this machine until they are whole, looked at and in the store: the folder of temporary files.

`repository.py` writes uploads there, `frontdoor/create/intake.py` videos that are taken in. What goes wrong with such a
file is nobody's request's fault: it is the operator's disk, and this says so in one way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import Unavailable

RETRY_S = 10.0


@contextmanager
def kept_meanwhile(what: str, folder: Path | None = None) -> Iterator[None]:
    """Temporary files may be written and read within, in `folder` (default: the system's). `what`: for messages.

    Raises `Unavailable` for an `OSError` within.
    """
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"the server cannot keep {what} in {folder or _default()} meanwhile ({error.strerror}): an operator makes "
            "room there, or sets TMPDIR to where there is more",
            retry_after_s=RETRY_S,
            reason="NO_ROOM",
        ) from error


def _default() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # it tries some, and none can be written
        return "any folder for temporary files"
