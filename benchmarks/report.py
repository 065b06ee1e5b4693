"""What every benchmark shares: its options, its table on the screen, its JSON file, and how it ends.

A figure says little without a figure of the same run beside it, because machines differ and have other work to do: so a
report has ratios, and the versions and the number of cores that it was measured with. It names neither the machine nor
a path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from closedwon.demo import TemporalKind

LATEST: Final = Path(".closedwon/bench")
KEPT: Final = Path(__file__).parent / "results"
_NAME: Final = 44


class Options(NamedTuple):
    """How much is measured."""

    orders: int
    rounds: int
    temporal: TemporalKind = TemporalKind.DEVELOPMENT


class Table(NamedTuple):
    """One table of a report: a name and the figures of each row; None where there is none."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float | None]]

    def __str__(self) -> str:
        """As it is printed."""
        widths = [max(len(column), 9) + 2 for column in self.columns]
        head = f"{self.title:{_NAME}}" + "".join(map("{:>{}}".format, self.columns, widths))
        lines = [
            f"{name:{_NAME}}" + "".join(map("{:>{}}".format, map(short, figures), widths))
            for name, figures in self.rows.items()
        ]
        return "\n".join([head, *lines])

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "title": self.title,
            "rows": {
                name: {
                    column: None if figure is None else round(figure, 4)
                    for column, figure in zip(self.columns, figures, strict=True)
                }
                for name, figures in self.rows.items()
            },
        }


async def server_version(client: Client) -> str:
    """The version of the Temporal server."""
    return (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version


def medians(rounds: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The median of each column."""
    columns = ([figure for figure in column if figure is not None] for column in zip(*rounds, strict=True))
    return [statistics.median(column) if column else None for column in columns]


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """Each figure of ours by theirs, where both exist."""
    return [a / b if a is not None and b else None for a, b in zip(ours, theirs, strict=True)]


def percentile(figures: Sequence[float], percent: int) -> float:
    """The smallest figure that at least `percent` of them do not exceed."""
    return sorted(figures)[-(-len(figures) * percent // 100) - 1]


def run(
    measure: Callable[[Options], Awaitable[tuple[str, Sequence[Table]]]],
    *,
    orders: int,
    rounds: int = 0,
    any_server: bool = False,
) -> None:
    """Measure, print and store. `measure` returns the version of the server and its tables; its module is its name.

    `orders` and `rounds` are the defaults of the options; without `rounds` a benchmark has one. With `any_server` it
    runs on a cluster, too.
    """
    module = sys.modules[measure.__module__]
    name = Path(str(module.__file__)).stem
    given = _arguments(name, module.__doc__, orders, rounds, any_server=any_server)
    temporal = given.temporal if any_server else TemporalKind.DEVELOPMENT
    options = Options(given.orders, given.rounds if rounds else 1, temporal)
    load = os.getloadavg()[0]
    server, tables = asyncio.run(_to_the_end(measure(options)))
    print("\n\n".join(map(str, tables)))
    report = {
        "benchmark": name,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "closedwon": metadata.version("closedwon"),
            "python": platform.python_version(),
            "temporalio": metadata.version("temporalio"),
            "temporal_server": server,
        },
        "cores": os.cpu_count(),
        "load_before_and_after": [round(load, 1), round(os.getloadavg()[0], 1)],
        "options": options._asdict(),
        "tables": [table.as_json() for table in tables],
    }
    _store(report, LATEST / f"{name}.json")
    if given.label:
        _store(report, KEPT / f"{name}-{given.label}.json")
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit


def _arguments(name: str, description: str | None, orders: int, rounds: int, *, any_server: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--orders", type=int, default=orders, help="default: %(default)s")
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    if any_server:
        parser.add_argument(
            "--temporal",
            type=TemporalKind,
            choices=list(TemporalKind),
            default=TemporalKind.DEVELOPMENT,
            help="default: %(default)s; `cluster` is processes with PostgreSQL (`make cluster ARGS=--build`)",
        )
    parser.add_argument("--label", help=f"also store the figures in benchmarks/results/{name}-LABEL.json")
    return parser.parse_args()


async def _to_the_end(measuring: Awaitable[tuple[str, Sequence[Table]]]) -> tuple[str, Sequence[Table]]:
    return await measuring


def _store(report: Mapping[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nstored in {file if not file.is_absolute() else file.relative_to(Path.cwd())}")


def short(figure: float | None) -> str:
    """A figure with three digits, as it is printed."""
    if figure is None:
        return "-"
    return f"{figure:.0f}" if abs(figure) >= 1000 or figure == int(figure) else f"{figure:.3g}"  # noqa: PLR2004
