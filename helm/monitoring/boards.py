"""All dashboards, by their names."""

from __future__ import annotations

from typing import Final

from helm.monitoring import frontdoors, operations, stages

BOARDS: Final = {board.name: board for board in (operations.BOARD, stages.BOARD, frontdoors.BOARD)}
