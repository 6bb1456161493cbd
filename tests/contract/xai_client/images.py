"""Images through the public client. `test_xai_image.py` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from session import fetch, main, refused, settle


async def samples(client: Any) -> dict[str, Any]:
    """By URL and as base64, one and several."""
    by_url = await settle(client.image.sample("a red circle", "", aspect_ratio="16:9", resolution="1k"))
    inline = await settle(client.image.sample("a red circle", "", image_format="base64"))
    several = await settle(client.image.sample_batch("a red circle", "", n=3, image_format="url"))
    image = await settle(inline.image)
    stored = fetch(by_url.url)
    return {
        "model": by_url.model,
        "respect_moderation": by_url.respect_moderation,
        "cost": by_url.cost_usd,
        "fetched": [stored["status"], stored["headers"]["content-type"], stored["body"][:8].hex()],
        "sdk_fetched": (await settle(by_url.image))[:8].hex(),
        "inline": [inline.base64[:22], image[:8].hex()],
        "several": len({picture.url for picture in several}),
    }


async def kept(client: Any) -> dict[str, Any]:
    """Kept as files."""
    pictures = await settle(
        client.image.sample_batch(
            "a red circle", "", n=2, storage_options={"filename": "circle.png", "public_url": True}
        )
    )
    content = await settle(client.files.content(pictures[1].file_output.file_id))
    return {
        "names": [picture.file_output.filename for picture in pictures],
        "content": content[:8].hex(),
        "public": fetch(pictures[0].public_url)["headers"]["content-type"],
    }


async def references(client: Any) -> dict[str, Any]:
    """Input pictures."""
    data_url = Path("cat.dataurl").read_text()
    file = await settle(client.files.upload(Path("cat.png").read_bytes(), filename="cat.png"))
    one = await settle(client.image.sample("it", "", image_url=data_url))
    two = await settle(client.image.sample("it", "", image_file_ids=[file.id]))
    return {"urls": [bool(one.url), bool(two.url)]}


async def refusals(client: Any) -> dict[str, Any]:
    """What cannot be met."""
    image = client.image
    cases: dict[str, Any] = {
        "n_zero": lambda: image.sample_batch("x", "", n=0),
        "n_many": lambda: image.sample_batch("x", "", n=11),
        "aspect_ratio": lambda: image.sample("x", "", aspect_ratio="9:19.5"),
        "quality": lambda: image.sample("x", "", quality="medium"),
        "model": lambda: image.sample("x", "no-such-model"),
        "failed": lambda: image.sample("fail", ""),
    }
    return {name: await refused(case) for name, case in cases.items()}


if __name__ == "__main__":
    main(samples, kept, references, refusals)
