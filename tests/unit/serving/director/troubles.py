"""What goes wrong at a stage: `test_away.py` and `test_blame.py` give it to the stages of a `Bureau`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container

from serving.stage_names import StageName
from serving.stages.contracts import StageAway, StageLost

Trouble = Callable[[StageName, str], Awaitable[None]]


def refuses(stage: StageName) -> Trouble:
    """Its deployment failed: every call raises at once."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            raise StageAway("failed to deploy", cause="no_replica", stage=stage)

    return trouble


def kills(stage: StageName) -> Trouble:
    """Its machine's driver ends every process at its first call."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            await asyncio.sleep(0.1)
            raise StageLost("the worker died", stage=stage)

    return trouble


def kills_for(stage: StageName, poison: Container[str]) -> Trouble:
    """These jobs, or what they hand in, end their workers; all others are done."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            await asyncio.sleep(0.2)
            if whose in poison:
                raise StageLost("the worker died", stage=stage)

    return trouble
