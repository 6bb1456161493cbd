"""Make the CRDs of the models: `python -m operators.api.schema` writes helm/longtake/crds, `--check` compares.

The API server takes structural schemas alone: no references, and no alternatives but of integer and text. Descriptions
are the docstrings, so `kubectl explain` says what the code says.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import BaseModel

from operators.api import engine_build, video_model, video_service
from operators.api.base import GROUP, VERSION

CRDS = Path(__file__).parents[2] / "helm" / "longtake" / "crds"
_HEADER = "# Made by `python -m operators.api.schema` from operators/api: change it there.\n"

Schema = dict[str, Any]
_NOTHING: tuple[Any, ...] = (None, [], {}, "")


def main() -> int:
    """Write the files, or with `--check` say which differ; 1 when one does."""
    parser = argparse.ArgumentParser(description="Generate the chart's CRDs from operators/api.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in files().items():
        path = CRDS / name
        if not path.is_file() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if check and stale:
        print(f"helm/longtake/crds: {', '.join(stale)} is out of date: run `make crds`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def files() -> dict[str, str]:
    """Text by file name."""
    plain = [json.loads(json.dumps(crd)) for crd in crds()]  # YAML would name what two places have in common
    return {
        f"{crd['metadata']['name']}.yaml": _HEADER + yaml.safe_dump(crd, sort_keys=False, width=120) for crd in plain
    }


def crds() -> list[Schema]:
    """All of them."""
    return [
        _crd(video_service, video_service.VideoService),
        _crd(engine_build, engine_build.EngineBuild),
        _crd(video_model, video_model.VideoModel),
    ]


def _crd(module: ModuleType, root: type[BaseModel]) -> Schema:
    """Of a module that says what the kind is called, which rules hold for all of it, and what `kubectl get` shows."""
    schema = structural(root.model_json_schema(by_alias=True))
    schema["required"] = ["spec"]
    schema["x-kubernetes-validations"] = list(module.ROOT_RULES)
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    kind, plural = module.KIND, module.PLURAL
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": [module.SHORT],
        "categories": ["longtake"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, "priority": priority}
            for name, type_, path, priority in module.COLUMNS
        ],
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def structural(schema: Mapping[str, Any]) -> Schema:
    """What the API server takes of pydantic's schema. Raises `TypeError` where it takes nothing like it."""
    return _flat(schema, schema.get("$defs", {}))


def _flat(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Schema:
    if "$ref" in schema:
        own = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**parts[schema["$ref"].rpartition("/")[2]], **own}
    flat: Schema = {}
    for name, value in schema.items():
        flat |= {found: part for found, part in _keyword(name, value, parts).items() if found not in flat}
    if flat.get("type") == "integer":
        flat.setdefault("format", "int64")
    return flat


def _keyword(name: str, value: Any, parts: Mapping[str, Any]) -> Schema:
    match name:
        case "title" | "$defs" | "examples":
            return {}
        case "description":
            return {name: " ".join(value.split())}
        case "properties":
            return {name: {field: _flat(part, parts) for field, part in value.items()}}
        case "items":
            return {name: _flat(value, parts)}
        case "additionalProperties":
            return _others(value, parts)
        case "anyOf":
            return _one_of([_flat(part, parts) for part in value])
        case "default":
            return {} if value in _NOTHING else {name: _said(value)}
    return {name: value}


def _said(value: Any) -> Any:
    """Of a default, without what says nothing: it would be told of as a change of resources that are there."""
    return {name: part for name, part in value.items() if part not in _NOTHING} if isinstance(value, dict) else value


def _others(value: Any, parts: Mapping[str, Any]) -> Schema:
    """Of an object whose fields have any name."""
    if isinstance(value, dict):
        return {"additionalProperties": _flat(value, parts)}
    return {"x-kubernetes-preserve-unknown-fields": True} if value else {}


def _one_of(choices: list[Schema]) -> Schema:
    """Of alternatives: one that may be left out, or integer and text."""
    real = [choice for choice in choices if choice.get("type") != "null"]
    if len(real) == 1:
        return real[0]
    if {choice.get("type") for choice in real} == {"integer", "string"}:
        return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    raise TypeError(f"no structural form: {choices}")


if __name__ == "__main__":
    sys.exit(main())
