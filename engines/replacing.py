"""Files of a folder that are replaced together: first all are written beside, then each takes its place.

`store.py` publishes the engines of the package so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PARTIAL: Final = ".partial"


@contextmanager
def written(files: Mapping[Path, bytes]) -> Iterator[dict[Path, Path]]:
    """Files that hold what is to come, by the path that it will have; those that nobody took are gone afterwards."""
    partials = {path: path.with_name(f".{path.name}{PARTIAL}") for path in files}
    try:
        for path, partial in partials.items():
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:  # ours, wherever a link of that name would have led
                file.write(files[path])
                file.flush()
                os.fsync(file.fileno())
        yield partials
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
