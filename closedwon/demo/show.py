"""What the demo puts on the screen: a live picture on a terminal, plain lines elsewhere. Looks only, no decisions."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from closedwon import names
from closedwon.demo import ErpKind
from closedwon.demo.deals import DemoDeal, Summary
from closedwon.demo.parts import Part, State
from closedwon.demo.stack import Stack
from closedwon.names import OrderStage
from closedwon.temporal.visibility import of_type

_PLAIN_EVERY: Final = 2.0
"""Seconds between two progress lines without a terminal."""
_ROWS_BESIDE_DEALS: Final = 6
"""Lines of the picture that are not deals."""
_LOOKS: Final[dict[str, tuple[str, str]]] = {
    "open": ("open", "dim"),
    "won": ("event on its way", "yellow"),
    OrderStage.LOADING: ("reading the deal", "yellow"),
    OrderStage.ORDERING: ("ordering in the ERP", "cyan"),
    OrderStage.WRITING_BACK: ("writing to Salesforce", "blue"),
    OrderStage.ATTENTION: ("needs attention", "bold red"),
    OrderStage.COMPLETED: ("written back", "green"),
}
"""Words and style of each stage; `open` and `won` are Salesforce's, the rest Temporal's."""
_LONGEST: Final = 2 + max(len(words) for words, _ in _LOOKS.values())
_AMOUNT, _ORDER, _SECONDS = 11, 7, 7
_GAP: Final = 2
"""Blanks before each cell."""
_FIXED: Final = _GAP + _AMOUNT + _GAP + _LONGEST + _GAP + _ORDER + _GAP + _SECONDS
"""Columns of the cells that are not names."""
_NAME: Final = 34
"""Columns of a whole name."""
_WIDE: Final = _FIXED + 2 * (_GAP + 30)
"""Minimum number of columns to show customers."""
_NAME_END: Final = 7
"""So many characters stay at the end of a deal's name that is cut: by them a customer's deals differ."""
_DONE: Final = "✔"


def words(stage: str) -> str:
    """A stage as a person reads it."""
    return _LOOKS.get(stage, (stage.replace("-", " "), ""))[0]


class Track:
    """The progress of a deal. `stage` is a key of `_LOOKS` or the name of another stage."""

    def __init__(self, deal: DemoDeal) -> None:
        """Not won yet."""
        self.deal = deal
        self.stage = "open"
        self.won_at: datetime | None = None

    @property
    def written(self) -> bool:
        """Whether Salesforce shows the order's number."""
        return self.deal.number is not None

    def seconds(self, now: datetime) -> float | None:
        """Since it was won; until it was written back."""
        if self.won_at is None:
            return None
        return max(((self.deal.modified_at if self.written else now) - self.won_at).total_seconds(), 0.0)


