"""Segments of one tenant: a Merkle DAG of manifests, each with a trail that lists the path before it in few objects.

A manifest names its parent by digest, so a path cannot form a cycle and what it says cannot change. The Director
commits, the front door reads.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.media.virtual import StoredMedia
from serving.segments.manifest import SegmentManifest
from serving.segments.older import OlderPaths
from serving.segments.page import Page
from serving.segments.path import Listed, PathSegment, Placed, listed_by
from serving.segments.shape import VideoShape
from serving.segments.trail import Told, Trail
from serving.store import keys, sweeping
from serving.store.base import Store
from serving.store.blobs import Blobs

AT_ONCE = 16
"""Manifests that are read together."""

_DIGEST = re.compile("[0-9a-f]{64}")
_Stored = TypeVar("_Stored")
_Read = TypeVar("_Read")


class Segments:
    """One tenant's manifests."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._older = OlderPaths(self.get, self.page, Blobs(store, tenant))

    async def commit(self, manifest: SegmentManifest) -> str:
        """Make a manifest durable; its digest. Its blobs and its parent must be in the store already."""
        digest = manifest.digest()
        await self._put(keys.segment(self._tenant, digest), manifest.encode())
        return digest

    async def get(self, digest: str) -> SegmentManifest:
        """A manifest. Raises `NotFound`, or `Corrupt` when its bytes do not match its name or cannot be read."""
        return await self._get(SegmentManifest.decode, "segment", keys.segment(self._tenant, digest), digest)

    async def several(self, digests: Sequence[str]) -> list[SegmentManifest]:
        """Manifests, in this order. Raises as `get` does."""
        return await self._each(digests, lambda manifest: manifest)

    async def page(self, digest: str) -> Page:
        """A page, which an earlier version wrote. Raises as `get` does."""
        return await self._get(Page.model_validate_json, "page", keys.page(self._tenant, digest), digest)

    async def path(self, head: SegmentManifest, start: int = 0, stop: int | None = None) -> list[PathSegment]:
        """The segments from the root to this one; or of these those from depth `start` to before `stop`.

        That is some ten reads to where they end, one for every 37 of them, and one for each whose caption its trail had
        no room for.
        """
        found, before = await self._walk(head, start, head.depth + 1 if stop is None else stop)
        older = await self._older.path(before) if before else []
        return [*older[start : found[0].depth if found else stop], *await self._all_told(found)]

    async def places(self, head: SegmentManifest) -> list[Placed]:
        """Where the segments from the root to this one stand: as `path`, without the reads for captions."""
        found, before = await self._walk(head, 0, head.depth + 1)
        older = await self._older.path(before) if before else []
        behind = [segment.placed for segment in found]
        return [*(segment.placed for segment in older[: behind[0].depth if behind else None]), *behind]

    async def on_path(self, head: SegmentManifest, digest: str) -> SegmentManifest | None:
        """The manifest that somebody names by this, if it is one of the path from the root to this one."""
        if not _DIGEST.fullmatch(digest):
            return None
        try:
            named = await self.get(digest)
        except NotFound:
            return None
        there = await self.path(head, named.depth, named.depth + 1)
        return named if [segment.digest for segment in there] == [digest] else None

    async def media(self, head: SegmentManifest) -> Sequence[StoredMedia]:
        """Where the media of the video up to this segment lie, root first."""
        trails: list[Trail] = []
        manifest = head
        while manifest.trail is not None:
            trails.append(manifest.trail)
            if manifest.depth == manifest.trail.segments:  # it begins with the root
                break
            manifest = await self.get(manifest.trail.first)
        older = await self._older.media(manifest) if manifest.trail is None else []
        if not trails:
            return older
        listed = (part for trail in reversed(trails) for part in trail.media())
        return [*older[: manifest.depth], *listed, head.parts[-1]]

    async def _walk(self, head: SegmentManifest, start: int, stop: int) -> tuple[list[Listed], SegmentManifest | None]:
        """The segments of these depths, oldest first. Where trails begin behind `start`: the manifest without one."""
        manifest = head
        found: list[Listed] = []
        while True:
            own = Listed.itself(manifest)
            if found and found[-1].depth == own.depth:
                found[-1] = own  # the trail that listed it did not know its parent
            elif start <= own.depth < stop:
                found.append(own)
            if own.depth <= start:
                return found[::-1], None
            if manifest.trail is None:
                return found[::-1], manifest
            listed = listed_by(manifest)
            found += (segment for segment in listed if start <= segment.depth < stop)
            oldest = listed[-1].depth
            if oldest < start or oldest == 0:
                return found[::-1], None
            wanted = min(stop - 1, oldest)
            manifest = await self.get(manifest.trail.next_behind(manifest.depth, wanted))

    async def _all_told(self, found: Sequence[Listed]) -> list[PathSegment]:
        """With what their trails had no room for."""
        told = [segment.line.told for segment in found]
        asked = [segment.line.digest for segment, known in zip(found, told, strict=True) if known is None]
        answers = iter(await self._each(asked, lambda manifest: Told(manifest.video, manifest.effective_prompt)))
        return [segment.told(known or next(answers)) for segment, known in zip(found, told, strict=True)]

    async def _each(self, digests: Sequence[str], of: Callable[[SegmentManifest], _Read]) -> list[_Read]:
        """What is wanted of each of these manifests, some read together."""
        places = asyncio.Semaphore(AT_ONCE)

        async def read(digest: str) -> _Read:
            async with places:
                return of(await self.get(digest))

        return await asyncio.gather(*map(read, digests))

    async def _get(self, read: Callable[[bytes], _Stored], what: str, key: str, digest: str) -> _Stored:
        try:
            data = (await self._store.get(key)).data
        except NotFound as error:
            raise NotFound(f"no {what} {digest}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"{what} {digest} holds other bytes than its name says: restore it from a copy of the store")
        try:
            return read(data)
        except ValueError as error:
            raise Corrupt(
                f"{what} {digest} cannot be read by this version ({_first(error)}): run the one that wrote it"
            ) from error

    async def _put(self, key: str, data: bytes) -> None:
        """Write what is named by its content; what is there already becomes young, as `Blobs.put` has it."""
        while True:
            if not await self._store.put_if_absent(key, data):
                try:
                    await self._store.touch(key)
                except NotFound:
                    continue
            if await sweeping.undisturbed(self._store, key):
                return


def _first(error: ValueError) -> str:
    """What is wrong, in a line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


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
