"""What a segment's directions do to the stage, latent frame by latent frame.

Pure and exact: the planner knows where camera and subjects will be, so it writes out what a direction leaves open
("it goes on") and refuses what cannot be, and the net never has to guess. Training draws its plans with the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engines.families.sprite.stage import Moment, Place, State
from engines.families.sprite.world import RING, Grid

Camera = Literal["holds", "pans left", "pans right"]
Action = Literal["stays", "left", "right", "up", "down", "goes along", "goes on"]
CAMERAS: Final[tuple[Camera, ...]] = ("holds", "pans left", "pans right")
PANS: Final[dict[Camera, int]] = {"holds": 0, "pans left": -1, "pans right": 1}
STEPS: Final[dict[str, Place]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""(columns, rows) of one latent frame."""
SEGMENT_LATENTS: Final = 4


class RefusedError(ValueError):
    """Directions that this world cannot follow. The message says why, of the subject as `it`, and what to write."""


@dataclass(frozen=True)
class Take:
    """Where a video stands between two segments."""

    state: State
    headings: tuple[Place, ...]
    """(columns, rows) that each subject moves with; (0, 0) where it rests."""

    @classmethod
    def at(cls, offset: int, places: Sequence[Place]) -> Take:
        """The beginning of a video: everything rests."""
        return cls(State(offset, tuple(places)), tuple((0, 0) for _ in places))


def written_out(take: Take, actions: Sequence[Action | None], camera: Camera, grid: Grid) -> tuple[Action, ...]:
    """The actions with nothing left open: "goes on", and None for a subject that is not mentioned, are written out.

    While the camera holds a subject goes on as it moves; while it pans, and off-screen, it waits.
    Raises `RefusedError` for an action that cannot be.
    """
    result: list[Action] = []
    for subject, action in enumerate(actions):
        off_screen = take.state.column_on_screen(subject) >= grid.cols
        if action in (None, "goes on"):
            at_rest = camera != "holds" or off_screen
            result.append("stays" if at_rest else _action_of(take.headings[subject]))
        elif action == "stays":
            result.append("stays")
        elif off_screen:
            raise RefusedError(
                f"it is off-screen and waits there: {_way_to(take.state.column_on_screen(subject), grid)}"
            )
        elif camera == "holds" and action == "goes along":
            raise RefusedError("it goes along only while the camera pans: say `the camera pans left` or `right`")
        elif camera != "holds" and action != "goes along":
            raise RefusedError(f"while the camera {camera} it can wait (`stays`) or go along (`goes along`)")
        else:
            result.append(action)
    return tuple(result)


def perform(
    take: Take, actions: Sequence[Action], camera: Camera, grid: Grid, latents: int = SEGMENT_LATENTS
) -> tuple[tuple[Moment, ...], Take]:
    """Act out written-out actions: the moments of one segment, and where it leaves the video.

    Raises `RefusedError` where the subjects would meet.
    """
    pan, state = PANS[camera], take.state
    headings = [STEPS.get(action, (pan, 0) if action == "goes along" else (0, 0)) for action in actions]
    moments: list[Moment] = []
    for _ in range(latents):
        places = []
        for subject, place in enumerate(state.places):
            if not pan:
                headings[subject] = _turned(headings[subject], state.column_on_screen(subject), place[1], grid)
            dx, dy = headings[subject]
            places.append(((place[0] + dx) % RING, place[1] + dy))
        after = State((state.offset + pan) % RING, tuple(places))
        moment = Moment(state, after, pan)
        if _meet(moment):
            raise RefusedError(
                "the two subjects would meet: let one of them stay, or send them along different rows or columns"
            )
        moments.append(moment)
        state = after
    resting: list[Place] = [(0, 0)] * len(headings)
    return tuple(moments), Take(state, tuple(resting if pan else headings))


def _way_to(col: int, grid: Grid) -> str:
    """What brings the column that is so far right of the frame's left edge into it soonest."""
    left, right = RING - col, col - grid.cols + 1
    way, seconds = ("left", left) if left < right else ("right", right)
    count = -(-seconds // SEGMENT_LATENTS)
    return f"`the camera pans {way}` for {count} second{'s' * (count > 1)} brings it into the frame"


def _action_of(heading: Place) -> Action:
    names: dict[Place, Action] = {(0, 0): "stays", (-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}
    return names[heading]


def _turned(heading: Place, col: int, row: int, grid: Grid) -> Place:
    """The heading after the frame's walls: a subject that would leave the sky turns back."""
    dx, dy = heading
    if not 0 <= col + dx < grid.cols and dx:
        dx = -dx
    if not 0 <= row + dy < grid.sky_rows:
        dy = -dy
    return dx, dy


def _meet(moment: Moment) -> bool:
    """Whether two subjects touch the same place of the world within the moment."""
    if moment.pan and all(moment.moves(subject) for subject in range(len(moment.after.places))):
        return False  # both go along: nothing changes between them
    touched = [{a, b} for a, b in zip(moment.before.places, moment.after.places, strict=True)]
    return len(touched) == 2 and not touched[0].isdisjoint(touched[1])
