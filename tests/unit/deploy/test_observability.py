"""Dashboard and alert rules: they parse, use existing metrics, work as documented, and link to the runbook."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.metrics import OBSERVABILITY, expressions, names_in, our_metrics, panels, rules
from tests.support.tools import PROMTOOL, needs_promtool

RUNBOOK = Path(__file__).parents[3] / "docs" / "operate" / "alerts.md"
RULES, TESTS = OBSERVABILITY / "closedwon.rules.yml", OBSERVABILITY / "closedwon.rules.test.yml"


def _promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *arguments], cwd=OBSERVABILITY, capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_that_is_named_exists(where: str, expression: str) -> None:
    """Otherwise a renamed metric would leave a panel empty and an alert silent, unnoticed."""
    named = names_in(expression)
    ours = {metric.name for metric in our_metrics()}

    assert named, where
    assert {name for name in named if not name.startswith("temporal_")} <= ours


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_label_that_is_named_exists(where: str, expression: str) -> None:
    """A label that does not exist matches nothing, or combines separate series."""
    metrics = [metric for metric in our_metrics() if metric.name in names_in(expression)]
    known = {label for metric in metrics for label in metric.labels} | {"instance", "le", "service", "workflow_type"}
    matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    grouped = [word for group in re.findall(r"(?:by|on) \(([\w, ]*)\)", expression) for word in group.split(", ")]

    assert {*matched, *filter(None, grouped)} <= known, where


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_every_alert_states_the_harm_and_links_to_its_section(rule: dict[str, Any]) -> None:
    """A person who is paged sees at once what is at risk, and what to do."""
    notes = rule["annotations"]
    page, _, anchor = notes["runbook_url"].partition("#")
    sections = {title.lower() for title in re.findall(r"^### (\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)}

    assert {"summary", "harm", "runbook_url"} == set(notes)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert ("docs/operate/alerts.md", rule["alert"].lower()) == (page, anchor)
    assert anchor in sections


def test_every_section_of_the_runbook_has_its_alert() -> None:
    """No section is left over from a removed alert."""
    sections = re.findall(r"^### (Closedwon\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert [rule["alert"] for rule in rules()] == sections


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """No rule lacks such a test."""
    cases = yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in cases for case in test.get("alert_rule_test", ()) if case["exp_alerts"]}
    assert {rule["alert"] for rule in rules()} == fired


@needs_promtool
def test_promtool_confirms_the_rules() -> None:
    """Prometheus's own tool reads rules and configuration, and runs the tests."""
    assert f"SUCCESS: {len(rules())} rules found" in _promtool("check", "rules", RULES)
    assert "SUCCESS" in _promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in _promtool("test", "rules", TESTS)


@needs_promtool
def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    """Prometheus parses the queries of the panels."""
    asked = [{"record": "panel", "expr": expression, "labels": {"at": where}} for where, expression in expressions()]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": asked}]}), encoding="utf-8")

    assert f"{len(asked)} rules found" in _promtool("check", "rules", "--lint=none", file)


@needs_promtool
def test_one_paused_erp_is_counted_once(tmp_path: Path) -> None:
    """The queue for calls to several ERPs is paused with the first of them, but is not an ERP."""
    (panel,) = (panel for panel in panels() if panel["title"] == "Paused ERPs")
    paused = {"erp": 1, "erp-stub": 1, "erp-other": 0}
    series = [{"series": f'closedwon_queue_paused{{queue="{queue}"}}', "values": on} for queue, on in paused.items()]
    asked = {"expr": panel["targets"][0]["expr"], "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 1}]}
    file = tmp_path / "panel.yml"
    played = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]}
    file.write_text(json.dumps(played), encoding="utf-8")

    assert "SUCCESS" in _promtool("test", "rules", file)


def test_every_curve_has_its_legend() -> None:
    """Without a legend, curves cannot be distinguished."""
    for panel in panels():
        if panel["type"] == "timeseries":
            assert {"showLegend": True, "calcs": []}.items() <= panel["options"]["legend"].items(), panel["title"]


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    """No panel covers another, and none exceeds the page."""
    places = [(panel["title"], panel["gridPos"]) for panel in panels()]
    for _, at in places:
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
    for (one, a), (other, b) in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, f"{one} covers {other}"


def test_the_first_row_shows_the_status_of_orders() -> None:
    """Attention, orders in progress, the oldest one, backlog, the bus, gaps."""
    top = min(panel["gridPos"]["y"] for panel in panels())
    named = [names_in(panel["targets"][0]["expr"]) for panel in panels() if panel["gridPos"]["y"] == top]
    expected = [
        "attention_now",
        "open_orders",
        "oldest_open_order_seconds",
        "backlog",
        "reader_silence_seconds",
        "open_gaps",
    ]
    assert [{f"closedwon_{name}"} for name in expected] == named
