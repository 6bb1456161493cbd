"""How much work waits and runs, in predicted seconds: what the stages of each model are scaled by. Pure.

`director.py` asks, for Serve's policy (`deployments/autoscale.py`) and the metrics.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from serving.director.queue.in_hand import InHand, by_model
from serving.director.queue.tickets import UNREAD, Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.estimates import Estimates
from serving.stage_names import DENOISER, RENDERER, STAGES, StageName

SMALL_STAGES_S = 0.01
"""What a segment costs the stages that are not measured: they are quick."""
MOST_LOOKED_AT = 1000


class Backlog(NamedTuple):
    """What there is to do for one model."""

    seconds: dict[StageName, float]
    """Predicted work that waits or runs, by stage."""
    jobs: float
    """How many have it."""


def backlogs(
    models: Collection[str], waiting: WaitingJobs, running: Collection[InHand], estimates: Estimates
) -> dict[str, Backlog]:
    """Of each of these models. Of a long line a part is looked at; jobs whose records are unread are taken to be of the
    models in proportion to all others.
    """
    hands = by_model(running)
    known = {model: waiting.line(model).count + len(hands.get(model, ())) for model in models}
    unread, all_known = waiting.line(UNREAD).count, sum(known.values())
    shares = {model: count / all_known if all_known else 1 / len(known) for model, count in known.items()}
    return {
        model: _backlog(
            waiting.some(model, MOST_LOOKED_AT), hands.get(model, []), count + unread * shares[model], estimates
        )
        for model, count in known.items()
    }


def _backlog(waiting: Collection[Waiting], running: Collection[InHand], count: float, estimates: Estimates) -> Backlog:
    """Of one model, of which `count` jobs wait and run, these among them."""
    known = [job.course for job in waiting if job.course is not None]
    denoised = [*(job.course for job in running), *known]
    # A segment is denoised some time before it is rendered, and only then does the record count it.
    rendered = [*(job.course.at(job.record.steps_done) for job in running), *known]
    if not denoised:
        return Backlog(dict.fromkeys(STAGES, count), count)
    more = count / len(denoised)
    small = SMALL_STAGES_S * sum(count for course in rendered for _, count in course.ahead())
    seconds: dict[StageName, float] = {
        **dict.fromkeys(STAGES, small),
        DENOISER: sum(map(estimates.remaining, denoised)),
        RENDERER: sum(map(estimates.rendering, rendered)),
    }
    return Backlog({stage: work * more for stage, work in seconds.items()}, count)
