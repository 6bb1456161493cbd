"""What a model cannot do is refused, with the field, the reason and what is supported. Pure; `settle.py` calls it.

Checks that need no medium come first, so that a hopeless request costs no fetch.
"""

from __future__ import annotations

from collections.abc import Iterable

from engines.families.capabilities import Capabilities, Range
from serving.errors import InvalidArgument, shown
from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.create.mentions import check_mentions
from serving.jobs.record import LOWEST_PRIORITY
from serving.requests import Codec, Kind

MAX_IMAGES = 10
MAX_REQUEST_ID = 128
MAX_SEED = 2**63 - 1
MIN_TTL_MS = 60_000
MAX_AHEAD_MS = 100 * 365 * 24 * 3_600_000
"""How far from now a time may lie: keys and answers have room for it."""


def check_draft(draft: Draft, model: Capabilities) -> None:
    """Refuse what can be refused without looking at any medium. Raises `InvalidArgument`."""
    _check_text(draft, model)
    _check_inputs(draft, model)
    _check_numbers(draft, model)
    _check_sizes(draft, model)
    _check_subject(draft)


def check_times(draft: Draft, now_ms: int) -> None:
    """When it must be done, how urgent it is, how long it stays. Raises `InvalidArgument`."""
    if draft.deadline_ms is not None and draft.deadline_ms <= now_ms:
        raise InvalidArgument(draft.name("deadline"), "it has passed already: give a time to come")
    if draft.deadline_ms is not None and draft.deadline_ms > now_ms + MAX_AHEAD_MS:
        raise InvalidArgument(draft.name("deadline"), "it is more than 100 years ahead: leave it out for none")
    if draft.priority is not None and not 0 <= draft.priority <= LOWEST_PRIORITY:
        raise InvalidArgument(draft.name("priority"), f"it is 0 (most urgent) to {LOWEST_PRIORITY}")
    if draft.ttl_ms is not None and draft.ttl_ms < MIN_TTL_MS:
        raise InvalidArgument(draft.name("ttl"), f"it is at least {MIN_TTL_MS // 1000} s")
    if draft.ttl_ms is not None and draft.ttl_ms > MAX_AHEAD_MS:
        raise InvalidArgument(draft.name("ttl"), "it is more than 100 years")


def _check_text(draft: Draft, model: Capabilities) -> None:
    if draft.negative_prompt and not model.negative_prompt:
        raise InvalidArgument(draft.name("negative_prompt"), f"{model.model} takes none: leave it out")
    for field, text in (("prompt", draft.prompt), ("negative_prompt", draft.negative_prompt)):
        if len(text) > model.max_prompt_chars:
            raise InvalidArgument(
                draft.name(field),
                f"it has {len(text)} characters; {model.model} takes at most {model.max_prompt_chars}",
            )
    if len(draft.request_id) > MAX_REQUEST_ID:
        raise InvalidArgument(draft.name("request_id"), f"it takes at most {MAX_REQUEST_ID} characters")


def _check_subject(draft: Draft) -> None:
    """There is something to show."""
    if not (draft.prompt.strip() or draft.first_frame or draft.references or draft.extends):
        raise InvalidArgument(draft.name("prompt"), "it is empty: say what to show, or give a picture or a video")
    check_mentions(draft)


def _check_inputs(draft: Draft, model: Capabilities) -> None:
    if draft.kind is Kind.IMAGE and not model.image:
        raise InvalidArgument(draft.name("kind"), f"{model.model} makes no images: choose a model that does")
    if draft.extends is not None:
        field = draft.name("extends")
        if draft.kind is Kind.IMAGE:
            raise InvalidArgument(field, "an image extends nothing: ask for a video")
        if not model.extension:
            raise InvalidArgument(field, f"{model.model} cannot extend videos: choose a model that does")
        if draft.first_frame is not None:
            reason = "an extension begins where its video ends: leave this out, or leave out the video"
            raise InvalidArgument(draft.name("first_frame"), reason)
    if draft.first_frame is not None:
        if draft.kind is Kind.IMAGE:
            raise InvalidArgument(draft.name("first_frame"), "an image has no first frame: give a reference")
        if not model.first_frame:
            reason = f"{model.model} takes no first frame: leave it out, or choose a model that takes one"
            raise InvalidArgument(draft.name("first_frame"), reason)
    elif draft.extends is None and not model.text:
        reason = f"{model.model} makes no video without one: give a picture, or choose a model that takes text alone"
        raise InvalidArgument(draft.name("first_frame"), reason)
    _check_references(draft, model)


def _check_references(draft: Draft, model: Capabilities) -> None:
    if draft.references and not model.references_max:
        reason = f"{model.model} takes none: leave them out, or choose a model that takes some"
        raise InvalidArgument(draft.name("references"), reason)
    if len(draft.references) > model.references_max:
        reason = f"there are {len(draft.references)}; {model.model} takes at most {model.references_max}"
        raise InvalidArgument(draft.name("references"), reason)
    if draft.extends is not None and draft.references and not model.extension_references:
        reason = f"an extension of {model.model} keeps the references of its video: leave them out"
        raise InvalidArgument(draft.name("references"), reason)


def _check_numbers(draft: Draft, model: Capabilities) -> None:
    if draft.kind is Kind.IMAGE:
        if draft.seconds is not None:
            raise InvalidArgument(draft.name("seconds"), "an image has no length: leave it out")
        if draft.codec:
            raise InvalidArgument(draft.name("codec"), "an image has no codec: leave it out")
        images = 1 if draft.images is None else draft.images
        _within(draft.name("images"), images, Range(1, MAX_IMAGES, 1), "images at once", model)
    else:
        if draft.images is not None:
            raise InvalidArgument(draft.name("images"), "it counts images: leave it out for a video")
        bounds = model.extension_seconds if draft.extends else model.seconds
        what = "seconds of extension" if draft.extends else "seconds"
        _within(draft.name("seconds"), _or(draft.seconds, bounds), bounds, what, model)
    _within(draft.name("steps"), _or(draft.steps, model.steps), model.steps, "denoising steps", model)
    if draft.seed is not None and not 0 <= draft.seed <= MAX_SEED:
        raise InvalidArgument(draft.name("seed"), f"{draft.seed} is outside 0 to {MAX_SEED}")


def _check_sizes(draft: Draft, model: Capabilities) -> None:
    aspects = [canvas.aspect_ratio for canvas in model.canvases]
    _among(draft.name("aspect_ratio"), draft.aspect_ratio, aspects, model)
    sizes = model.image_resolutions if draft.kind is Kind.IMAGE else model.resolutions
    _among(draft.name("resolution"), draft.resolution, sizes, model)
    _among(draft.name("codec"), draft.codec, [codec.value for codec in Codec], model)


def seconds_of(draft: Draft, model: Capabilities) -> int:
    """The length of the new part of a checked draft; 0 for an image."""
    if draft.kind is Kind.IMAGE:
        return 0
    return _or(draft.seconds, model.extension_seconds if draft.extends else model.seconds)


def _or(given: int | None, bounds: Range) -> int:
    return bounds.default if given is None else given


def _within(field: str, value: int, bounds: Range, what: str, model: Capabilities) -> None:
    if not bounds.min <= value <= bounds.max:
        raise InvalidArgument(field, f"{value}: {model.model} makes {bounds.min} to {bounds.max} {what}")


def _among(field: str, value: str, supported: Iterable[str], model: Capabilities) -> None:
    names = list(supported)
    if value and value not in names:
        raise InvalidArgument(field, f"{shown(value)}: {model.model} supports {', '.join(names)}")
