"""The alerts: each has a page that tells what to do, counts what there is, and fires when it must and not else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators import metrics as operator
from serving.metrics import FRONT_DOOR, REPLICAS
from tests.servers import program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "longtake" / "files" / "alerts.yaml"
needs_promtool = pytest.mark.skipif(program("promtool") is None, reason="promtool is not on the PATH")

Alert = dict[str, Any]


def rules() -> list[Alert]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert", rule.get("record"))))
def test_it_counts_what_there_is(rule: Alert) -> None:
    known = {metric.name for metric in FRONT_DOOR} | {f"ray_{metric.name}" for metric in REPLICAS}
    known |= {
        told.name for gauge in (operator.READY, operator.TAKEN_BACK, operator.WAITING) for told in gauge.describe()
    }
    named = set(re.findall(r"\b(?:ray_)?longtake_(?!dev_service)\w+", rule["expr"]))
    assert {name.removesuffix("_bucket") for name in named} <= known
    if "alert" in rule:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_each_alert_fires_when_it_must_and_not_else() -> None:
    tried = Path(__file__).parent / "alerts_test.yaml"
    expected = yaml.safe_load(tried.read_text())["tests"]
    fired = {case["alertname"] for test in expected for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}, "each alert is to fire in one of the tests"
    checked = subprocess.run(["promtool", "test", "rules", str(tried)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
