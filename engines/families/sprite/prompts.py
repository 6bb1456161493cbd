"""A request's prompt, read for all its seconds: what `family.py` answers to whoever asks for captions.

`captions` reads the words, `planner` makes of each second what is filmed. Pure.
"""

from __future__ import annotations

from engines.families.base import PromptReading
from engines.families.capabilities import Role
from engines.families.history import Before
from engines.families.sprite import captions, planner
from engines.families.sprite.history import decode
from engines.families.sprite.planner import Planned
from engines.families.sprite.script import LAST, Script, Second
from engines.families.sprite.world import SUBJECTS_MAX, grid_of


def roles(prompt: str, references: int) -> tuple[Role, ...]:
    """What each picture is taken for. Raises `ValueError`, which names the field, for one that has no place."""
    scene = captions.parse(prompt).scene
    if scene is not None and not references:
        raise ValueError("prompt: it names a scene's picture, and no reference is given")
    if scene == LAST:
        scene = references - 1
    if scene is not None and scene >= references:
        raise ValueError(f"prompt: it calls picture {scene + 1} the scene, and {references} are given")
    if references - (scene is not None) > SUBJECTS_MAX:
        raise ValueError(
            f"references: {references} pictures are more than the {SUBJECTS_MAX} subjects that this model shows; say "
            "in the prompt which one is the scene, as in `the scene of <ref3>`"
        )
    return tuple("scene" if number == scene else "subject" for number in range(references))


def read(prompt: str, *, seed: int, before: Before, segments: int) -> PromptReading:
    """The captions of so many segments. What the prompt says for none of them, goes on as it was."""
    script = captions.parse(prompt)
    grid = grid_of((before.canvas.height, before.canvas.width))
    seconds = [*script.seconds[:segments], *(Second() for _ in range(segments - len(script.seconds)))]
    facts = decode(before.facts).facts if before.facts else None
    planned: list[Planned] = []
    for second in seconds:
        if facts is None:
            one = planner.begin(
                second, seed=seed, grid=grid, references=_subjects(before), scene_sky=_scene_sky(before)
            )
        else:
            one = planner.extend(facts, second, seed=seed, grid=grid)
        facts = one.facts
        planned.append(one)
    warnings = [*_untold(script, planned[0], before), *_unshown(script, before), *_of_seconds(planned)]
    if len(script.seconds) > segments:
        made = f"{segments} {'is' if segments == 1 else 'are'} made"
        warnings.append(
            f"not followed: the prompt directs {len(script.seconds)} seconds, and {made}: a sentence, or what `then` "
            "begins, directs one"
        )
    return PromptReading(
        tuple(one.effective_prompt for one in planned), script.understood, script.ignored, tuple(warnings)
    )


def _subjects(before: Before) -> list[int]:
    return [number for number, reference in enumerate(before.references) if reference.role == "subject"]


def _scene_sky(before: Before) -> str | None:
    return next((reference.facts for reference in before.references if reference.role == "scene"), None)


def _untold(script: Script, first: Planned, before: Before) -> list[str]:
    if script.understood or before.facts:
        return []
    return [f"this model knows no word of the prompt: {first.effective_prompt!r} was drawn from the seed"]


def _unshown(script: Script, before: Before) -> list[str]:
    if before.latents and script.scene is not None:
        return ["not followed: the scene (an extension stays in its video's)"]
    if not (before.first and before.references):
        return []
    return ["not followed: the references (a video that is given its first frame shows what stands in that)"]


def _of_seconds(planned: list[Planned]) -> list[str]:
    """What each second warns of; where there are several, with its number."""
    if len(planned) == 1:
        return list(planned[0].warnings)
    return [f"second {number}: {warning}" for number, one in enumerate(planned, 1) for warning in one.warnings]
