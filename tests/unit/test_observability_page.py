"""The page on observability lists every metric of ours as it is exported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from closedwon.telemetry import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


class Register:
    """A meter that only notes what is made: name as exported, type and labels."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, tuple[str, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        """Be every `create_…` of a meter."""
        made = re.match(r"create_(counter|histogram|gauge)(_timedelta)?", name)
        assert made is not None
        kind = made[1]
        suffix = {"counter": "_total", "histogram": "_seconds", "gauge": ""}[kind]

        def create(name: str, description: str) -> None:
            labels = re.search(r" \[(.*)\]$", description)
            self.made.append((name + suffix, kind, tuple(labels[1].split(", ")) if labels else ()))

        return create


def told() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the rows of the page's table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `closedwon_"):
            name, kind, labels, _meaning = (cell.strip() for cell in line.strip("|").split("|", 3))
            yield name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels))


def test_every_metric_is_told_with_its_type_and_labels() -> None:
    """Whoever builds a panel or a rule by the page finds what it says."""
    register: Any = Register()
    Metrics(register)

    assert register.made == list(told())
