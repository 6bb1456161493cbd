"""Which models the Director's replica serves, by what its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from serving.deployments.director_models import DirectorModels, Told
from serving.director.served import Served
from serving.store.open import open_store

TOLD = Told(slots=1, denoisers=1, renderers=1, kept=[])


@pytest.mark.anyio
async def test_the_stages_of_another_name_of_a_model_do_not_come_in_the_place_of_its_own(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path), probe=False)
    heard: list[Mapping[str, Served]] = []
    models = DirectorModels(store, heard.append)

    await models.tell({"sprite-2": TOLD})
    await models.tell({"sprite-2": TOLD, "sprite": TOLD})
    await models.tell({"sprite-2": TOLD})

    assert [list(served) for served in heard] == [["sprite-2"]] * 3
    assert len({id(served["sprite-2"].stages) for served in heard}) == 1
    await store.close()
