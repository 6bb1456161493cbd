"""From a draft to a request with everything decided: checked, its media taken in, what was open filled.

`create.py` settles a draft before it admits and persists. Nothing but content-addressed inputs is kept by it, so a
draft may be settled without ever becoming a job.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engines.families.capabilities import Role
from serving.errors import FailedPrecondition, InvalidArgument
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.create.intake import ForeignParent, Intake, OwnParent, TakenPicture
from serving.frontdoor.create.shapes import foreign_shape, inherited_resolution, own_aspect, told_of
from serving.frontdoor.create.validation import check_draft, check_times, seconds_of
from serving.jobs.dead import DeadLetters
from serving.plan import Plan, plan
from serving.requests import Codec, Kind, VideoRequest
from serving.segments.lineage import shape_of
from serving.segments.manifest import SegmentManifest
from serving.segments.shape import VideoShape
from serving.store.base import Store


@dataclass(frozen=True)
class Settled:
    """A request with everything decided but the seed."""

    request: VideoRequest
    model: ServedModel
    parent: VideoShape | None
    """Of the own video that is extended."""
    warnings: tuple[str, ...]

    def plan(self) -> Plan:
        """What will be done; a seed is drawn where none was asked for."""
        request = self.request
        seed = secrets.randbits(31) if request.seed is None else request.seed
        can = self.model.capabilities
        return plan(request, can, model_digest=self.model.digest, seed=seed, parent=self.parent)


@dataclass(frozen=True)
class _Form:
    """How the video will look."""

    aspect_ratio: str
    resolution: str
    codec: Codec
    parent: VideoShape | None = None
    """Of the own video that is extended."""
    warnings: tuple[str, ...] = ()


class Settler:
    """One per front-door process."""

    def __init__(
        self, *, store: Store, intake: Intake, catalog: Catalog, codec: Codec, now_ms: Callable[[], int]
    ) -> None:
        """`codec`: where the draft leaves it open."""
        self._store = store
        self._intake = intake
        self._catalog = catalog
        self._codec = codec
        self._now_ms = now_ms

    async def settle(self, tenant: str, draft: Draft) -> Settled:
        """For a new job. Raises every error that a user can act on."""
        check_times(draft, self._now_ms())
        settled = await self._decide(tenant, draft)
        await self._check_harmless(tenant, draft, settled.request)
        return settled

    async def settle_again(self, tenant: str, draft: Draft) -> Settled:
        """To compare with a job that is there already: so its deadline may have passed meanwhile, and an input may have
        been put into quarantine.
        """
        return await self._decide(tenant, draft)

    async def _start_of(self, tenant: str, draft: Draft) -> tuple[ServedModel, OwnParent | ForeignParent | None]:
        """The model that can do this, and the video that is extended. Raises `NotFound`, `InvalidArgument`, and
        `FailedPrecondition` for a video of a model that is not served any more.

        Where nobody says which model extends one of our videos, it is the one that made it.
        """
        model = self._catalog.resolve(draft.model)
        if not draft.extends:
            _check(draft, model)
            return model, None
        open_ = not draft.model and len(self._catalog.models) > 1
        if not open_:
            _check(draft, model)
        source = await self._intake.parent(tenant, draft.extends, draft.name("extends"))
        maker = self._catalog.maker(source.manifest.model) if isinstance(source, OwnParent) else model
        if open_:
            _check(draft, maker)
            model = maker
        return model, source

    async def _decide(self, tenant: str, draft: Draft) -> Settled:
        """Take the media in, and fill what was left open."""
        model, source = await self._start_of(tenant, draft)
        can = model.capabilities
        first = await self._intake.picture(tenant, draft.first_frame) if draft.first_frame else None
        form = self._form_of(draft, model, source, first)
        references = [await self._intake.picture(tenant, reference) for reference in draft.references]
        negative = source.negative_prompt if isinstance(source, OwnParent) else ""
        request = VideoRequest(
            kind=draft.kind,
            model=can.model,
            prompt=draft.prompt,
            negative_prompt=draft.negative_prompt or negative,
            seconds=seconds_of(draft, can),
            aspect_ratio=form.aspect_ratio,
            resolution=form.resolution,
            codec=form.codec,
            steps=can.steps.default if draft.steps is None else draft.steps,
            seed=draft.seed,
            first_frame=first.blob if first else None,
            references=tuple(reference.blob for reference in references),
            extends=source.source if isinstance(source, OwnParent) else None,
            ingests=source.source if isinstance(source, ForeignParent) else None,
            images=draft.images or 1,
        )
        warnings = (*form.warnings, *_lost(draft, model, form, first, references))
        return Settled(request, model, form.parent, warnings)

    def _form_of(
        self,
        draft: Draft,
        model: ServedModel,
        source: OwnParent | ForeignParent | None,
        first: TakenPicture | None,
    ) -> _Form:
        """As the draft asks for it, as its parent or first frame has it, or as the model and the settings have it."""
        can = model.capabilities
        codec = Codec(draft.codec) if draft.codec else self._codec
        if isinstance(source, OwnParent):
            self._check_model(draft, model, source.manifest)
            parent = shape_of(source.manifest)
            resolution = inherited_resolution(draft, can, parent)
            return _Form(parent.aspect_ratio, resolution, parent.track.codec, parent=parent)
        if isinstance(source, ForeignParent):
            aspect, resolution, warnings = foreign_shape(draft, can, source.source)
            return _Form(aspect, resolution, codec, warnings=warnings)
        sizes = can.image_resolutions if draft.kind is Kind.IMAGE else can.resolutions
        aspect = own_aspect(draft, can, first.facts if first else None)
        return _Form(aspect, draft.resolution or next(iter(sizes)), codec)

    def _check_model(self, draft: Draft, model: ServedModel, parent: SegmentManifest) -> None:
        """An extension starts from stored latents, which only the model that made them can read."""
        if parent.model != model.capabilities.model:
            raise InvalidArgument(
                draft.name("model"),
                f"the video was made by {parent.model}, and only {parent.model} can extend it",
            )
        if parent.model_digest != model.digest:
            raise FailedPrecondition(
                f"another version of {parent.model} made the video (digest {parent.model_digest[:12]}, now "
                f"{model.digest[:12]}), and this one cannot read its latents: make the video again",
                reason="MODEL_CHANGED",
            )

    async def _check_harmless(self, tenant: str, draft: Draft, request: VideoRequest) -> None:
        """Refuse inputs that have ended worker after worker. A request without inputs reads nothing."""
        inputs = [(draft.name("first_frame"), request.first_frame)] if request.first_frame else []
        inputs += [(f"{draft.name('references')}[{place}]", name) for place, name in enumerate(request.references)]
        inputs += [(draft.name("extends"), request.ingests.blob)] if request.ingests else []
        for name, digest in inputs:
            found = await DeadLetters(self._store).quarantined(tenant, digest)
            if found is not None:
                raise InvalidArgument(
                    name,
                    f"reading it has ended {found.crashes} workers ({found.job}): give another file, or have an "
                    f"operator lift it with `longtake jobs requeue {found.job}`",
                    reason="QUARANTINED",
                )


def _check(draft: Draft, model: ServedModel) -> None:
    """Whether the model can do this. Raises `InvalidArgument`."""
    check_draft(draft, model.capabilities)
    _roles_of(draft, model)


def _roles_of(draft: Draft, model: ServedModel) -> tuple[Role, ...]:
    """What each picture is taken for. Raises `InvalidArgument` for one that has no place in the video."""
    if model.roles is None or draft.extends:
        return tuple("subject" for _ in draft.references)
    try:
        return model.roles(draft.prompt, len(draft.references))
    except ValueError as error:
        field, _, reason = str(error).partition(": ")
        raise InvalidArgument(draft.name(field), reason) from error


def _lost(
    draft: Draft, model: ServedModel, form: _Form, first: TakenPicture | None, references: list[TakenPicture]
) -> Iterator[str]:
    """What the model will not see of the pictures, for their owner."""
    can = model.capabilities
    native = form.parent or can.canvas(form.aspect_ratio)
    assert native is not None, "it was chosen among the model's"
    if draft.first_frame and first:
        times = can.resolutions[form.resolution]
        yield from told_of(draft.first_frame.field, first.facts, (native.width * times, native.height * times))
    for given, taken, role in zip(draft.references, references, _roles_of(draft, model), strict=True):
        height, width = (can.reference_size if role == "subject" else None) or (native.height, native.width)
        yield from told_of(given.field, taken.facts, (width, height), whole=can.reference_whole)
