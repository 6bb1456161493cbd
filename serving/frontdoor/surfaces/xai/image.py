"""`xai_api.Image` onto Longtake's jobs: images are made while the call waits. `register.py` registers it.

If the client goes away, the job goes on; a resent call finds it again.
"""

# ruff: noqa: N802

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from serving.errors import FailedPrecondition, InvalidArgument, Unavailable
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.drafts import Draft, MediaDraft
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.surfaces.xai.keep import Keeper, KeepOptions, KeepOutcome, read_options
from serving.frontdoor.surfaces.xai.words import image_aspect, image_resolution, no_usage, picture, pictures
from serving.frontdoor.videos import Videos
from serving.gen.xai.api.v1 import image_pb2 as pb
from serving.jobs.record import JobRecord, JobState
from serving.requests import Kind
from serving.store.base import Store
from serving.store.blobs import Blobs

NAMES: Mapping[str, str] = MappingProxyType({"images": "n", "references": "images", "request_id": "idempotency-key"})
LONGEST_WAIT_S = 1_620.0
"""The public client's own deadline."""
KEEPING_S = 15.0
"""How long images that are made wait for a store that does not take their files."""
ANSWERING_S = 2.0
"""Of the client's deadline, for the answer."""
PNG_PREFIX = "data:image/png;base64,"
"""The public client splits on `base64,`."""


@dataclass(frozen=True)
class XaiImage:
    """The service."""

    creator: Creator
    videos: Videos
    store: Store
    keeper: Keeper
    signer: UrlSigner
    now_ms: Callable[[], int]

    async def GenerateImage(self, request: pb.GenerateImageRequest, call: Call) -> pb.ImageResponse:
        """Make images and wait for them. Input pictures are references: what they show is what the images show."""
        if request.HasField("quality"):
            raise InvalidArgument("quality", "images come in one quality here: leave it out")
        keep = read_options(request.storage_options) if request.HasField("storage_options") else None
        draft = Draft(
            kind=Kind.IMAGE,
            model=request.model,
            prompt=request.prompt,
            images=request.n if request.HasField("n") else None,
            aspect_ratio=image_aspect(request),
            resolution=image_resolution(request),
            references=_references(request),
            request_id=call.idempotency_key,
            traceparent=call.traceparent,
            names=NAMES,
        )
        form = request.format
        del request
        view = await self.creator.create(call.caller, draft, resent=call.resent, waits_s=LONGEST_WAIT_S)
        record = view.record
        del draft
        call.let_go()  # of its pictures, which are stored: others may send theirs while this one waits
        wait_s = min(call.context.time_remaining() or LONGEST_WAIT_S, LONGEST_WAIT_S)
        record = (await self.videos.wait(call.caller, record.id, timeout_s=wait_s)).record
        _check_made(record)
        left_s = min((call.context.time_remaining() or LONGEST_WAIT_S) - ANSWERING_S, KEEPING_S)
        return await self._response(record, form, keep, until=asyncio.get_running_loop().time() + left_s)

    async def _response(
        self, record: JobRecord, form: pb.ImageFormat.ValueType, keep: KeepOptions | None, *, until: float
    ) -> pb.ImageResponse:
        response = pb.ImageResponse(model=record.request.model, usage=no_usage())
        blobs = Blobs(self.store, record.tenant)
        now_ms = self.now_ms()
        for number, digest in enumerate(record.images):
            # An unset flag reads as a withheld image in the public client.
            image = response.images.add(respect_moderation=True)
            if form == pb.IMG_FORMAT_BASE64:
                image.base64 = PNG_PREFIX + base64.b64encode(await blobs.get(digest)).decode()
            else:
                image.url = self.signer.image_url(record.tenant, record.id, number, now_ms).url
            if keep is not None:
                kept = await self.keeper.keep_image(record, number, await blobs.size(digest), keep, until=until)
                _add_kept(image, kept)
        return response


def _references(request: pb.GenerateImageRequest) -> tuple[MediaDraft, ...]:
    if request.HasField("image") and request.images:
        raise InvalidArgument("image", "give pictures either as `image` or as `images`, not both")
    if request.HasField("image"):
        return (picture("image", request.image),)
    return pictures("images", request.images)


def _check_made(record: JobRecord) -> None:
    """Raises what a user can act on when there are no images."""
    if record.state is JobState.SUCCEEDED:
        return
    if record.state is JobState.CANCELLED:
        raise FailedPrecondition(f"the images ({record.id}) were cancelled", reason="CANCELLED")
    if record.state in (JobState.FAILED, JobState.EXPIRED):
        reason = f"{record.error.code}: {record.error.message}" if record.error else "no reason was left"
        raise FailedPrecondition(f"the images ({record.id}) could not be made: {reason}", reason="IMAGE_FAILED")
    raise Unavailable(
        f"the images ({record.id}) are still on their way: longtake.v1.Videos/GetVideo tells when they are there",
        reason="STILL_RUNNING",
    )


def _add_kept(image: pb.GeneratedImage, kept: KeepOutcome) -> None:
    if kept.file_output is not None:
        image.file_output.CopyFrom(kept.file_output)
    if kept.storage_error is not None:
        image.storage_error = kept.storage_error
