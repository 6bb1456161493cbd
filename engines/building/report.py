"""What a comparison found, as the papers that lie beside the engines: JSON for programs, a page for people.

`build.py` and `longtake engines verify` make them when they publish; `longtake engines report` and `explain` show them.
"""

from __future__ import annotations

import json
from typing import Any, Final

from engines.blobs import PAGE, REPORT
from engines.building import report_page
from engines.building.parity import Difference, Levels
from engines.building.verify import Compared
from engines.manifest import Manifest

FORMAT: Final = 1


def papers(manifest: Manifest, compared: Compared, against: str) -> dict[str, bytes]:
    """Report and page, by name. `against` says what the engines were compared with."""
    told = as_json(manifest, compared, against)
    page = report_page.page(told, compared)
    return {REPORT: (json.dumps(told, indent=1) + "\n").encode(), PAGE: page.encode()}


def as_json(manifest: Manifest, compared: Compared, against: str) -> dict[str, Any]:
    """In plain values; what is no number is null."""
    parity = compared.parity
    return {
        "format": FORMAT,
        "model": manifest.model,
        "variant": manifest.variant,
        "digest": manifest.digest,
        "against": against,
        "runtime": {"name": manifest.runtime, "built_with": dict(manifest.verified_with)},
        "components": [
            {
                "component": row.component,
                "precision": parity.precision(row.component),
                "batch": row.batch,
                **_difference(row.difference),
                "allowed": _difference(parity.band(row.component).call),
            }
            for row in parity.rows
        ],
        "latents": {**_difference(parity.run), "allowed": _difference(parity.widest.run)},
        "pixels": {**_levels(parity.frames), "allowed": _levels(parity.widest.frames)},
        "problems": parity.problems(),
    }


def lines(told: dict[str, Any]) -> list[str]:
    """A report as a table to read: largest and mean difference, relative, and how far the cosine is from one."""
    rows = [("", "", "B", "largest", "mean", "1 - cosine")]
    rows += [(row["component"], row["precision"], str(row["batch"]), *_numbers(row)) for row in told["components"]]
    rows.append(("whole runs", "", "", *_numbers(told["latents"])))
    found = [f"{a:<20} {b:<9} {c:>3} {d:>9} {e:>9} {f:>10}".rstrip() for a, b, c, d, e, f in rows]
    pixels = told["pixels"]
    return [*found, f"{'pixels':<20} {_level(pixels['largest'])} levels of 255, {_level(pixels['mean'])} in the mean"]


def _numbers(row: dict[str, Any]) -> tuple[str, str, str]:
    largest, mean, angle = (
        "none" if row[name] is None else f"{row[name]:.1e}" for name in ("largest", "mean", "one_minus_cosine")
    )
    return largest, mean, angle


def _level(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"


def _difference(value: Difference) -> dict[str, float | None]:
    return dict(zip(("largest", "mean", "one_minus_cosine"), map(_number, value), strict=True))


def _levels(value: Levels) -> dict[str, float | None]:
    return dict(zip(("largest", "mean"), map(_number, value), strict=True))


def _number(value: float) -> float | None:
    return value if value == value else None  # noqa: PLR0124  (NaN is no JSON)
