"""Variables of the environment that are called like ours and that nobody reads: `LONGTAKE_GRPC_ADDRESS`.

They are told of and never refused: Kubernetes puts variables of its own beside ours, named for the services of a
namespace, and programs around Longtake have theirs. `longtake up` and `longtake doctor` ask.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import BaseModel

from serving.logs import STREAM
from serving.settings import Settings

_PREFIX: Final = "LONGTAKE_"
_NO_SETTINGS: Final = {
    STREAM,
    *(f"{_PREFIX}{name}" for name in ("CONFIG", "SERVER", "API_KEY", "TLS")),
    *(f"{_PREFIX}S3_{name}" for name in ("ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN")),
}
"""What else is read."""
_OF_A_SERVICE: Final = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
"""How the names end that Kubernetes gives to a service's variables."""


def unread(environment: Iterable[str]) -> Iterator[str]:
    """A line for each of these variables that begins like ours and is none."""
    settings = dict.fromkeys(_names(Settings, _PREFIX))
    for name in sorted(environment):
        group = name.partition("__")[0].removeprefix(_PREFIX).lower()
        # Below a group that there is, the settings themselves refuse what they do not know.
        if not name.startswith(_PREFIX) or name in _NO_SETTINGS or group in Settings.model_fields:
            continue
        meant = next((one for one in settings if _plain(one) == _plain(name)), None)
        if meant is None and _OF_A_SERVICE.search(name):
            continue
        near = [meant] if meant else difflib.get_close_matches(name, settings, n=1, cutoff=0.85)
        advice = f"did you mean {near[0]}?" if near else "`docs/settings.md` has all that there are"
        yield f"{name} is no setting and is not read: {advice}"


def _plain(name: str) -> str:
    return re.sub("_+", "_", name)


def _names(group: type[BaseModel], prefix: str) -> Iterator[str]:
    """The variables of all settings of a group, those of its groups too."""
    for name, field in group.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{variable}__")
        else:
            yield variable
