"""The family as the stages use it, on the engines that ship: captions, plans and what comes of them in pixels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from engines.families.base import Array, Conditions, Denoising, Frames
from engines.families.capabilities import Canvas
from engines.families.history import Before, HistoryPlan, Reference
from engines.families.sprite import reading
from engines.families.sprite.directing import Take
from engines.families.sprite.family import SpriteFamily
from engines.families.sprite.stage import Scene, still
from engines.families.sprite.world import FIRST_SKY, I64, Named, Pattern, grid_of, picture, random_scenery
from engines.session import Session, load_session

WIDE = Canvas("16:9", 80, 144)
SEED = 11
GRID = grid_of((80, 144))


@pytest.fixture(scope="session")
def session() -> Session:
    return asyncio.run(load_session("sprite-2", threads=1))


@dataclass
class Film:
    """A video as the Director grows it: only what the plan names is read."""

    session: Session
    pictures: tuple[Frames, ...] = ()
    prompt: str = ""
    first: Frames | None = None
    canvas: Canvas = WIDE
    latents: list[Array] = field(default_factory=list)
    plans: list[HistoryPlan] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    frames: list[Frames] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        family = self.family
        roles = family.roles(self.prompt, len(self.pictures))
        read = [family.read_reference(p, role) for p, role in zip(self.pictures, roles, strict=True)]
        self.given = tuple(family.encode_still(self.session, one.picture) for one in read)
        self.references = tuple(Reference(role, one.facts) for role, one in zip(roles, read, strict=True))
        self.facts = family.read_frame(self.first).facts if self.first is not None else ""
        self.extend(self.prompt, segments=1)

    @property
    def family(self) -> SpriteFamily:
        family = self.session.family
        assert isinstance(family, SpriteFamily)
        return family

    @property
    def before(self) -> Before:
        made = len(self.latents)
        first = self.first is not None and not made
        return Before(self.canvas, made, self.facts, first=first, references=() if made else self.references)

    def extend(self, prompt: str, segments: int | None = None) -> Film:
        count = segments or len([part for part in prompt.split(".") if part.strip()])
        read = self.family.read_prompt(prompt, seed=SEED, before=self.before, segments=count)
        self.warnings = read.warnings
        for caption in read.effective_prompts:
            self._film(caption)
        return self

    def _film(self, caption: str) -> None:
        family, before = self.family, self.before
        plan = family.plan_history(caption, before)
        first = None
        if before.first:
            assert self.first is not None
            first = family.encode_still(self.session, self.first)[None]
        conditions = Conditions(
            self.canvas,
            np.zeros((0, 0), np.float32),
            self.given,
            first=first,
            short=self.latents[-1][None] if self.latents else None,
            memory=tuple(self.latents[number] for number in plan.of("memory")),
            effective_prompt=caption,
            before=before,
        )
        state = family.start(conditions, seed=SEED, segment=len(self.plans), steps=8)
        while not state.done:
            family.step(self.session, [state])
        lead = self.latents[-1][None] if self.latents else None
        self.frames += list(family.decode(self.session, state.latents, lead=lead))
        self.latents += list(state.latents)
        self.plans.append(plan)
        self.captions.append(caption)
        self.facts = plan.facts

    def seen(self, latent: int) -> I64:
        """The labels at the end of a latent."""
        return reading.labels(self.frames[latent][-1])[0]


def scenery(film: Film, latent: int) -> I64:
    return film.seen(latent)[-2:]


def test_the_camera_comes_back_to_what_it_left(session: Session) -> None:
    film = Film(session, prompt="a red bar at the top left stays under a navy sky")
    film.extend(
        "the camera pans right. the camera pans right. the camera holds. the camera pans back. the camera pans left"
    )
    assert film.seen(0)[0, 0] == 0
    assert (film.seen(0) == film.seen(24)).all()
    assert [len(plan.of("memory")) > 0 for plan in film.plans] == [False, False, False, False, True, True]
    assert film.plans[-1].of("newest") == (20,)
    assert not film.warnings


def test_two_pictures_are_directed_by_their_names(session: Session) -> None:
    arts = (Pattern((0, 1, 2, 3)), Pattern((4, 4, 5, 1)))
    film = Film(
        session,
        tuple(picture(art, 9) for art in arts),
        "<ref1> at the top left moves right and <ref2> at the bottom right stays under a white sky",
    )
    film.extend("<ref2> moves up, <ref1> stops")
    end = film.seen(8)
    assert (end[:2, 8:10] == arts[0].blocks(7)).all()
    assert (end[:2, 16:18] == arts[1].blocks(7)).all() or (end[2:4, 16:18] == arts[1].blocks(7)).all()


def test_a_scene_is_seen_where_the_video_begins(session: Session) -> None:
    world = random_scenery(np.random.default_rng(5))
    shown = Scene(FIRST_SKY + 3, world).frames(still(Take.at(0, []).state), GRID)[0]
    subject = picture(Named(2, 0), 9)
    film = Film(session, (subject, shown), "<ref1> stays in the scene of <ref2>")
    assert (scenery(film, 4) == world[:, :18]).all()
    assert (film.seen(4)[0] >= FIRST_SKY).any()
    assert film.captions[0].endswith("under a black sky, the camera holds")


def test_an_extension_stays_where_its_video_is_and_says_so(session: Session) -> None:
    film = Film(session, prompt="a red bar stays").extend("it stays in the scene of <ref1>")
    assert film.warnings == ("not followed: the scene (an extension stays in its video's)",)


def test_what_a_first_frame_shows_goes_on(session: Session) -> None:
    shown = Scene(7, random_scenery(np.random.default_rng(6)), (Named(0, 2), Pattern((1, 2, 3, 3))))
    frame = shown.frames(still(Take.at(0, [(1, 1), (6, 2)]).state), GRID)[0]
    film = Film(session, first=frame, prompt="the red bar moves right")
    assert (film.seen(0) == reading.labels(frame)[0]).all()
    end = film.seen(4)
    assert (end[2:4, 10:12] == shown.subjects[0].blocks(7)).all()
    assert (end[4:6, 12:14] == shown.subjects[1].blocks(7)).all()
    assert (end[-2:] == scenery(film, 0)).all()


@pytest.mark.parametrize("prompt", ["it moves right", "it moves right in the scene of <ref1>"])
def test_references_beside_a_first_frame_are_told_and_not_shown(prompt: str) -> None:
    family = SpriteFamily()
    shown = Scene(7, random_scenery(np.random.default_rng(6)), (Named(0, 2),))
    facts = family.read_frame(shown.frames(still(Take.at(0, [(1, 1)]).state), GRID)[0]).facts
    alone = Before(WIDE, facts=facts, first=True)
    beside = Before(WIDE, facts=facts, first=True, references=tuple(map(Reference, family.roles(prompt, 1))))
    told = family.read_prompt(prompt, seed=SEED, before=beside)
    untold = family.read_prompt(prompt, seed=SEED, before=alone)
    assert told.effective_prompts == untold.effective_prompts
    assert not untold.warnings
    assert told.warnings == (
        "not followed: the references (a video that is given its first frame shows what stands in that)",
    )


def test_segments_of_one_kind_are_stepped_together_as_alone(session: Session) -> None:
    family = SpriteFamily()

    def begun(seed: int) -> Denoising:
        before = Before(WIDE)
        (caption,) = family.read_prompt("", seed=seed, before=before).effective_prompts
        conditions = Conditions(WIDE, np.zeros((0, 0), np.float32), effective_prompt=caption, before=before)
        return family.start(conditions, seed=seed, segment=0, steps=2)

    together, alone = [begun(1), begun(2)], [begun(1), begun(2)]
    family.step(session, together)
    for state in alone:
        family.step(session, [state])
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.latents, other.latents, atol=1e-4)
