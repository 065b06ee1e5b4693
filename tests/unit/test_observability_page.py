"""The page on observability lists every metric of ours as it is exported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.metrics import Exported, our_metrics

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def documented() -> Iterator[Exported]:
    """Yield the rows of the page's table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `closedwon_"):
            name, kind, labels, _meaning = (cell.strip() for cell in line.strip("|").split("|", 3))
            yield Exported(name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)))


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    """Anyone who builds a panel or a rule by the page finds what it says."""
    assert our_metrics() == list(documented())
