"""Both forms of the client are one: the same methods with the same arguments, answers and words."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client import AsyncClient, Client

ROOT = Path(__file__).parents[4]
SPECIAL = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__init__": "__init__"}


def public(form: type) -> set[str]:
    return {name for name in dir(form) if not name.startswith("_")}


def test_both_have_the_same_methods() -> None:
    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) >= 22


@pytest.mark.parametrize("name", [*sorted(public(Client)), *SPECIAL])
def test_a_method_takes_and_returns_the_same_in_both(name: str) -> None:
    sync = inspect.signature(getattr(Client, name))
    other = inspect.signature(getattr(AsyncClient, SPECIAL.get(name, name)))
    assert list(sync.parameters.values()) == list(other.parameters.values())
    assert sync.return_annotation == re.sub(r"^AsyncGenerator\[", "Generator[", other.return_annotation)


@pytest.mark.parametrize("name", sorted(public(Client)))
def test_a_method_says_the_same_in_both(name: str) -> None:
    sync, other = (inspect.getdoc(getattr(form, name)) or "" for form in (Client, AsyncClient))
    assert sync.partition(">>>")[0] == other.partition(">>>")[0] != ""


@pytest.mark.parametrize("form", [Client, AsyncClient])
def test_no_public_method_speaks_of_any(form: type) -> None:
    for name in public(form) | {"__init__"}:
        signature = inspect.signature(getattr(form, name))
        words = [str(each.annotation) for each in signature.parameters.values()] + [str(signature.return_annotation)]
        assert not [word for word in words if re.search(r"\bAny\b", word)], name


def test_it_loads_nothing_of_the_server_but_the_protos() -> None:
    code = "import json, sys, serving.client; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = [name for name in json.loads(found.stdout) if name.partition(".")[0] in ("serving", "engines", "loadtests")]
    assert {name.split(".")[1] for name in ours if "." in name} == {"client", "gen"}
