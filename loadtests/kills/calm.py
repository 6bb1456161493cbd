"""What is made in peace before anything is struck: what other jobs start from, and each kind of job, for its bytes."""

from __future__ import annotations

import asyncio

from loadtests.kills.specs import BASE_PICTURE, BASE_VIDEO, SPECS, Base, Spec
from loadtests.kills.verify import digest
from serving.client import AsyncClient
from serving.jobs.repository import Jobs
from serving.store.base import Store


async def make_base(client: AsyncClient) -> Base:
    """What this client's tenant extends and shows."""
    video = await client.wait((await client.create(BASE_VIDEO.request(None))).id)
    picture = await client.wait((await client.create(BASE_PICTURE.request(None))).id)
    return Base(video.id, picture.image_urls[0])


async def undisturbed(client: AsyncClient, store: Store, tenant: str, base: Base) -> dict[Spec, str]:
    """Every spec, and the digest of all that came of it."""

    async def made(spec: Spec) -> str:
        video = await client.wait((await client.create(spec.request(base))).id)
        return await digest(store, await Jobs(store).get(tenant, video.id))

    return dict(zip(SPECS, await asyncio.gather(*map(made, SPECS)), strict=True))
