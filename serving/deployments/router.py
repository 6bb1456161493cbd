"""The caller names the replica: a slice goes back to the Denoiser that holds its latents.

Serve loads this class by its path from the deployment's options (`app.py`). A call that names no replica, or one that
is gone, may go to any.
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class NamedReplicaRouter(RequestRouter):
    """Returns the replica whose unique id the call's first argument asks for in its `replica` field, else all."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One round of choices, see Serve's `RequestRouter`."""
        if pending_request is None or not pending_request.args:
            return [candidate_replicas]
        # Without this, Serve tries again in a busy loop while every replica is taken.
        pending_request.routing_context.should_backoff = True
        asked = getattr(pending_request.args[0], "replica", None)
        named = [replica for replica in candidate_replicas if replica.replica_id.unique_id == asked]
        return [named or candidate_replicas]
