"""The images: both ways to make them agree, and a front door needs nothing that its image leaves out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from helm.images.packages import LEFT_OUT, name_of, requirements
from operators.children.pods import pod_security
from serving.reports import read

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "helm" / "images"
BUILD, CONTAINERFILE = (IMAGES / "build").read_text(), (IMAGES / "Containerfile").read_text()
PROGRAM = f"""
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*LEFT_OUT, "ftfy", "tokenizers")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs a module, as the image has it: without what is left out."""


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def one(pattern: str, text: str) -> str:
    (found,) = set(re.findall(pattern, text, re.MULTILINE))
    return str(found)


def test_a_front_doors_image_has_all_that_is_required_but_what_runs_stages() -> None:
    required = {name_of(requirement) for requirement in project()["dependencies"]}
    common = {name_of(requirement) for requirement in requirements("common")}
    assert required - common == set(LEFT_OUT)
    assert "opentelemetry-sdk" in common
    assert {name_of(requirement) for requirement in requirements("operator")} == {"kopf", "kubernetes", "pyyaml"}


def test_both_ways_to_make_them_have_one_base_one_user_and_the_same_parts() -> None:
    assert one(r"--variant=minbase --include=\S+ (\w+)", BUILD) == one(r"^FROM debian:(\w+)-slim", CONTAINERFILE)
    included = one(r"--include=(\S+)", BUILD).split(",")
    first = one(r"^RUN .*--no-install-recommends (.*) && rm", CONTAINERFILE).split()
    assert first == included
    user = one(r"--config\.user (\S+)", BUILD)
    assert re.findall(r"^USER (\S+)", CONTAINERFILE, re.MULTILINE) == [user, "root"]
    assert user == f"{pod_security()['runAsUser']}:{pod_security()['runAsGroup']}"
    assert one(r"--config\.env (HOME=\S+)", BUILD) == one(r"^ENV (.*)", CONTAINERFILE)
    installed = re.findall(r"helm/images/install (\w+)", CONTAINERFILE)
    assert installed == re.findall(r"^  (\w+)\)", (IMAGES / "install").read_text(), re.MULTILINE)
    assert one(r"^ARG EXTRAS=(.*)", CONTAINERFILE) == one(r"\$\{EXTRAS:-(.*?)\}", (IMAGES / "install").read_text())
    copied = set(re.findall(r"^COPY (\w+) ", CONTAINERFILE, re.MULTILINE))
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) <= copied
    assert set(re.findall(r"--tag \S+:(\S+)", CONTAINERFILE)) == {project()["version"]}


def test_a_front_door_starts_without_what_its_image_leaves_out(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    environment = {
        **os.environ,
        "LONGTAKE_STORE": str(tmp_path / "store"),
        "LONGTAKE_GRPC__ADDRESS": "127.0.0.1:0",
        "LONGTAKE_HTTP__ADDRESS": "127.0.0.1:0",
    }
    command = [sys.executable, "-c", PROGRAM, "serving.frontdoor", "--reports", str(writer)]
    door = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[writer], stderr=subprocess.PIPE)
    os.close(writer)
    with os.fdopen(reader, "rb") as reports:
        told = reports.readline()
    door.send_signal(signal.SIGTERM)
    _, said = door.communicate(timeout=60)
    assert door.returncode == 0, said
    assert read(told).ready["grpc"].startswith("127.0.0.1:")


@pytest.mark.parametrize("module", ["operators", "serving.cli.main"])
def test_what_else_is_run_of_that_image_starts_too(module: str) -> None:
    command = [sys.executable, "-c", PROGRAM, module, "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
