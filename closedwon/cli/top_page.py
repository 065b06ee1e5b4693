"""The page of `closedwon top`, drawn to fit 80 columns and 24 lines. Makes no requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from closedwon.facts.metrics_page import ScrapedMetrics
from closedwon.facts.overview import THROUGHPUT_OVER, Overview, Throughput
from closedwon.facts.queues import Queue
from closedwon.facts.readers import Reader
from closedwon.names import OrderStage

_REASONS: Final = 4
"""Attention reasons that have a line of their own."""
_LONG: Final = timedelta(hours=1)
_NEAR: Final = 80
"""Percentage of the API limit from which on the number is red."""


def page(seen: Overview, throughput: Throughput, scraped: ScrapedMetrics, namespace: str) -> RenderableType:
    """Draw one look."""
    head = Text.assemble(
        ("Closedwon", "bold"), f"  {namespace}  {seen.at:%Y-%m-%d %H:%M:%S} UTC   ",
        (f"{seen.unfinished} unfinished", "bold"),
        f", the oldest for {age(seen.oldest)}" if seen.unfinished else "",
    )  # fmt: skip
    halves = Columns([_stages(seen), Group(_throughput(throughput), "", _reasons(seen))], padding=(0, 4))
    notes = (*_held(seen), *_wedged(seen), *_gaps(seen), *_api(scraped))
    return Group(head, "", halves, "", _queues(seen), "", _channels(seen, scraped), "", *notes)


def age(time: timedelta) -> str:
    """A time span in its largest unit."""
    seconds = max(time.total_seconds(), 0.0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - one digit is enough then


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 or heading in {"status", "why"} else "right")
    return table


def _stages(seen: Overview) -> Table:
    table = _table("stage", "orders", "oldest")
    for stage, census in seen.stages.items():
        is_bad = census.number and (stage is OrderStage.ATTENTION or census.oldest > _LONG)
        oldest = age(census.oldest) if census.number else ""
        table.add_row(stage, str(census.number), oldest, style="red" if is_bad else "" if census.number else "dim")
    return table


def _throughput(throughput: Throughput) -> Table:
    minutes = THROUGHPUT_OVER / timedelta(minutes=1)
    table = _table(f"last {minutes:.0f} min", "orders", "a minute")
    table.add_row("begun", str(throughput.begun), f"{throughput.begun / minutes:.1f}")
    table.add_row("ended", str(throughput.ended), f"{throughput.ended / minutes:.1f}")
    if throughput.median is not None and throughput.most is not None:
        table.add_row("took (median, 95 %)", age(throughput.median), age(throughput.most))
    return table


def _reasons(seen: Overview) -> RenderableType:
    if not seen.reasons:
        return Text("nothing needs attention", style="green")
    table = _table("needs attention", "orders")
    shown = seen.reasons.most_common(_REASONS)
    for reason, number in shown:
        table.add_row(reason, str(number), style="red")
    if len(seen.reasons) > len(shown):
        rest = seen.reasons.total() - sum(number for _, number in shown)
        table.add_row("other reasons", str(rest), style="red")
    return table


def _queues(seen: Overview) -> Table:
    table = _table("ERP", "status", "waiting", "oldest", "workers", "why")
    for queue in seen.erps:
        if queue.erp is not None or len(seen.erps) > 2:  # noqa: PLR2004 - one ERP and what is shared
            table.add_row(*_queue(queue))
    return table


def _queue(queue: Queue) -> tuple[RenderableType, ...]:
    style = "bold red" if queue.is_paused else "yellow" if queue.is_limited else "green"
    workers = Text(str(queue.workers)) if queue.workers else Text("none", style="bold red")
    oldest = age(queue.oldest) if queue.backlog else ""
    status, why = Text(queue.status, style=style), Text(queue.reason or queue.breaker_reason)
    return queue.erp or "(several)", status, str(queue.backlog), oldest, workers, why


def _channels(seen: Overview, scraped: ScrapedMetrics) -> RenderableType:
    if not seen.readers:
        return Text("no event bus is read", style="dim")
    table = _table("event bus", "lag", "last event", "reader")
    for reader in seen.readers:
        table.add_row(*_channel(reader, scraped, seen.at))
    return table


def _channel(reader: Reader, scraped: ScrapedMetrics, now: datetime) -> tuple[RenderableType, ...]:
    lag = scraped.lag.get((reader.org.name, reader.channel))
    style = "" if reader.state.is_well else "bold red"
    proved = "" if reader.silence is None else f" {age(reader.silence)} ago"
    return (
        f"{reader.org.name} {reader.channel}",
        "" if lag is None else age(timedelta(seconds=lag)),
        f"{age(now - reader.event_at)} ago" if reader.event_at else "",
        Text(f"{reader.state}{proved}", style=style),
    )


def _held(seen: Overview) -> Iterator[RenderableType]:
    for held in seen.held:
        since = age(seen.at - held.since)
        yield Text(f"held for {since}: {held.failed.subject}, the check of its {held.failed.check} fails: "
                   "closedwon doctor", style="bold red")  # fmt: skip


def _wedged(seen: Overview) -> Iterator[RenderableType]:
    if seen.wedged:
        yield Text(f"{seen.wedged} cannot continue: closedwon doctor", style="bold red")


def _gaps(seen: Overview) -> Iterator[RenderableType]:
    if seen.gaps:
        waits = sum(gap.status != "sweeping" for gap in seen.gaps)
        number = f"{len(seen.gaps)} open gap{'' if len(seen.gaps) == 1 else 's'}"
        status = f"{waits} for a person to see to" if waits else "being swept"
        yield Text(f"{number}, {status}: closedwon gaps", style="bold red" if waits else "yellow")


def _api(scraped: ScrapedMetrics) -> Iterator[RenderableType]:
    if not scraped.api_used:
        yield Text("API calls and lag: no process reports them; give its address by --metrics", style="dim")
    for org, used in scraped.api_used.items():
        limit = scraped.api_limit.get(org)
        share = 100 * used / limit if limit else 0
        of_limit = f" of {limit} ({share:.0f} %)" if limit else ""
        style = "red" if share > _NEAR else "dim"
        yield Text(f"API calls of {org} in 24 h: {used}{of_limit}", style=style)
