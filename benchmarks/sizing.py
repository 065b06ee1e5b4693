"""What a number of orders an hour needs, from the measured units: `python -m benchmarks.sizing [--per-hour N …]`.

It reads the newest results of `throughput` and `salesforce_calls` in benchmarks/results, and prints the tables of
docs/sizing.md. Nothing is measured here. The first table compares a simulation of the queues with what was measured.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.report import KEPT

_HOUR, _DAY = 3600.0, 86_400.0
_BUSY: Final = 0.6
"""How busy a core or a place may be on average, so that a burst does not pile up."""
_UNDER_WAY: Final = 64
"""How many orders a subscriber and one worker have under way at a time; more only wait longer in the task queues."""
_LOADED: Final = 4
"""Processes that wait for each core, beyond which a measured rate says nothing about the machine."""
_VISITS: Final = 4
"""An order's work on a core comes in so many parts, between which it waits for others."""


class Units(NamedTuple):
    """What one order costs; seconds of a core, bytes, counts."""

    worker: float
    server: float
    others: float
    actions: float
    size: float
    erp_calls: float
    lone_calls: float
    """Salesforce API calls of an order that comes alone."""
    shared_calls: float
    """The same in a burst of 1,000."""

    @property
    def core(self) -> float:
        """Seconds of a core on a machine that runs everything."""
        return self.worker + self.server + self.others


class Plan(NamedTuple):
    """What a rate needs. Processes and cores are those that are busy 60 % of the time."""

    per_hour: float
    worker_processes: int
    server_cores: float
    erp_calls_at_once: float
    actions_a_month: float
    gigabytes: float
    """History of the namespace with a retention of 7 days, before the database's own overhead."""
    calls_a_day: tuple[float, float]
    """Of Salesforce's API: if all orders share calls, and if each comes alone."""


class Simulated(NamedTuple):
    """What the simulation says of some orders."""

    rate: float
    """Orders a second in the middle three fifths of the ends."""
    median: float
    p95: float
    """Seconds from arrival to end."""


def newest(benchmark: str) -> dict[str, Any]:
    """Return the stored report that was measured last."""
    reports = (json.loads(file.read_text(encoding="utf-8")) for file in KEPT.glob(f"{benchmark}-*.json"))
    return max(reports, key=lambda report: str(report["measured_at"]))


def product(throughput: dict[str, Any]) -> dict[str, float]:
    """Return the medians of Closedwon's rows, by column."""
    rows = [row for name, row in throughput["tables"][0]["rows"].items() if name.startswith("product, ")]
    return {column: median(row[column] for row in rows) for column in rows[0]}


def units() -> Units:
    """Return what the newest results say."""
    row = product(newest("throughput"))
    calls = newest("salesforce_calls")["tables"][0]["rows"]
    bursts = [one["SF calls"] for name, one in calls.items() if "at once, 1 worker" in name]
    return Units(
        worker=row["worker"] / 1000,
        server=row["server"] / 1000,
        others=(row["CPU-ms"] - row["worker"] - row["server"]) / 1000,
        actions=row["actions"],
        size=row["bytes"],
        erp_calls=row["ERP calls"],
        lone_calls=calls["a deal every 2 seconds"]["SF calls"],
        shared_calls=bursts[0],
    )


def plan(unit: Units, per_hour: float, erp_seconds: float, at_once: int) -> Plan:
    """Return what a rate needs, if a call of the ERP takes so long and a process may make so many at once.

    By Little's law: what is under way on average is the rate times the time that it takes.
    """
    rate = per_hour / _HOUR
    calls = rate * unit.erp_calls * erp_seconds
    return Plan(
        per_hour,
        max(2, math.ceil(rate * unit.worker / _BUSY), math.ceil(calls / at_once / _BUSY)),
        rate * unit.server / _BUSY,
        calls,
        rate * unit.actions * _DAY * 30,
        rate * unit.size * _DAY * 7 / 1e9,
        (per_hour * 24 * unit.shared_calls, per_hour * 24 * unit.lone_calls),
    )


