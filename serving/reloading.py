"""Settings that have changed while Longtake runs: `up.py` leaves them in a file for its parts, which read it on SIGHUP.

A part that is started anew gets them as it got the first ones, by its environment.
"""

from __future__ import annotations

import json
from pathlib import Path

from serving.settings import GivenSettings, Settings

_NAME = "settings.json"
RELOADED = ("model", "models", "stages")
"""What may change: which models are served, and by what. All else is as it was at the start."""


def leave(settings: Settings, folder: Path) -> None:
    """For all parts that know the folder; at once or not at all."""
    new = folder / f"{_NAME}.new"
    new.write_text(settings.model_dump_json())
    new.replace(folder / _NAME)


def reloaded(now: Settings, folder: Path) -> Settings:
    """The settings of a part, with what was left in the folder last, if anything was."""
    path = folder / _NAME
    return changed(now, GivenSettings(**json.loads(path.read_text()))) if path.is_file() else now


def changed(now: Settings, read: Settings) -> Settings:
    """What is served from now on, of the settings as they were read anew."""
    return now.model_copy(update={name: getattr(read, name) for name in RELOADED})


def waiting(now: Settings, read: Settings) -> list[str]:
    """The names of those that have changed, and wait for the next start."""
    return [
        name for name in Settings.model_fields if name not in RELOADED and getattr(now, name) != getattr(read, name)
    ]
