"""What of Longtake's dependencies is in which part of its images: `helm/images/install` asks, and hands it to pip.

    common      what a front door, the shell's commands and every stage import
    operator    Kubernetes' client and kopf: with `common`, the image `longtake`
    (ray        all of the project with EXTRAS: with `common`, the image `longtake-ray`; pip knows that by itself)

Standard library alone: a fresh Debian runs it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

LEFT_OUT: Final = ("onnxruntime", "ray", "safetensors")
"""Of the project's dependencies: what only Ray's pods import."""
_PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"


def requirements(part: str) -> list[str]:
    """In pip's notation. Raises `KeyError` for another part."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    common = [one for one in project["dependencies"] if name_of(one) not in LEFT_OUT]
    return {"common": [*common, *extras["traces"]], "operator": list(extras["operator"])}[part]


def name_of(requirement: str) -> str:
    """The package that a requirement is about."""
    return re.split(r"[\[~=<>!; ]", requirement, maxsplit=1)[0]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))  # noqa: T201
