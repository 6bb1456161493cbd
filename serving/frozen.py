"""The form of every record: frozen, and strict about its fields.

Records, requests, messages between processes and groups of settings are made of it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hex."""


class Frozen(BaseModel):
    """A record that never changes and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
