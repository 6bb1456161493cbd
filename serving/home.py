"""The home folder of the user, under which Longtake keeps what no setting places elsewhere.

There may be none: a container runs under any number, without HOME and without a name. Then all works that is placed by
settings. The settings, the command and the S3 store's keys ask.
"""

from __future__ import annotations

from pathlib import Path

from serving.errors import SettingsError

_NOWHERE = Path("/nonexistent")
"""What systems give as the home of a user who has none."""


def home() -> Path:
    """The home folder, or one that is not there."""
    try:
        return Path.home()
    except RuntimeError:
        return _NOWHERE


def in_home(*parts: str, instead: str) -> Path:
    """A place of ours under the home folder. Raises `SettingsError` where there is none: what to name `instead`."""
    if home() == _NOWHERE:
        raise SettingsError(f"this user has no home folder: set HOME, or {instead}")
    return home().joinpath(".longtake", *parts)


def expanded(path: Path) -> Path:
    """A path with `~` resolved. Raises `SettingsError` where nobody has that home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingsError(f"{path}: there is no such home folder: write the whole path") from error
