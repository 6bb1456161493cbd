"""What a group of tasks raised, told to callers that wait for one kind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import Conflict, LongtakeError, SettingsError, alone


def test_the_first_of_a_kind_is_found_however_deep_it_lies() -> None:
    lost, other = Conflict("lost"), ValueError("other")
    assert alone(ExceptionGroup("", [other, ExceptionGroup("", [lost])]), LongtakeError) is lost


def test_a_group_without_one_stays_the_group() -> None:
    group = ExceptionGroup("", [ValueError(), SettingsError("it")])
    assert alone(group, Conflict) is group


def test_nothing_is_raised_inside_of_except_star() -> None:
    """It would come out in a group on Python before 3.11.4, which Debian 12 has."""
    root = Path(__file__).parents[3]
    sources = [path for room in ("serving", "engines") for path in (root / room).rglob("*.py")]
    assert not [path for path in sources if re.search(r"^ +except\* ", path.read_text(), re.MULTILINE)]


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="/usr/bin/python3 is not there")
def test_a_systems_own_python_sees_the_kind() -> None:
    code = """
import asyncio, importlib.util, sys
spec = importlib.util.spec_from_file_location("errors", sys.argv[1])
errors = importlib.util.module_from_spec(spec); spec.loader.exec_module(errors)
async def run():
    async def fails(): raise errors.Conflict("it")
    try:
        async with asyncio.TaskGroup() as group: group.create_task(fails())
    except BaseExceptionGroup as failed:
        raise errors.alone(failed, errors.Conflict) from None
try: asyncio.run(run())
except errors.Conflict: print("seen")
"""
    source = Path(sys.modules["serving.errors"].__file__ or "")
    said = subprocess.run(["/usr/bin/python3", "-c", code, str(source)], capture_output=True, text=True, check=False)
    if "SyntaxError" in said.stderr or "NameError" in said.stderr:
        pytest.skip("/usr/bin/python3 is older than 3.11")
    assert said.stdout == "seen\n", said.stderr
