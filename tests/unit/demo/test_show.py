"""What a person sees while the demo runs."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console, ConsoleDimensions

from closedwon.audit.compare import Counts
from closedwon.demo import ErpKind
from closedwon.demo.deals import DemoDeal, Summary
from closedwon.demo.show import Screen, Track, good, journey, result, where_to_look
from closedwon.demo.stack import Stack
from closedwon.ids import RecordId
from closedwon.names import OrderStage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def track(number: int, *, stage: str = "open", order: str | None = None) -> Track:
    """Deal `number`, won at noon unless it is open, written back two seconds later if it has an order."""
    one = Track(
        DemoDeal(
            id=RecordId(f"0065g00000Dea{number:02}"),
            name=f"Kaltenbrunner Maschinenbau deal {number}",
            account="Kaltenbrunner Maschinenbau AG",
            amount=Decimal("72500.00"),
            currency="EUR",
            won=stage != "open",
            number=order,
            modified_at=NOON + timedelta(seconds=2),
        )
    )
    one.stage = stage
    one.won_at = None if stage == "open" else NOON
    return one


def lines(tracks: list[Track], *, width: int, height: int) -> list[str]:
    """The picture as a terminal of that size shows it, five seconds after noon."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height)
    size = ConsoleDimensions(width, height)
    now = NOON + timedelta(seconds=5)
    picture, _ = journey(tracks, erp="Tryton", passed=5, note="", size=size, now=now)
    console.print(picture)
    return file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_each_deal_has_its_stage_order_and_seconds_at_any_width(width: int) -> None:
    """Seconds run until the number is written back."""
    done, moving = lines(
        [track(1, stage=OrderStage.COMPLETED, order="S-17"), track(2, stage=OrderStage.ORDERING)],
        width=width,
        height=40,
    )[3:5]

    assert "✔ written back" in done
    assert ["S-17", "2.0"] == done.split()[-2:]
    assert "• ordering in the ERP" in moving
    assert moving.endswith("5.0")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_deals_of_one_customer_can_be_distinguished(width: int) -> None:
    """A name that is too long for the terminal keeps its end, where the deals of a customer differ."""
    picture = lines([track(11), track(12)], width=width, height=24)

    assert ["deal 11 ", "deal 12 "] == [line[line.index("deal") :][:8] for line in picture[3:5]]


def test_a_tab_in_a_customers_name_does_not_shift_the_columns() -> None:
    """It is shown as a blank."""
    tabbed = track(1)
    tabbed.deal = tabbed.deal.model_copy(update={"account": "Zandstra\tTransport B.V."})
    picture = lines([track(2), tabbed], width=140, height=24)

    assert "Zandstra Transport B.V. " in picture[4]
    assert picture[3].index("72,500 EUR") == picture[4].index("72,500 EUR")


def test_a_low_terminal_shows_what_moves() -> None:
    """Everything fits; what is under way is shown before what is done, and that before what is open."""
    tracks = [track(n, stage=OrderStage.COMPLETED, order=f"S-{n}") for n in range(1, 20)]
    tracks += [track(n, stage=OrderStage.LOADING) for n in range(20, 24)] + [track(n) for n in range(24, 40)]

    shown = lines(tracks, width=140, height=16)

    assert len(shown) <= 16
    assert 4 == sum("reading the deal" in line for line in shown)
    assert any("S-19" in line for line in shown)
    assert not any("open" in line for line in shown)
    assert any("… and 29 more" in line for line in shown)


def test_an_unknown_stage_is_shown_by_its_name() -> None:
    """A deal that took another turn is not hidden."""
    assert any("not-needed" in line for line in lines([track(1, stage=OrderStage.NOT_NEEDED)], width=80, height=24))


@pytest.mark.parametrize(
    ("ordered", "right", "clean", "deals", "said"),
    [
        (2, 2, True, 2, "✔ won 2 = ordered 2 = written back 2   totals right 2"),
        (1, 1, True, 2, "✘ won 2, ordered 1, written back 2"),
        (2, 1, True, 2, "✘ won 2 = ordered 2 = written back 2   totals right 1"),
        (2, 2, False, 2, "✘ won 2 = ordered 2"),
        (2, 2, True, 3, "✘ won 2 = ordered 2"),
    ],
)
def test_the_end_says_whether_all_is_well(
    ordered: int,
    right: int,
    clean: bool,  # noqa: FBT001
    deals: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only when every deal that was asked for is won, ordered and written back, and no run has left a disagreement."""
    counts = Counts(won=2, ordered=ordered, written_back=2)
    summary = Summary(**counts.model_dump(), totals_right=right, median_s=0.5, p95_s=1.2, all_runs=counts, clean=clean)

    Screen().say(result(summary, deals=deals, erp="Tryton", file="summary.json"))

    assert said in capsys.readouterr().out
    assert good(summary, deals) == said.startswith("✔")


def test_an_order_that_somebody_cancelled_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """An order that an operator cancelled in an earlier run shows as such, and all is well."""
    counts = Counts(won=2, ordered=2, written_back=2)
    summary = Summary(
        **counts.model_dump(),
        totals_right=2,
        median_s=0.5,
        p95_s=1.2,
        all_runs=Counts(won=5, ordered=4, written_back=4, cancelled=1),
        clean=True,
    )

    Screen().say(result(summary, deals=2, erp="Tryton", file="summary.json"))

    said = capsys.readouterr().out
    assert "all runs: won 5, ordered 4, written back 4, cancelled 1, duplicates 0, waiting 0, missing 0" in said
    assert good(summary, 2)


@pytest.mark.parametrize(("stays", "folder", "whole"), [
    (True, ".closedwon/demo/tryton", "http://localhost:8233/namespaces/default/workflows?query=WorkflowType%20%3D%20%27OrderWorkflow%27"),
    (True, ".closedwon/demo/tryton", "http://localhost:8234"),
    (True, ".closedwon/demo/tryton", "http://localhost:8000"),
    (False, ".closedwon/demo/tryton",
     "temporal server start-dev --port 7233 --db-filename .closedwon/demo/tryton/temporal.db"),
    (False, "my demo", "closedwon org serve --data-dir 'my demo/org'"),
])  # fmt: skip
def test_what_is_to_be_copied_stands_whole_in_a_narrow_terminal(
    stays: bool,  # noqa: FBT001
    folder: str,
    whole: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An address or a command is neither cut nor broken in two."""
    monkeypatch.chdir(tmp_path)
    data_dir = Path(folder)
    data_dir.mkdir(parents=True)
    ports = {"temporal": 7233, "temporal-ui": 8233, "page": 8234}
    (data_dir / "ports.json").write_text(json.dumps(ports))
    stack = Stack(data_dir, erp=ErpKind.TRYTON, subscribers=1)
    stack.org.connection = {"url": "http://localhost:8080"}
    stack.erp.connection = {"url": "http://localhost:8000/closedwon"}
    screen = Screen()
    screen.console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)

    screen.say(where_to_look(stack, stays=stays))

    said = screen.console.file
    assert isinstance(said, io.StringIO)
    assert any(line.endswith(whole) for line in said.getvalue().splitlines())
