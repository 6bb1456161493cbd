"""A client that says nothing for longer than a stock server bears its pings. `test_xai_keepalive.py` runs it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from session import main, refused


async def silence(client: Any) -> dict[str, Any]:
    """One call, silence, one call on the same channel."""
    before = await refused(lambda: client.auth.get_api_key_info())
    await asyncio.sleep(float(os.environ["IDLE_S"]))
    return {"before": before["code"], "after": await refused(lambda: client.auth.get_api_key_info())}


if __name__ == "__main__":
    main(silence)
