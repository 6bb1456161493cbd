"""The directory store against a dictionary: any order of calls gives what the dictionary gives."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from serving.errors import Conflict, NotFound
from serving.store.base import Versioned
from serving.store.directory import DirectoryStore

KEYS = st.sampled_from(["a", "b/a", "b/c/d", "b/c/e", "b/d"])
BODIES = st.binary(max_size=4)


class StoreAgainstDictionary(RuleBasedStateMachine):
    """Creates, swaps, deletes, reads and lists."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._store = DirectoryStore(Path(self._folder.name))
        self._model: dict[str, bytes] = {}
        self._versions: dict[str, str] = {}
        """The newest version that was seen of each key; stale when another rule has written since."""
        self._runner = asyncio.Runner()
        self._do(self._store.open)

    def _do(self, call: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> Any:
        return self._runner.run(call(*args))

    @rule(key=KEYS, body=BODIES)
    def create(self, key: str, body: bytes) -> None:
        assert self._do(self._store.put_if_absent, key, body) is (key not in self._model)
        self._model.setdefault(key, body)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        if key in self._model:
            found: Versioned = self._do(self._store.get, key)
            assert found.data == self._model[key]
            self._versions[key] = found.version
        else:
            with pytest.raises(NotFound):
                self._do(self._store.get, key)

    @rule(key=KEYS, body=BODIES)
    def swap_what_was_read(self, key: str, body: bytes) -> None:
        if key in self._model:
            version = self._do(self._store.get, key).version
            assert self._do(self._store.swap, key, body, version) == self._do(self._store.get, key).version
            self._model[key] = body
        else:
            with pytest.raises(NotFound):
                self._do(self._store.swap, key, body, self._versions.get(key, "0" * 64))

    @rule(key=KEYS, body=BODIES)
    def swap_a_wrong_version(self, key: str, body: bytes) -> None:
        if key in self._model:
            with pytest.raises(Conflict):
                self._do(self._store.swap, key, body, "0" * 64)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self._do(self._store.delete, key)
        self._model.pop(key, None)

    @rule(prefix=st.sampled_from(["", "b", "b/", "b/c", "b/c/", "x"]), after=st.sampled_from(["", "a", "b/c", "b/c/d"]))
    def list(self, prefix: str, after: str) -> None:
        async def keys() -> list[str]:
            return [entry.key async for entry in self._store.list(prefix, after=after)]

        assert self._do(keys) == sorted(key for key in self._model if key.startswith(prefix) and key > after)

    def teardown(self) -> None:
        self._runner.close()
        self._folder.cleanup()


TestStoreAgainstDictionary = StoreAgainstDictionary.TestCase
TestStoreAgainstDictionary.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
