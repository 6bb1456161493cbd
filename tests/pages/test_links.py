"""What the pages point at is there: files, headings, tests, targets of make, variables of the environment."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from operators import metrics as operator
from serving.gen.longtake.internal.v1 import director_pb2
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2
from serving.gen.xai.api.v1 import auth_pb2, batch_pb2, image_pb2, video_pb2
from serving.gen.xai.api.v1 import files_pb2 as xai_files_pb2
from serving.metrics import FRONT_DOOR, REPLICAS
from serving.settings import Settings
from tests.pages.markdown import ROOT, Page, pages

OTHERS = [Page(ROOT / "CHANGELOG.md"), *(Page(path) for path in sorted((ROOT / "loadtests").glob("*.md")))]
ELSEWHERE = {"CONFIG", "SERVER", "API_KEY", "TLS", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_SESSION_TOKEN", "LOG_STREAM"}
"""LONGTAKE_... that are no settings: docs/settings.md says who reads them."""
every_page = pytest.mark.parametrize("page", pages(), ids=str)


@cache
def names_of_tests() -> frozenset[str]:
    """All tests of the repository."""
    files = (ROOT / "tests").rglob("*.py")
    return frozenset(found for file in files for found in re.findall(r"def (test_\w+)", file.read_text()))


def broken_links(page: Page) -> list[str]:
    """Relative links that lead nowhere."""
    found = []
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (anchor and anchor not in Page(target).anchors):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*pages(), *OTHERS], ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    assert broken_links(page) == []


@every_page
def test_files_that_are_named_exist(page: Page) -> None:
    named = {span.partition("::")[0] for span in page.spans}
    ours = re.compile(r"(serving|engines|loadtests|tests|protos|docs)/[\w./-]+\.(py|md|proto|json|toml|binpb|png)")
    missing = [name for name in named if ours.fullmatch(name) and not (ROOT / name).exists()]
    assert missing == [], "name a file by its path from the top of the repository"


@every_page
def test_folders_that_are_named_exist(page: Page) -> None:
    named = {span.rstrip("/") for span in page.spans}
    folder = re.compile(r"(serving|loadtests|tests|protos|docs)(/[\w-]+)+")
    assert [name for name in named if folder.fullmatch(name) and not (ROOT / name).exists()] == []


@every_page
def test_tests_that_are_named_exist(page: Page) -> None:
    named = re.findall(r"(?<![\w/])test_\w+(?![\w.])", page.text)
    assert [name for name in named if name not in names_of_tests()] == []


@every_page
def test_variables_that_are_named_are_read(page: Page) -> None:
    known = {f"LONGTAKE_{name}" for name in ELSEWHERE}
    for group, field in Settings.model_fields.items():
        known.add(f"LONGTAKE_{group}".upper())
        known |= {f"LONGTAKE_{group}__{name}".upper() for name in getattr(field.annotation, "model_fields", ())}
    named = set(re.findall(r"LONGTAKE_[A-Z0-9_]*[A-Z0-9]", page.text))
    assert named - known == set()


@every_page
def test_settings_that_are_named_exist(page: Page) -> None:
    groups = {name: getattr(field.annotation, "model_fields", None) for name, field in Settings.model_fields.items()}
    named = [span.split(".") for span in page.spans if re.fullmatch(r"[a-z]+\.[a-z_]+", span)]
    wrong = [".".join(parts) for parts in named if (fields := groups.get(parts[0])) and parts[1] not in fields]
    assert [name for name in wrong if not name.endswith((".py", ".md"))] == []


@every_page
def test_metrics_that_are_named_exist(page: Page) -> None:
    known = {metric.name for metric in FRONT_DOOR} | {f"ray_{metric.name}" for metric in REPLICAS}
    for metric in (value for value in vars(operator).values() if isinstance(value, MetricWrapperBase)):
        (told,) = metric.describe()
        known.add(f"{told.name}_total" if told.type == "counter" else told.name)
    named = {name for span in page.spans for name in re.findall(r"^(?:ray_)?longtake_\w+", span)}
    assert named - known == set(), "serving/metrics.py has them; Ray puts `ray_` before its own"


@every_page
def test_methods_that_are_named_exist(page: Page) -> None:
    ours = (director_pb2, files_pb2, jobs_pb2, models_pb2, videos_pb2)
    files = (*ours, auth_pb2, batch_pb2, xai_files_pb2, image_pb2, video_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    known = {f"{service.full_name}/{method.name}" for service in services for method in service.methods}
    named = {span for span in page.spans if re.fullmatch(r"(longtake\.|xai_api\.)[\w.]+/[A-Z]\w+", span)}
    assert named - known == set()


def test_broken_links_are_told_from_whole_ones_and_from_examples(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "[a](#one--only-) [b](#two) [c](nowhere.md) [d](page.md#one--only-) [e](https://x.example/y) `[f](code)`\n\n"
        "# One & `only` ...\n\n```\n[g](block)\n```\n"
    )
    assert broken_links(Page(file)) == ["#two", "nowhere.md"]
