"""The models that this front door offers. `__main__.py` builds it at start, and tells it when one has come or gone;
`settle.py` and the surfaces ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from engines.families.capabilities import Capabilities, Role
from serving.errors import FailedPrecondition, NotFound, SettingsError, shown


@dataclass(frozen=True)
class ServedModel:
    """A model that is offered, and the digest over its weights and engines."""

    capabilities: Capabilities
    digest: str
    roles: Callable[[str, int], tuple[Role, ...]] | None = None
    """Of a prompt and so many references: see `Family.roles`."""


class Catalog:
    """Models by name and alias."""

    def __init__(self, models: Iterable[ServedModel], *, default: str) -> None:
        """See `offer`."""
        self.offer(models, default=default)

    def offer(self, models: Iterable[ServedModel], *, default: str) -> None:
        """These from now on, and no others. `default` serves requests that name none. Raises `SettingsError` when it is
        not among the models.
        """
        by_own_name: Mapping[str, ServedModel] = {model.capabilities.model: model for model in models}
        by_name = dict(by_own_name)
        for model in by_own_name.values():
            by_name |= dict.fromkeys(model.capabilities.aliases, model)
        if default not in by_name:
            raise SettingsError(f"setting `model` is {default!r}: choose one of {', '.join(by_own_name)}")
        self.models, self._by_name, self.default = by_own_name, by_name, by_name[default]

    def resolve(self, name: str) -> ServedModel:
        """The model of this name; the default one for an empty name. Raises `NotFound`, naming the models."""
        if not name:
            return self.default
        found = self._by_name.get(name)
        if found is None:
            raise NotFound(f"no model {shown(name)}: there is {', '.join(self.models)}", reason="MODEL_NOT_FOUND")
        return found

    def maker(self, name: str) -> ServedModel:
        """The model that made a video, which alone can extend it. Raises `FailedPrecondition` if it is not served."""
        found = self.models.get(name)
        if found is None:
            raise FailedPrecondition(
                f"{name} made the video, and is not served here; no other model can extend it: make a new video with "
                f"{' or '.join(self.models)}, or have {name} served again",
                reason="MODEL_NOT_SERVED",
            )
        return found
