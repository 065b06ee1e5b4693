"""The stored figures as Markdown, for docs/performance.md: `python -m benchmarks.page LABEL`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import KEPT, short


def main(label: str) -> None:
    """Print every report with this label."""
    for file in sorted(KEPT.glob(f"*-{label}.json")):
        print("\n".join(_lines(file)))


def _lines(file: Path) -> list[str]:
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    before, after = report["load_before_and_after"]
    lines = [f"### {report['benchmark']}", "", f"{versions}; {report['cores']} cores, load {before} to {after}.", ""]
    for table in report["tables"]:
        columns = list(next(iter(table["rows"].values())))
        lines += [f"| {' | '.join([table['title'], *columns])} |", "|" + "---|" * (len(columns) + 1)]
        lines += [f"| {' | '.join([name, *map(short, row.values())])} |" for name, row in table["rows"].items()] + [""]
    return lines


if __name__ == "__main__":
    main(sys.argv[1])
