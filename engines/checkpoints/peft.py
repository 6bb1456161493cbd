"""PEFT's settings in the header of an adapter that diffusers saved.

`adapters.py` asks how strongly a layer's product counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any, Final

from engines.checkpoints.shards import Shard, shown
from engines.errors import CheckpointUnfit

_STRENGTHS: Final = ("lora_alpha", "alpha_pattern", "use_rslora")
"""Settings of PEFT that say how strongly a product counts."""
_SETTINGS: Final = "lora_adapter_metadata"
"""Where diffusers keeps PEFT's settings of an adapter, in the header."""


class Settings:
    """What the products of a file's layers are multiplied by."""

    def __init__(self, shard: Shard) -> None:
        """Raises `CheckpointUnfit` for settings that cannot be read, or are of another arithmetic."""
        self._file = shard.file
        try:
            said = json.loads(shard.metadata.get(_SETTINGS, "{}"))
            self._said: dict[str, Any] = dict(said)
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointUnfit(
                f"{shard.file}: {_SETTINGS} in its header is no JSON object: save it again"
            ) from error
        if any(name.endswith(".use_dora") and value for name, value in self._said.items()):
            raise CheckpointUnfit(f"{shard.file}: {_SETTINGS} says DoRA, which is not merged here: train it as LoRA")

    def demand_of(self, components: Collection[str]) -> None:
        """Raise `CheckpointUnfit` unless what is said of strengths is said of these: else it would be passed over."""
        for name in self._said:
            component, _, what = name.rpartition(".")
            if what in _STRENGTHS and component not in components:
                called = " and ".join(f"`{one}.…`" for one in sorted(components)[:3])
                raise CheckpointUnfit(
                    f"{self._file}: {_SETTINGS} says {shown(name)}, and the layers are called {called}: save the "
                    "adapter again, with settings of these"
                )

    def strength(self, name: str, rank: int) -> float:
        """Alpha over rank; 1 where no alpha is said. Raises `CheckpointUnfit` for one that is no number."""
        component, _, path = name.partition(".")
        alpha = self._said.get(f"{component}.lora_alpha", None)
        patterns = self._said.get(f"{component}.alpha_pattern", None) or {}
        try:
            alpha = next((value for pattern, value in patterns.items() if self._names(pattern, path)), alpha)
            if alpha is None:
                return 1.0
            root = self._said.get(f"{component}.use_rslora", False)
            strength = float(alpha) / (math.sqrt(rank) if root else rank)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointUnfit(
                f"{self._file}: {_SETTINGS} gives {name} no alpha ({error}): save it again"
            ) from error
        if not math.isfinite(strength):
            raise CheckpointUnfit(f"{self._file}: {_SETTINGS} gives {name} the alpha {alpha}: save it again")
        return strength

    def _names(self, pattern: str, path: str) -> bool:
        """Whether a pattern is this layer's path or its end. No expression of a file is run: it might never end."""
        plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not plain.replace(".", "").replace("_", "").isalnum():
            raise CheckpointUnfit(
                f"{self._file}: {_SETTINGS} has alphas for the pattern {pattern!r:.80}, and only names of layers are "
                "taken: save it with a name for each"
            )
        return path == plain or (not pattern.startswith("^") and path.endswith(f".{plain}"))