class Screen:
    """A live picture on a terminal; elsewhere a line every other second, when it says something new."""

    def __init__(self) -> None:
        """Draw on standard output."""
        self.console = Console(highlight=False)
        self._live: Live | None = None
        self._said = ""
        self._said_at = 0.0

    def __enter__(self) -> Self:
        """Begin a picture."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=True, refresh_per_second=10)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def draw(self, picture: RenderableType, line: str) -> None:
        """Show the picture, or the line instead."""
        if self._live is not None:
            self._live.update(picture)
        elif line and line != self._said and time.monotonic() - self._said_at >= _PLAIN_EVERY:
            self.say(line)
            self._said, self._said_at = line, time.monotonic()

    def say(self, text: RenderableType) -> None:
        """Print above the picture, to stay."""
        self.console.print(text, soft_wrap=not self.console.is_terminal, crop=False)


def starting(parts: Sequence[Part], since: dict[str, float]) -> tuple[RenderableType, str]:
    """Picture and line of the parts while they start. `since`: seconds that each has taken so far."""
    table = Table.grid(padding=(0, 2))
    waiting = []
    for part in parts:
        look: RenderableType = Text(_DONE, "green")
        words = Text("ready", "green")
        if part.state is State.NOT_STARTED:
            look, words = Text("·", "dim"), Text("waits for the others", "dim")
        elif part.state is not State.READY:
            last = part.last_lines().splitlines()[-1:]
            look = Spinner("dots")
            words = Text(" ".join(last) or "starting", "yellow", overflow="ellipsis", no_wrap=True)
            waiting.append(f"{part.name}: {words.plain}")
        seconds = since.get(part.name)
        table.add_row(look, part.name, Text("" if seconds is None else f"{seconds:.1f} s", justify="right"), words)
    return table, "  |  ".join(waiting)


def journey(
    tracks: Sequence[Track], *, erp: str, passed: float, note: str, size: ConsoleDimensions, now: datetime
) -> tuple[RenderableType, str]:
    """Picture and line of the deals' ways; a low terminal shows those that fit, a narrow one no customers."""
    won = sum(track.won_at is not None for track in tracks)
    written = sum(track.written for track in tracks)
    ordered = sum(track.written or track.stage == OrderStage.WRITING_BACK for track in tracks)
    totals = f"won {won}  →  ordered {ordered}  →  written back {written}"
    shown = _that_fit(tracks, max(size.height - _ROWS_BESIDE_DEALS, 5))
    parts: list[RenderableType] = [
        Text.assemble((f"\nSalesforce → Temporal → {erp} → Salesforce", "bold"), f"   {passed:.0f} s"),
        _deals(shown, now, size.width),
    ]
    if len(shown) < len(tracks):
        parts.append(Text(f"  … and {len(tracks) - len(shown)} more", "dim"))
    parts.append(Text.assemble("  ", (totals, "bold"), f"   of {len(tracks)}"))
    if note:
        parts.append(Text(f"  {note}", "bold magenta"))
    return Group(*parts), f"{totals}  of {len(tracks)}"


def _that_fit(tracks: Sequence[Track], rows: int) -> Sequence[Track]:
    """Those that move come first, then the last that are done, then the next that are open; in their own order."""

    def rank(place: int) -> tuple[int, int]:
        track = tracks[place]
        if track.written:
            return 1, -place
        return (0 if track.won_at else 2), place

    chosen = sorted(range(len(tracks)), key=rank)[:rows]
    return [tracks[place] for place in sorted(chosen)]