def simulate(arrivals: Sequence[float], core: float, cores: int, erp_seconds: float, erp_places: int) -> Simulated:
    """Send orders through cores and an ERP in turns, first come, first served, and return how fast they were.

    `core` is the work of one order on all cores in seconds. Durations of a visit vary exponentially, by a fixed seed.
    At most `_UNDER_WAY` orders have begun and not ended; more wait on the event bus, as they do for the subscriber.
    """
    chance = random.Random(1)  # noqa: S311 - no secret
    free = {"core": [0.0] * cores, "erp": [0.0] * erp_places}
    waiting = [(at, number, 0) for number, at in enumerate(arrivals[:_UNDER_WAY])]
    heapq.heapify(waiting)
    ends: dict[int, float] = {}
    while waiting:
        at, number, visit = heapq.heappop(waiting)
        place, mean = ("core", core / _VISITS) if visit % 2 == 0 else ("erp", erp_seconds)
        begins = max(at, heapq.heappop(free[place]))
        done = begins + chance.expovariate(1 / mean) if mean else begins
        heapq.heappush(free[place], done)
        if visit < 2 * _VISITS - 1:
            heapq.heappush(waiting, (done, number, visit + 1))
            continue
        ends[number] = done
        following = len(ends) + _UNDER_WAY - 1
        if following < len(arrivals):
            heapq.heappush(waiting, (max(done, arrivals[following]), following, 0))
    order, took = sorted(ends.values()), sorted(ends[number] - at for number, at in enumerate(arrivals))
    low, high = len(order) // 5, len(order) * 4 // 5
    span = max(order[high] - order[low], 1e-9)
    return Simulated((high - low) / span, median(took), took[int(len(took) * 0.95)])


def checked() -> Iterator[tuple[str, float, float]]:
    """Yield for each stored run of `throughput`: its file, the measured and the simulated orders a second.

    Runs beside much other work are left out: they had less than the machine's cores, and it is not known how much less.
    """
    for file in sorted(KEPT.glob("throughput-*.json")):
        report = json.loads(file.read_text(encoding="utf-8"))
        if report["load_before_and_after"][0] > _LOADED * report["cores"]:
            continue
        row = product(report)
        orders = report["options"]["orders"]
        found = simulate([0.0] * orders, row["CPU-ms"] / 1000, report["cores"], 0.003, 16)
        yield file.stem, row["middle"], found.rate


def poisson(per_hour: float, orders: int) -> list[float]:
    """Return so many arrivals by chance, by a fixed seed."""
    chance, at, times = random.Random(2), 0.0, []  # noqa: S311 - no secret
    for _ in range(orders):
        at += chance.expovariate(per_hour / _HOUR)
        times.append(at)
    return times


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 else f"{figure:.2g}"  # noqa: PLR2004 - two digits are enough


def main(asked: Sequence[float], erp_seconds: float, at_once: int) -> None:
    """Print the tables as Markdown."""
    unit = units()
    print("| run | measured, orders/s | simulated | simulated ÷ measured |\n|---|---|---|---|")
    for name, measured, simulated in checked():
        print(f"| {name} | {measured:.1f} | {simulated:.1f} | {simulated / measured:.2f} |")
    print(f"\n{unit}\n")
    print(
        "| orders an hour | worker processes | cores of Temporal's server | ERP calls at once | actions a month ",
        end="",
    )
    print(
        "| history, 7 days | API calls a day | from arrival to end: median / 95 % |\n|---|---|---|---|---|---|---|---|"
    )
    for per_hour in asked:
        need = plan(unit, per_hour, erp_seconds, at_once)
        places = need.worker_processes * at_once
        times = simulate(poisson(per_hour, 5000), unit.worker, need.worker_processes, erp_seconds, places)
        print(
            f"| {per_hour:,.0f} | {need.worker_processes} | {_short(need.server_cores)} "
            f"| {_short(need.erp_calls_at_once)} | {need.actions_a_month:,.0f} | {_short(need.gigabytes)} GB "
            f"| {need.calls_a_day[0]:,.0f} to {need.calls_a_day[1]:,.0f} | {times.median:.1f} s / {times.p95:.1f} s |"
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description="What orders need.")
    options.add_argument("--per-hour", type=float, nargs="+", default=[10, 1000, 100_000, 1_000_000 / 24])
    options.add_argument("--erp-seconds", type=float, default=0.25, help="how long one call of the ERP takes")
    options.add_argument("--at-once", type=int, default=16, help="workers.concurrent_erp_calls")
    given = options.parse_args()
    main(given.per_hour, given.erp_seconds, given.at_once)
