"""What must hold of what a job publishes: it is whole, in its place, and what an undisturbed run makes.

The `Ledger` of `invariants.py` asks at the write that publishes, and at the end.
"""

from __future__ import annotations

from serving.jobs.record import JobRecord
from serving.requests import Kind
from serving.segments.manifest import SegmentManifest
from tests.sim import model
from tests.sim.store import Disk


class Violation(AssertionError):
    """A rule is broken."""


def must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


class Published:
    """Of one world."""

    def __init__(self, disk: Disk) -> None:
        self.made: dict[str, model.Made] = {}
        """By segment digest: what an extension of it follows."""
        self._disk = disk

    def newest(self, name: str, record: JobRecord, expected: list[model.Made]) -> None:
        """The newest segment or image is whole, in its place, and what an undisturbed run makes."""
        if record.request.kind is Kind.IMAGE:
            want = expected[len(record.images) - 1]
            self.blob(name, record.tenant, record.images[-1])
            must(record.images[-1] == want.media, f"{name}: image {len(record.images)} is another than it must be")
            return
        digest = record.segments[-1]
        manifest = self._manifest(name, record.tenant, digest)
        at = len(record.segments) - 1
        parent = record.segments[-2] if at else record.request.extends.segment if record.request.extends else None
        planned, want = record.plan.segments[at], expected[at]
        self._blobs(name, manifest)
        got = (manifest.video, manifest.parent, manifest.depth, manifest.frames, manifest.total_frames)
        wanted = (record.id, parent, planned.index, planned.frames, want.end_frame)
        must(got == wanted, f"{name}: segment {at} is {got}, not {wanted}")
        must(manifest.effective_prompt == want.caption, f"{name}: its caption is {manifest.effective_prompt!r}")
        must(
            manifest.latents.blob == model.digest_of(want.stored),
            f"{name}: segment {at} has other latents than an undisturbed run makes",
        )
        must(
            manifest.parts[-1].blob == want.media,
            f"{name}: segment {at} has another film than an undisturbed run makes",
        )
        fragments = planned.index + 1  # the simulated Renderer makes one of each segment
        must(manifest.fragments == fragments, f"{name}: it counts {manifest.fragments} fragments and not {fragments}")
        self.made[digest] = want

    def _manifest(self, name: str, tenant: str, digest: str) -> SegmentManifest:
        stored = self._disk.objects.get(f"t/{tenant}/segments/{digest}")
        must(stored is not None, f"{name}: manifest {digest} is not in the store")
        assert stored is not None
        return SegmentManifest.decode(stored.data)

    def _blobs(self, name: str, manifest: SegmentManifest) -> None:
        blobs = [manifest.latents.blob, manifest.anchor.blob, manifest.tail.blob, manifest.init, manifest.thumbnail]
        for blob in (*blobs, *(part.blob for part in manifest.parts)):
            self.blob(name, manifest.tenant, blob)

    def blob(self, name: str, tenant: str, digest: str) -> None:
        must(f"t/{tenant}/blobs/{digest}" in self._disk.objects, f"{name}: blob {digest} is not in the store")

    def whole(self, record: JobRecord) -> None:
        """All of it is there, up to its root."""
        for image in record.images:
            self.blob(record.id, record.tenant, image)
        digest = record.head
        while digest is not None:
            manifest = self._manifest(record.id, record.tenant, digest)
            self._blobs(record.id, manifest)
            digest = manifest.parent
