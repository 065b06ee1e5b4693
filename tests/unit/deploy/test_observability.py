"""Dashboard and alert rules: they parse, name metrics that exist, do what they promise, and lead to the runbook."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.metrics import OBSERVABILITY, expressions, names_in, our_metrics, panels, rules

RUNBOOK = Path(__file__).parents[3] / "docs" / "operating.md"
RULES, TESTS = OBSERVABILITY / "closedwon.rules.yml", OBSERVABILITY / "closedwon.rules.test.yml"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on PATH; on Debian it is in the package `prometheus`"
)


def _promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *arguments], cwd=OBSERVABILITY, capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_that_is_named_exists(where: str, expression: str) -> None:
    """A metric that was renamed would leave a panel empty and an alert silent, and nobody would notice."""
    named = names_in(expression)
    ours = {metric.name for metric in our_metrics()}

    assert named, where
    assert {name for name in named if not name.startswith("temporal_")} <= ours


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_label_that_is_named_exists(where: str, expression: str) -> None:
    """A label that does not exist matches nothing, or lumps together what is to be told apart."""
    metrics = [metric for metric in our_metrics() if metric.name in names_in(expression)]
    known = {label for metric in metrics for label in metric.labels} | {"instance", "le", "service", "workflow_type"}
    matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    grouped = [word for group in re.findall(r"(?:by|on) \(([\w, ]*)\)", expression) for word in group.split(", ")]

    assert {*matched, *filter(None, grouped)} <= known, where


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_every_alert_says_what_it_harms_and_leads_to_its_section(rule: dict[str, Any]) -> None:
    """Whoever is woken by it reads at once what is at stake, and what to do."""
    notes = rule["annotations"]
    page, _, anchor = notes["runbook_url"].partition("#")
    sections = {title.lower() for title in re.findall(r"^### (\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)}

    assert {"summary", "harm", "runbook_url"} == set(notes)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert ("docs/operating.md", rule["alert"].lower()) == (page, anchor)
    assert anchor in sections


def test_every_section_of_the_runbook_has_its_alert() -> None:
    """An alert that was taken away leaves nothing behind."""
    sections = re.findall(r"^### (Closedwon\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert [rule["alert"] for rule in rules()] == sections


def test_every_alert_is_seen_to_fire() -> None:
    """No rule goes without a test in which it fires."""
    cases = yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in cases for case in test.get("alert_rule_test", ()) if case["exp_alerts"]}
    assert {rule["alert"] for rule in rules()} == fired


@needs_promtool
def test_the_rules_do_what_they_promise() -> None:
    """Prometheus's own tool reads rules and configuration, and plays the tests."""
    assert f"SUCCESS: {len(rules())} rules found" in _promtool("check", "rules", RULES)
    assert "SUCCESS" in _promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in _promtool("test", "rules", TESTS)


@needs_promtool
def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    """Prometheus understands what the panels ask."""
    asked = [{"record": "panel", "expr": expression, "labels": {"at": where}} for where, expression in expressions()]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": asked}]}), encoding="utf-8")

    assert f"{len(asked)} rules found" in _promtool("check", "rules", "--lint=none", file)


@needs_promtool
def test_one_paused_erp_is_counted_once(tmp_path: Path) -> None:
    """The queue of what concerns several ERPs is paused with the first of them, and is no ERP itself."""
    (panel,) = (panel for panel in panels() if panel["title"] == "Paused ERPs")
    paused = {"erp": 1, "erp-light": 1, "erp-other": 0}
    series = [{"series": f'closedwon_queue_paused{{queue="{queue}"}}', "values": on} for queue, on in paused.items()]
    asked = {"expr": panel["targets"][0]["expr"], "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 1}]}
    file = tmp_path / "panel.yml"
    played = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]}
    file.write_text(json.dumps(played), encoding="utf-8")

    assert "SUCCESS" in _promtool("test", "rules", file)


def test_every_curve_has_its_legend() -> None:
    """Grafana's schema leaves neither to chance; without a legend nobody knows which curve is which."""
    for panel in panels():
        if panel["type"] == "timeseries":
            assert {"showLegend": True, "calcs": []}.items() <= panel["options"]["legend"].items(), panel["title"]


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    """A page that can be read: no panel covers another, and none stands out."""
    places = [(panel["title"], panel["gridPos"]) for panel in panels()]
    for _, at in places:
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
    for (one, a), (other, b) in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, f"{one} covers {other}"


def test_the_first_row_tells_where_orders_stand() -> None:
    """What a person looks at first: attention, what is under way, the oldest, backlog, the bus, gaps."""
    top = min(panel["gridPos"]["y"] for panel in panels())
    named = [names_in(panel["targets"][0]["expr"]) for panel in panels() if panel["gridPos"]["y"] == top]
    told = [
        "attention_now",
        "open_orders",
        "oldest_open_order_seconds",
        "backlog",
        "reader_silence_seconds",
        "open_gaps",
    ]
    assert [{f"closedwon_{name}"} for name in told] == named
