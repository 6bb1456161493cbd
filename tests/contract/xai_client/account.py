"""Models, keys, batches, and calls without a right key, through the public client. `test_xai_account.py` runs it."""

from __future__ import annotations

from typing import Any

from session import main, refused, settle


async def models(client: Any) -> dict[str, Any]:
    """The lists, and single models."""
    images = await settle(client.models.list_image_generation_models())
    one = await settle(client.models.get_image_generation_model(images[0].name))
    return {
        "language": len(await settle(client.models.list_language_models())),
        "embedding": len(await settle(client.models.list_embedding_models())),
        "images": [model.name for model in images],
        "same": one == images[0],
        "prompt": one.max_prompt_length,
        "no_language": await refused(lambda: client.models.get_language_model("x")),
        "no_embedding": await refused(lambda: client.models.get_embedding_model("x")),
        "no_image": await refused(lambda: client.models.get_image_generation_model("x")),
    }


async def key(client: Any) -> dict[str, Any]:
    """What the client is told of its key."""
    info = await settle(client.auth.get_api_key_info())
    return {"redacted": info.redacted_api_key, "name": info.name, "team": info.team_id, "id": info.api_key_id}


async def batches(client: Any) -> dict[str, Any]:
    """Every batch call."""
    batch = client.batch
    prepared = [client.video.prepare("x", "", batch_request_id="1")]
    cases: dict[str, Any] = {
        "create": lambda: batch.create("name"),
        "get": lambda: batch.get("b"),
        "list": batch.list,
        "cancel": lambda: batch.cancel("b"),
        "add": lambda: batch.add("b", prepared),
        "metadata": lambda: batch.list_batch_requests("b"),
        "results": lambda: batch.list_batch_results("b"),
    }
    return {name: await refused(case) for name, case in cases.items()}


async def upload(client: Any) -> dict[str, Any]:
    """One upload, and one other call."""
    return {
        "upload": await refused(lambda: client.files.upload(b"x", filename="x")),
        "list": await refused(client.files.list),
    }


if __name__ == "__main__":
    main(models, key, batches, upload)
