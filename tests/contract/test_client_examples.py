"""The examples in the docstrings of the Python client, run as they stand against a real front door."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import serving.client
from serving.client import AsyncClient, Client, Video, create_request
from tests.contract.longtake_door import Client as Door
from tests.contract.longtake_door import opened, settings_for
from tests.contract.sample_media import CAT

pytestmark = pytest.mark.anyio
Names = dict[str, Any]


@pytest.fixture(scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory, one_event_loop: None) -> AsyncIterator[Door]:
    async with opened(settings_for(tmp_path_factory.mktemp("door"))) as door:
        yield door


@pytest.fixture
async def names(door: Door, tmp_path: Path) -> Names:
    """What the examples may name, beside all that `serving.client` offers."""
    (tmp_path / "cat.png").write_bytes(CAT)
    names = {name: getattr(serving.client, name) for name in serving.client.__all__}
    names |= {"server": door.door.grpc_address, "folder": tmp_path, "picture": tmp_path / "cat.png"}
    async with AsyncClient(door.door.grpc_address) as client:
        video = await client.create(create_request("a red circle", seconds=1))
        pictures = await client.create(create_request("a cat", kind=Video.KIND_IMAGE, images=2))
        names |= {"video": (await client.wait(video.id)).id, "pictures": (await client.wait(pictures.id)).id}
        names["file"] = (await client.upload(tmp_path / "cat.png")).id
    return names


async def run(where: str, docstring: str, names: Names) -> int:
    """Run each example of a docstring; `await` may stand at its top. How many there were."""
    examples = doctest.DocTestParser().get_examples(docstring)
    for example in examples:
        code = compile(example.source, where, "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        got = await _shown(code, names)
        want = example.exc_msg if example.exc_msg is not None else example.want
        same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
        assert same, f"{where}: {example.source}wanted: {want}got: {got}"
    return len(examples)


async def _shown(code: CodeType, names: Names) -> str:
    """The values of an example, or its error. It runs in a thread, for what blocks must not block the server."""
    shown: list[str] = []
    # Not what is printed: the server's log would be among it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "displayhook", lambda value: shown.append(f"{value!r}\n") if value is not None else None)
        try:
            result = await asyncio.to_thread(eval, code, names)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001  (an example may show one)
            return "".join(traceback.format_exception_only(error))
    return "".join(shown)


async def test_the_examples_of_the_module_and_of_creates_run(names: Names) -> None:
    assert serving.client.__doc__
    assert await run("serving.client", serving.client.__doc__, names) >= 5
    assert await run("create_request", create_request.__doc__ or "", names) == 2


@pytest.mark.parametrize("form", [Client, AsyncClient])
async def test_every_public_method_has_an_example_that_runs(
    door: Door, names: Names, form: type[Client | AsyncClient]
) -> None:
    assert await run(form.__name__, form.__doc__ or "", names) == 1
    door.director.open = False
    try:
        async with contextlib.AsyncExitStack() as stack:
            client: Client | AsyncClient
            if form is AsyncClient:
                client = await stack.enter_async_context(AsyncClient(names["server"]))
            else:
                client = stack.enter_context(Client(names["server"]))
            waiting = await asyncio.to_thread(_waiting, names["server"])
            names |= {"client": client, "waiting": waiting}
            for name, method in _public(form).items():
                count = await run(f"{form.__name__}.{name}", inspect.getdoc(method) or "", names)
                assert count or name == "close", f"{name} has no example"
    finally:
        door.director.open = True


def _waiting(server: str) -> str:
    with Client(server) as client:
        return client.create(create_request("x", seconds=1)).id


def _public(form: type[Client | AsyncClient]) -> dict[str, Callable[..., object]]:
    """In the order in which they are written."""
    return {name: member for name, member in vars(form).items() if callable(member) and not name.startswith("_")}
