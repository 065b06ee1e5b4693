"""The page of `closedwon top`, drawn to fit 80 columns and 24 lines. It asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from closedwon.names import OrderStage
from closedwon.operating.erps import Queue
from closedwon.operating.figures import Figures
from closedwon.operating.overview import PACE_OVER, Channel, Overview

_REASONS: Final = 4
"""Attention reasons that have a line of their own."""
_LONG: Final = timedelta(hours=1)
_NEAR: Final = 80
"""Per cent of the API limit that are told in red."""


def page(seen: Overview, told: Figures, namespace: str) -> RenderableType:
    """Draw one look."""
    head = Text.assemble(
        ("Closedwon", "bold"), f"  {namespace}  {seen.at:%Y-%m-%d %H:%M:%S} UTC   ",
        (f"{seen.unfinished} unfinished", "bold"),
        f", the oldest for {age(seen.oldest)}" if seen.unfinished else "",
    )  # fmt: skip
    halves = Columns([_stages(seen), Group(_pace(seen), "", _reasons(seen))], padding=(0, 4))
    notes = (*_held(seen), *_gaps(seen), *_api(told))
    return Group(head, "", halves, "", _queues(seen), "", _channels(seen, told), "", *notes)


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
        table.add_column(heading, justify="left" if place == 0 or heading in {"stands", "why"} else "right")
    return table


def _stages(seen: Overview) -> Table:
    table = _table("stage", "orders", "oldest")
    for stage, census in seen.stages.items():
        is_bad = census.number and (stage is OrderStage.ATTENTION or census.oldest > _LONG)
        oldest = age(census.oldest) if census.number else ""
        table.add_row(stage, str(census.number), oldest, style="red" if is_bad else "" if census.number else "dim")
    return table


def _pace(seen: Overview) -> Table:
    pace, minutes = seen.pace, PACE_OVER / timedelta(minutes=1)
    table = _table(f"last {minutes:.0f} min", "orders", "a minute")
    table.add_row("begun", str(pace.begun), f"{pace.begun / minutes:.1f}")
    table.add_row("ended", str(pace.ended), f"{pace.ended / minutes:.1f}")
    if pace.median is not None and pace.most is not None:
        table.add_row("took (median, 95 %)", age(pace.median), age(pace.most))
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
    table = _table("ERP", "stands", "waiting", "oldest", "workers", "why")
    for queue in seen.queues:
        if queue.erp is not None or len(seen.queues) > 2:  # noqa: PLR2004 - one ERP and what is shared
            table.add_row(*_queue(queue))
    return table


def _queue(queue: Queue) -> tuple[RenderableType, ...]:
    style = "green" if queue.limit is None else "bold red" if queue.is_paused else "yellow"
    workers = Text(str(queue.workers)) if queue.workers else Text("none", style="bold red")
    oldest = age(queue.oldest) if queue.backlog else ""
    stands, why = Text(queue.stands, style=style), Text(queue.reason)
    return queue.erp or "(several)", stands, str(queue.backlog), oldest, workers, why


def _channels(seen: Overview, told: Figures) -> RenderableType:
    if not seen.channels:
        return Text("no event bus is read", style="dim")
    table = _table("event bus", "lag", "last event", "reader")
    for channel in seen.channels:
        table.add_row(*_channel(channel, told, seen.at))
    return table


def _channel(channel: Channel, told: Figures, now: datetime) -> tuple[RenderableType, ...]:
    lag = told.lag.get((channel.org.name, channel.name))
    last = channel.cursor.event_time if channel.cursor else None
    if not channel.is_started or not channel.is_reading:
        reader = Text("none" if not channel.is_started else "refused", style="bold red")
    elif channel.beat is None:
        reader = Text("begins", style="yellow")
    else:
        silence = now - channel.beat
        reader = Text(f"{age(silence)} ago", style="red" if silence > timedelta(minutes=2) else "")
    return (
        f"{channel.org.name} {channel.name}",
        "" if lag is None else age(timedelta(seconds=lag)),
        f"{age(now - last)} ago" if last else "",
        reader,
    )


def _held(seen: Overview) -> Iterator[RenderableType]:
    for held in seen.held:
        since = age(seen.at - held.since)
        yield Text(f"held for {since}: {held.failed.subject}, the check of its {held.failed.check} fails: "
                   "closedwon doctor", style="bold red")  # fmt: skip


def _gaps(seen: Overview) -> Iterator[RenderableType]:
    if seen.gaps:
        waits = sum(gap.stands != "sweeping" for gap in seen.gaps)
        number = f"{len(seen.gaps)} open gap{'' if len(seen.gaps) == 1 else 's'}"
        stands = f"{waits} for a person to see to" if waits else "being swept"
        yield Text(f"{number}, {stands}: closedwon gaps", style="bold red" if waits else "yellow")


def _api(told: Figures) -> Iterator[RenderableType]:
    if not told.api_used:
        yield Text("API calls and lag: no process told them; name its address by --metrics", style="dim")
    for org, used in told.api_used.items():
        limit = told.api_limit.get(org)
        share = 100 * used / limit if limit else 0
        of_limit = f" of {limit} ({share:.0f} %)" if limit else ""
        style = "red" if share > _NEAR else "dim"
        yield Text(f"API calls of {org} in 24 h: {used}{of_limit}", style=style)
