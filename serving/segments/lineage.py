"""Segments of one tenant: a Merkle DAG of manifests.

A manifest names its parent by digest, so a path cannot form a cycle and what it says cannot change. The Director
commits, the front door reads.
"""

from __future__ import annotations

import hashlib

from serving.errors import Corrupt, NotFound
from serving.segments.manifest import SegmentManifest
from serving.segments.shape import VideoShape
from serving.store import keys
from serving.store.base import Store


class Segments:
    """One tenant's manifests."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def commit(self, manifest: SegmentManifest) -> str:
        """Make a manifest durable; its digest. Its blobs must be in the store already."""
        digest = manifest.digest()
        await self._store.put_if_absent(self._key(digest), manifest.encode())
        return digest

    async def get(self, digest: str) -> SegmentManifest:
        """A manifest. Raises `NotFound`, or `Corrupt` when its bytes do not match its name."""
        try:
            data = (await self._store.get(self._key(digest))).data
        except NotFound as error:
            raise NotFound(f"no segment {digest}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"segment {digest} holds other bytes than its name says: restore it from a copy of the store")
        return SegmentManifest.model_validate_json(data)

    async def path(self, digest: str) -> list[SegmentManifest]:
        """The manifests from the root to this one."""
        manifest = await self.get(digest)
        path = [manifest]
        while manifest.parent is not None:
            manifest = await self.get(manifest.parent)
            path.append(manifest)
        return path[::-1]

    def _key(self, digest: str) -> str:
        return keys.segment(self._tenant, digest)


def shape_of(manifest: SegmentManifest) -> VideoShape:
    """What planning an extension of this video needs to know."""
    return VideoShape(
        aspect_ratio=manifest.canvas.aspect_ratio,
        height=manifest.canvas.height,
        width=manifest.canvas.width,
        track=manifest.track,
        total_frames=manifest.total_frames,
        depth=manifest.depth,
    )
