"""Starts that the client sends again by itself. `test_xai_retries.py` runs it."""

from __future__ import annotations

from typing import Any

from session import main, settle


async def twice(client: Any) -> dict[str, Any]:
    """Two equal starts that the caller means as two, while the server loses the first answer of each."""
    first = await settle(client.video.start("hang", "", duration=1))
    second = await settle(client.video.start("hang", "", duration=1))
    return {"ids": [first.request_id, second.request_id]}


if __name__ == "__main__":
    main(twice)