def _deals(tracks: Sequence[Track], now: datetime, width: int) -> Table:
    customers = width >= _WIDE
    table = Table(box=None, header_style="dim", padding=(0, 0, 0, _GAP))
    space = min((width - _FIXED) // (1 + customers) - _GAP, _NAME)
    table.add_column("deal", no_wrap=True, width=space)
    if customers:
        table.add_column("customer", no_wrap=True, width=space)
    table.add_column("amount", justify="right", no_wrap=True, width=_AMOUNT)
    table.add_column("where it is", no_wrap=True, width=_LONGEST)
    table.add_column("order", no_wrap=True, width=_ORDER)
    table.add_column("seconds", justify="right", no_wrap=True, width=_SECONDS)
    for track in tracks:
        words, style = _LOOKS.get(track.stage, (track.stage, "bold red"))
        if track.written:
            words, style = f"{_DONE} {_LOOKS[OrderStage.COMPLETED][0]}", _LOOKS[OrderStage.COMPLETED][1]
        seconds = track.seconds(now)
        name = track.deal.name
        table.add_row(
            name if len(name) <= space else f"{name[: space - _NAME_END - 1]}…{name[-_NAME_END:]}",
            *([" ".join(track.deal.account.split())] if customers else []),  # a tab would shift the columns
            f"{track.deal.amount:,.0f} {track.deal.currency}",
            Text(words if track.written else f"• {words}", style),
            Text(track.deal.number or "", "green"),
            "" if seconds is None else f"{seconds:.1f}",
            style="dim" if track.won_at is None else "",
        )
    return table


def good(summary: Summary, deals: int) -> bool:
    """Whether all `deals` were won, ordered for their amount and written back, and nothing of any run disagrees."""
    counts = (summary.won, summary.ordered, summary.written_back, summary.totals_right)
    return summary.clean and {deals} == set(counts)


def result(summary: Summary, *, deals: int, erp: str, file: str) -> RenderableType:
    """The end: what was counted, and whether all is well."""
    well = good(summary, deals)
    style = "bold green" if well else "bold red"
    waiting = f"   waiting {summary.waiting}" if summary.waiting else ""
    sign = " =" if summary.won == summary.ordered == summary.written_back else ","
    lines = [
        Text.assemble(
            (f"{_DONE} " if well else "✘ ", style),
            (f"won {summary.won}{sign} ordered {summary.ordered}{sign} written back {summary.written_back}", style),
            f"   totals right {summary.totals_right}   duplicates {summary.duplicates}{waiting}"
            f"   missing {summary.missing}",
        )
    ]
    if summary.median_s is not None:
        lines.append(
            Text(f"  from won to written back: median {summary.median_s:.1f} s, 95 % within {summary.p95_s:.1f} s")
        )
    whole = summary.all_runs
    if whole.won != summary.won or not summary.clean:
        lines.append(
            Text(
                f"  all runs: won {whole.won}, ordered {whole.ordered}, "
                f"written back {whole.written_back}, cancelled {whole.cancelled}, duplicates {whole.duplicates}, "
                f"waiting {whole.waiting}, missing {whole.missing}"
            )
        )
    if not summary.clean:
        lines.append(Text("  what disagrees, record by record: closedwon audit", "red"))
    lines.append(Text(f"  counted in Salesforce and in {erp} by closedwon audit\n  the same as JSON: {file}", "dim"))
    return Group(*lines)


def problem(text: str) -> RenderableType:
    """What went wrong."""
    return Text(text, "red")


def where_to_look(stack: Stack, *, stays: bool, has_killed: bool = False) -> RenderableType:
    """Temporal's UI, the org, the ERP and single parts by hand: now, or with `--keep`; and `--kill`, if not seen."""
    env = _short(stack.data_dir / "env")
    org_dir, erp_dir = _short(stack.org.data_dir), _short(stack.erp.data_dir)
    if not stays:
        commands = (
            f". {env}",
            stack.temporal.by_hand(_short),
            f"closedwon org serve --data-dir {org_dir}",
            f"closedwon test-erp {stack.erp_kind} --data-dir {erp_dir}",
            "closedwon run",
        )
        return Group(
            _to_copy("\nTo look around in Temporal's UI, in the org and in the ERP:  ", "make demo KEEP=1"),
            *(() if has_killed else (_to_copy("To see it survive a crash:  ", 'make demo ARGS="--kill"'),)),
            "To run single parts by hand on this data, with the first line in each terminal:",
            *(_to_copy("  ", command) for command in commands),
        )
    erp = stack.erp.connection["url"]
    query = quote(of_type(names.ORDER_WORKFLOW))
    rows = (
        ("Salesforce: the org", stack.org.connection["url"]),
        ("Every order in Temporal's UI", f"{stack.temporal.ui}/workflows?query={query}"),
        (f"The ERP: {stack.erp_kind.words}", erp if stack.erp_kind is ErpKind.STUB else erp.rpartition("/")[0]),
        ("Credentials of both", f"{org_dir}/connection.json, {erp_dir}/…"),
        ("Logs", _short(stack.org.log.parent)),
        ("", ""),
        ("By hand, in another terminal", f". {env}"),
        ("  win three more deals", f"closedwon org win --count 3 --data-dir {org_dir}"),
        ("  what each deal shows", f"closedwon org list --data-dir {org_dir}"),
        ("  where each order stands", "closedwon orders list"),
        ("  a live page of it all", "closedwon top"),
        ("  whether all three agree", "closedwon audit --lag 0s"),
        ("  another worker", "closedwon worker"),
    )
    width = max(len(what) for what, _ in rows)
    lines = (_to_copy(f"{what:<{width}}  ", where) for what, where in rows)
    return Group(
        Text("\nEverything keeps running. Ctrl-C stops it.\n", "bold"),
        _to_copy("  Open this, win a deal, and kill a worker:  ", f"http://localhost:{stack.page_port}"),
        Text(""),
        *lines,
    )


def _to_copy(what: str, where: str) -> Text:
    """A line that is never wrapped: an address or a command that is broken in two cannot be copied."""
    return Text.assemble(what, (where, "bold"), no_wrap=True, overflow="ignore")


def _short(path: Path) -> str:
    """As a shell takes it, from where we are."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
