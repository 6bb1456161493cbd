"""Segments of one tenant: a Merkle DAG of manifests, and the pages that list a path in few objects.

A manifest names its parent by digest, so a path cannot form a cycle and what it says cannot change. The Director
commits, the front door reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.frozen import Frozen
from serving.segments.manifest import Earlier, MediaPart, SegmentManifest
from serving.segments.page import STEP, Page, PagedSegment, PathSegment, page_of
from serving.segments.shape import VideoShape
from serving.store import keys, sweeping
from serving.store.base import Store

_Stored = TypeVar("_Stored", bound=Frozen)


class Segments:
    """One tenant's manifests and pages."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def commit(self, manifest: SegmentManifest) -> str:
        """Make a manifest durable; its digest. Its blobs and its page must be in the store already."""
        digest = manifest.digest()
        await self._put(keys.segment(self._tenant, digest), manifest.encode())
        return digest

    async def get(self, digest: str) -> SegmentManifest:
        """A manifest. Raises `NotFound`, or `Corrupt` when its bytes do not match its name or cannot be read."""
        return await self._get(SegmentManifest, "segment", keys.segment(self._tenant, digest), digest)

    async def page(self, digest: str) -> Page:
        """A page. Raises as `get` does."""
        return await self._get(Page, "page", keys.page(self._tenant, digest), digest)

    async def after(self, parent: SegmentManifest) -> Earlier:
        """What the manifest of a segment behind `parent` says of those before it.

        Every `STEP` segments this reads as many manifests, and writes a page; else it costs nothing.
        """
        earlier = parent.earlier
        depth = parent.depth + 1
        page, paged = (earlier.page, earlier.paged) if earlier else (None, 0)
        if depth % STEP == 0 and (written := await self._turn_page(parent)):
            page, paged = written, depth
        return Earlier(fragments=parent.fragments, page=page, paged=paged)

    async def path(self, head: SegmentManifest) -> list[PathSegment]:
        """The segments from the root to this one."""
        whole, pages, behind = await self._listed(head)
        before: list[PathSegment] = []
        while whole is not None:  # of an earlier version, whose segments are in no page
            before.append(PathSegment.of(whole.digest(), whole))
            whole = await self.get(whole.parent) if whole.parent else None
        return [*before[::-1], *(segment for page in pages for segment in page.path()), *behind]

    async def media(self, head: SegmentManifest) -> Sequence[MediaPart | PagedSegment | PathSegment]:
        """Where the media of the video up to this segment lie, root first."""
        whole, pages, behind = await self._listed(head)
        return [*(whole.parts if whole else ()), *(line for page in pages for line in page.segments), *behind]

    async def _listed(self, head: SegmentManifest) -> tuple[SegmentManifest | None, list[Page], list[PathSegment]]:
        """A manifest that stands for the video's beginning by itself; the pages behind it; the segments in no page."""
        whole, page, behind = await self._since_page(head)
        pages: list[Page] = []
        while page is not None:
            pages.append(await self.page(page))
            page = pages[-1].before
        if pages and pages[-1].parent is not None:
            whole = await self.get(pages[-1].parent)
        return whole, pages[::-1], behind

    async def _since_page(self, head: SegmentManifest) -> tuple[SegmentManifest | None, str | None, list[PathSegment]]:
        """The segments that no page lists, oldest first. Before them: a manifest without a page, or a page."""
        manifest, digest = head, head.digest()
        behind: list[PathSegment] = []
        while manifest.earlier is not None and manifest.parent is not None:
            behind.append(PathSegment.of(digest, manifest))
            if manifest.earlier.page is not None and manifest.earlier.paged == manifest.depth:
                return None, manifest.earlier.page, behind[::-1]
            digest = manifest.parent
            manifest = await self.get(digest)
        return manifest, None, behind[::-1]

    async def _turn_page(self, last: SegmentManifest) -> str | None:
        """A page that lists the path up to `last`; None when all of it is an earlier version's."""
        whole, before, listed = await self._since_page(last)
        if whole is not None and whole.depth == 0:
            listed = [PathSegment.of(whole.digest(), whole), *listed]
        if before is not None:
            newest = await self.page(before)
            if not newest.full:
                listed, before = [*newest.path(), *listed], newest.before
        if not listed:
            return None
        page = page_of(listed, before)
        digest = page.digest()
        await self._put(keys.page(self._tenant, digest), page.encode())
        return digest

    async def _get(self, kind: type[_Stored], what: str, key: str, digest: str) -> _Stored:
        try:
            data = (await self._store.get(key)).data
        except NotFound as error:
            raise NotFound(f"no {what} {digest}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"{what} {digest} holds other bytes than its name says: restore it from a copy of the store")
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Corrupt(
                f"{what} {digest} cannot be read by this version ({place}: {first['msg']}): run the one that wrote it"
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
