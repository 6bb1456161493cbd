"""Segments as the version before wrote them: a manifest names a page, and every 16th segment turns one."""

from __future__ import annotations

from serving.segments.lineage import Segments
from serving.segments.manifest import Earlier, SegmentManifest
from serving.segments.page import Page, PagedSegment
from serving.segments.path import PathSegment
from serving.store import keys
from serving.store.base import Store

STEP, PAGE = 16, 64


class PagedSegments(Segments):
    """Its `Segments`, as far as it writes."""

    def __init__(self, store: Store, tenant: str) -> None:
        super().__init__(store, tenant)
        self._pages = store
        self._of = tenant

    async def after(self, parent: SegmentManifest) -> Earlier:
        """What the manifest of a segment behind `parent` says of those before it."""
        earlier = parent.earlier
        depth = parent.depth + 1
        page, paged = (earlier.page, earlier.paged) if earlier else (None, 0)
        if depth % STEP == 0 and (written := await self._turn_page(parent)):
            page, paged = written, depth
        return Earlier(fragments=parent.fragments, page=page, paged=paged)

    async def _turn_page(self, last: SegmentManifest) -> str | None:
        manifest, digest, before = last, last.digest(), None
        lines: list[PathSegment] = []
        while manifest.earlier is not None and manifest.parent is not None:
            lines.append(PathSegment.of(digest, manifest))
            if manifest.earlier.page is not None and manifest.earlier.paged == manifest.depth:
                before = manifest.earlier.page
                break
            digest = manifest.parent
            manifest = await self.get(digest)
        if manifest.depth == 0:
            lines.append(PathSegment.of(digest, manifest))
        lines.reverse()
        if before is not None and len((newest := await self.page(before)).segments) + STEP <= PAGE:
            lines, before = [*newest.path(), *lines], newest.before
        if not lines:
            return None
        names = PagedSegment.model_fields
        page = Page(
            before=before,
            parent=lines[0].parent,
            depth=lines[0].depth,
            start_frame=lines[0].start_frame,
            segments=tuple(PagedSegment(**{name: getattr(line, name) for name in names}) for line in lines),
        )
        await self._pages.put_if_absent(keys.page(self._of, page.digest()), page.encode())
        return page.digest()
