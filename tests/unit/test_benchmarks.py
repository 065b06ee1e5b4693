"""The benchmarks' arithmetic, and that `make bench` names scripts that exist."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import ALL
from benchmarks.processes import processor_seconds
from benchmarks.report import Table, medians, percentile, ratios, short


@pytest.mark.parametrize("name", ALL)
def test_every_benchmark_that_is_run_exists(name: str) -> None:
    """`make bench` runs each of them, so a missing one would be found after an hour."""
    assert find_spec(f"benchmarks.{name}")


def test_figures_are_compared_column_by_column() -> None:
    """Medians over rounds, then ratios; what one of the two does not have stays empty."""
    rounds: list[list[float | None]] = [[1.0, 10.0, None], [3.0, 30.0, None], [2.0, 20.0, 7.0]]
    assert [2.0, 20.0, 7.0] == medians(rounds)
    assert [0.5, None, None] == ratios([2.0, 20.0, None], [4.0, None, 5.0])


@pytest.mark.parametrize(("percent", "figure"), [(50, 2), (95, 4), (99, 4), (25, 1)])
def test_a_percentile_is_one_of_the_figures(percent: int, figure: float) -> None:
    """No value is invented between two measured ones."""
    assert figure == percentile([4, 2, 3, 1], percent)


def test_a_table_is_stored_with_its_names() -> None:
    """A reader of the file needs no knowledge of the order of columns."""
    table = Table("per order", ("events", "ms"), {"product": [27.0, None]})
    assert {"title": "per order", "rows": {"product": {"events": 27.0, "ms": None}}} == table.as_json()
    assert ["product", "27", "-"] == str(table).splitlines()[1].split()


@pytest.mark.parametrize(("figure", "text"), [(None, "-"), (27.0, "27"), (0.6049, "0.605"), (17279.6, "17280")])
def test_a_figure_has_three_digits(figure: float | None, text: str) -> None:
    """More would say more than was measured."""
    assert text == short(figure)


_WORKS = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"


def test_the_processor_time_of_a_group_is_that_of_its_processes() -> None:
    """What a process of the group has worked is counted, within some ticks of the kernel's clock."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKS], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.25 <= processor_seconds(process.pid) <= 1
        process.communicate(b"\n")
    assert 0 == processor_seconds(process.pid)


_STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WORKS!r}], start_new_session=True)"


def test_the_processor_time_of_a_group_includes_what_its_processes_have_started() -> None:
    """PostgreSQL's processes leave the group of their first one."""
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.3 <= processor_seconds(process.pid) <= 1
        process.communicate(b"\n")
