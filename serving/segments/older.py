"""Paths as earlier versions stored them: in pages, or as manifests that name their parents and no others.

`lineage.py` reads what lies before the trails here. Of manifests without pages, what was read one by one is kept in the
cache as pages, so it is read so once and not with every question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.media.virtual import StoredMedia
from serving.segments.manifest import SegmentManifest
from serving.segments.page import Page, PagedSegment
from serving.segments.path import PathSegment
from serving.store.blobs import Blobs

PIECE = 128
"""Segments that are kept as one page, at most. They end at places that all branches have in common."""
WORTH_KEEPING = 16
"""Fewer are as soon read as looked up."""
_CACHE = "path"


class OlderPaths:
    """Of one tenant."""

    def __init__(
        self,
        get: Callable[[str], Awaitable[SegmentManifest]],
        page: Callable[[str], Awaitable[Page]],
        blobs: Blobs,
    ) -> None:
        self._get = get
        self._page = page
        self._blobs = blobs

    async def path(self, head: SegmentManifest) -> list[PathSegment]:
        """The segments from the root to this one."""
        whole, pages, behind = await self._listed(head)
        before = await self._before_pages(whole) if whole else []
        return [*before, *(segment for page in pages for segment in page.path()), *behind]

    async def media(self, head: SegmentManifest) -> Sequence[StoredMedia]:
        """Where the media of the video up to this segment lie, root first; one for each segment."""
        whole, pages, behind = await self._listed(head)
        return [*(whole.parts if whole else ()), *(line for page in pages for line in page.segments), *behind]

    async def _listed(self, head: SegmentManifest) -> tuple[SegmentManifest | None, list[Page], list[PathSegment]]:
        """A manifest that stands for the video's beginning by itself; the pages behind it; the segments in no page."""
        whole, page, behind = await self._since_page(head)
        pages: list[Page] = []
        while page is not None:
            pages.append(await self._page(page))
            page = pages[-1].before
        if pages and pages[-1].parent is not None:
            whole = await self._get(pages[-1].parent)
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
            manifest = await self._get(digest)
        return manifest, None, behind[::-1]

    async def _before_pages(self, whole: SegmentManifest) -> list[PathSegment]:
        """The segments up to a manifest of the version that knew no pages."""
        pieces: list[list[PathSegment]] = []
        digest: str | None = whole.digest()
        while digest is not None:
            pieces.append(await self._piece(digest))
            digest = pieces[-1][0].parent
        return [segment for piece in pieces[::-1] for segment in piece]

    async def _piece(self, newest: str) -> list[PathSegment]:
        """The segments up to `newest`, from the last multiple of `PIECE` on."""
        kept = await self._kept(newest)
        if kept is not None:
            return list(kept.path())
        read: list[PathSegment] = []
        digest = newest
        while True:
            read.append(PathSegment.of(digest, await self._get(digest)))
            parent = read[-1].parent
            if parent is None or read[-1].depth % PIECE == 0:
                break
            digest = parent
        if len(read) >= WORTH_KEEPING:
            blob = await self._blobs.put(_page_of(read[::-1]).encode())
            await self._blobs.cache_put(_CACHE, newest, blob)
        return read[::-1]

    async def _kept(self, newest: str) -> Page | None:
        """What an earlier question read. It is a hint: what is lost or cannot be read is read anew."""
        digest = await self._blobs.cache_get(_CACHE, newest)
        if digest is None:
            return None
        try:
            return Page.model_validate_json(await self._blobs.get(digest))
        except (NotFound, Corrupt, ValidationError):
            return None


def _page_of(path: list[PathSegment]) -> Page:
    """The page of these segments, oldest first."""
    first = path[0]
    names = PagedSegment.model_fields
    lines = tuple(PagedSegment(**{name: getattr(segment, name) for name in names}) for segment in path)
    return Page(before=None, parent=first.parent, depth=first.depth, start_frame=first.start_frame, segments=lines)
