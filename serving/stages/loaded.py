"""What a stage stands on: a model's loaded engines and the store. Made once per replica."""

from __future__ import annotations

from dataclasses import dataclass

from engines.families.base import Family
from engines.session import Session
from serving.errors import FailedPrecondition
from serving.metrics import Recorder
from serving.store.base import Store
from serving.store.blobs import Blobs


@dataclass(frozen=True)
class Loaded:
    """One model's engines, and where its blobs lie."""

    session: Session
    store: Store
    metrics: Recorder

    def family(self, model: str) -> Family:
        """The family of the model that a call names. Raises `FailedPrecondition` when another one is loaded."""
        capabilities = self.session.family.capabilities
        if model != capabilities.model:
            raise FailedPrecondition(
                f"this stage has loaded {capabilities.model}, not {model}: set `model` and start again"
            )
        return self.session.family

    def blobs(self, tenant: str) -> Blobs:
        """A tenant's blobs and caches."""
        return Blobs(self.store, tenant)
