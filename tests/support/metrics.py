"""Our metrics as they are exported, and the metrics that PromQL names."""

from __future__ import annotations

import json
import math
import operator
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from closedwon.telemetry.metrics import Metrics

OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"
_SUFFIXES = {"counter": "_total", "histogram": "_seconds", "gauge": ""}
_WORDS = frozenset({"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"})


class Exported(NamedTuple):
    """A metric: its name as exported, its type and its labels."""

    name: str
    kind: str
    labels: tuple[str, ...]


class _Register:
    """A meter that only notes what is made."""

    def __init__(self) -> None:
        self.made: list[Exported] = []

    def __getattr__(self, name: str) -> Any:
        """Be every `create_…` of a meter."""
        made = re.match(r"create_(counter|histogram|gauge)", name)
        assert made is not None
        kind = made[1]

        def create(name: str, description: str) -> None:
            labels = re.search(r" \[(.*)\]$", description)
            self.made.append(Exported(name + _SUFFIXES[kind], kind, tuple(labels[1].split(", ")) if labels else ()))

        return create


class Gauges:
    """The last value of every gauge, as the metrics endpoint would show it."""

    def __init__(self) -> None:
        self._buffer = MetricBuffer(100_000)
        self.metrics = Metrics(Runtime(telemetry=TelemetryConfig(metrics=self._buffer)).metric_meter)
        self._values: dict[tuple[str, frozenset[tuple[str, Any]]], float] = {}

    def get(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """A gauge's value; None where it was never set."""
        self._update()
        return self._values.get((f"closedwon_{name}", frozenset((labels or {}).items())))

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All values of a metric, by its whole name, with their labels."""
        self._update()
        for (metric, labels), value in self._values.items():
            if metric == name:
                yield {key: str(label) for key, label in labels}, value

    def _update(self) -> None:
        for update in self._buffer.retrieve_updates():
            attributes = {key: value for key, value in update.attributes.items() if key != "service_name"}
            self._values[update.metric.name, frozenset(attributes.items())] = update.value


def our_metrics() -> list[Exported]:
    """Every metric of ours."""
    register: Any = _Register()
    Metrics(register)
    made: list[Exported] = register.made
    return made


def names_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads; of a histogram the metric, not its series."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)', " ", expression)
    names = set(re.findall(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()", bare)) - _WORDS
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load((OBSERVABILITY / "closedwon.rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


_COMPARISON = re.compile(
    r"(?:max|min)(?: by \((?P<by>[^)]*)\))? ?\((?:abs\()?(?P<metric>closedwon_\w+)(?:\{(?P<labels>[^}]*)\})?\)?\)"
    r"(?P<age> - time\(\))? (?P<sign>>|<|==) (?P<limit>[\d* ]+?)(?: >= (?P<least>\d+))?(?: unless .*)?"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {">": operator.gt, "<": operator.lt, "==": operator.eq}


def firing(gauges: Gauges) -> set[tuple[str, str]]:
    """The alerts, each with the values of the labels that it names, whose rule compares a gauge and holds now.

    Rules over time (`rate`, `absent`) are left out, and so are `for` and `unless`.
    """
    return {
        (
            rule["alert"],
            " ".join(labels[key.strip()] for key in (found["by"] or "").split(",") if key.strip() in labels),
        )
        for rule in rules()
        if (found := _COMPARISON.fullmatch(" ".join(rule["expr"].split())))
        for labels, value in gauges.samples(found["metric"])
        if _selects(found["labels"] or "", labels) and _holds(found, value)
    }


def _selects(matchers: str, labels: Mapping[str, str]) -> bool:
    tests: Mapping[str, Callable[[str, str], bool]] = {
        "=": operator.eq,
        "!=": operator.ne,
        "=~": lambda value, pattern: re.fullmatch(pattern, value) is not None,
    }
    return all(
        tests[sign](labels.get(key, ""), wanted)
        for key, sign, wanted in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers)
    )


def _holds(found: re.Match[str], value: float) -> bool:
    seen = value - time.time() if found["age"] else abs(value)
    limit = math.prod(float(factor) for factor in found["limit"].split("*"))
    return _SIGNS[found["sign"]](seen, limit) and (found["least"] is None or seen >= float(found["least"]))


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, rows left out."""
    everything: list[dict[str, Any]] = json.loads((OBSERVABILITY / "dashboard.json").read_text("utf-8"))["panels"]
    return [panel for panel in everything if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Every PromQL expression of rules and dashboard, with where it stands; Grafana's variables are filled in."""
    asked = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [
        *((rule["alert"], rule["expr"]) for rule in rules()),
        *((where, expression.replace("$__rate_interval", "5m")) for where, expression in asked),
    ]
