"""Generate the tables of docs/settings.md from serving/settings.py: `make docs` runs it, `make lint` with `--check`.

What stands under a setting in the code is what the page says of it; bounds, defaults and examples come from the fields.
The page above the mark is written by hand and kept. Output is committed.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
MARK = "<!-- All below is made by `make docs` from serving/settings.py: change it there. -->"

Schema = Mapping[str, Any]


def main() -> int:
    """Write docs/settings.md, or with `--check` say that it differs; 1 when it does."""
    parser = argparse.ArgumentParser(description="Generate the tables of docs/settings.md from serving/settings.py.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is out of date")
    parser.add_argument("--page", type=Path, default=DOCS / "settings.md", help="where it lies")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from serving.settings import Settings

    present = arguments.page.read_text()
    wanted = page(Settings, present)
    if not arguments.check:
        arguments.page.write_text(wanted)
    elif present != wanted:
        print(f"{arguments.page} is out of date: run `make docs`", file=sys.stderr)
        return 1
    return 0


def page(settings: type[BaseModel], present: str) -> str:
    """The page `present` down to its mark, then the settings that stand alone, then each group of `settings`."""
    by_hand, mark, _ = present.partition(MARK)
    if not mark:
        raise ValueError(f"the page has no line {MARK!r}: what is above it is kept, so put it where the tables begin")
    schema = settings.model_json_schema()
    defs = schema.get("$defs", {})
    groups = {name: field.annotation for name, field in settings.model_fields.items() if is_group(field.annotation)}
    alone = [name for name in settings.model_fields if name not in groups]
    parts = [by_hand + mark, "## At the top", *section(settings, schema, defs, prefix="", names=alone)]
    for name, group in groups.items():
        parts += [f"## `{name}`", described(group)]
        parts += section(group, defs[group.__name__], defs, prefix=f"{name}.")
    return "\n\n".join(parts) + "\n"


def section(
    group: type[BaseModel], schema: Schema, defs: Schema, *, prefix: str, names: list[str] | None = None
) -> Iterator[str]:
    """A table of the group's settings (or of `names` among them), a TOML example, and the tables within."""
    names = names or list(group.model_fields)
    texts, fields = documented(group), schema["properties"]
    rows = ["| setting | default | allowed | what |", "|---|---|---|---|"]
    for name in names:
        if name not in texts:
            raise ValueError(
                f"setting `{prefix}{name}` says nothing: write a docstring under it in serving/settings.py"
            )
        first = f"`{prefix}{name}`"
        if "<" not in prefix:
            first += f"<br>`LONGTAKE_{(prefix + name).replace('.', '__').upper()}`"
        cells = (first, default(group, name), allowed(name, fields[name], defs), texts[name].replace("|", "\\|"))
        rows.append(f"| {' | '.join(cells)} |")
    yield "\n".join(rows)
    if "<" not in prefix:
        yield f"```toml\n{toml({name: example(group, name) for name in names}, prefix.rstrip('.'))}```"
    for name in names:
        within = fields[name].get("additionalProperties", {}).get("$ref")
        if within:
            inner = entry(group, name)
            path = f"{prefix}{name}.<{keyed_by(name, fields[name])}>"
            yield f"### `{path}`"
            yield described(inner)
            yield from section(inner, defs[inner.__name__], defs, prefix=f"{path}.")


def is_group(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether a setting is a group of settings."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def keyed_by(name: str, field: Schema) -> str:
    """What the names in a table are of: stages where only theirs may stand there, else what the table is called."""
    return "stage" if "enum" in field.get("propertyNames", {}) else name.removesuffix("s")


def entry(group: type[BaseModel], name: str) -> type[BaseModel]:
    """The group that each value of a table by name is."""
    value = get_args(group.model_fields[name].annotation)[1]
    assert is_group(value)
    return value


def described(group: type[BaseModel]) -> str:
    """Its docstring in one paragraph. Raises `ValueError` where there is none."""
    if not group.__doc__:
        raise ValueError(f"the group {group.__name__} says nothing: write its docstring in serving/settings.py")
    return " ".join((group.__doc__ or "").split())


def documented(group: type[BaseModel]) -> dict[str, str]:
    """Setting → the docstring under it, in one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(group))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found


def default(group: type[BaseModel], name: str) -> str:
    """As a reader writes it; the home folder as `~`."""
    value = group.model_fields[name].get_default(call_default_factory=True)
    if value is None or value == {}:
        return "none"
    if isinstance(value, str | Path):
        return f"`{str(value).replace(str(Path.home()), '~', 1)}`"
    return f"`{json.dumps(value)}`"


def example(group: type[BaseModel], name: str) -> Any:
    """A value to show: the field's own example, else its default."""
    field = group.model_fields[name]
    return field.examples[0] if field.examples else field.get_default(call_default_factory=True)


def allowed(name: str, field: Schema, defs: Schema) -> str:
    """What the value of a setting may be, in words, from its JSON schema."""
    if "$ref" in field:
        field = defs[field["$ref"].rpartition("/")[2]]
    if "anyOf" in field:
        return allowed(name, next(one for one in field["anyOf"] if one.get("type") != "null"), defs)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "object":
        names, values = field.get("propertyNames", {}), field["additionalProperties"]
        which = f" ({allowed(name, names, defs)})" if "enum" in names else ""
        values_are = "" if "$ref" in values else f": {allowed(name, values, defs)}"
        return f"a table by {keyed_by(name, field)}{which}{values_are}"
    words = {"string": "a path" if field.get("format") == "path" else "text", "boolean": "`true`, `false`"}
    return words.get(field["type"]) or bounds(field)


def bounds(field: Schema) -> str:
    """The least and most of a number."""
    kind = "a whole number" if field["type"] == "integer" else "a number"
    if "maximum" in field:
        return f"{kind}, {field['minimum']} to {field['maximum']}"
    if "exclusiveMinimum" in field:
        return f"{kind} above {field['exclusiveMinimum']}"
    return f"{kind}, {field['minimum']} or more" if "minimum" in field else kind


def toml(values: Mapping[str, Any], table: str) -> str:
    """A TOML table: plain values first, then the tables within, each under its full name."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"[{table}]\n"] if table and plain else []
    lines += [f"{name} = {json.dumps(value)}\n" for name, value in plain.items()]
    for name, value in values.items():
        if isinstance(value, Mapping):
            key = name if re.fullmatch(r"[\w-]+", name) else json.dumps(name)
            inner = toml(value, f"{table}.{key}" if table else key)
            lines.append(("\n" if lines else "") + inner)
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
