"""The arithmetic of docs/sizing.md: known rates give known needs, and the simulation agrees with what was measured."""

from __future__ import annotations

import pytest

from benchmarks.sizing import Units, checked, plan, poisson, simulate, units

UNIT = Units(0.02, 0.03, 0.01, 5.0, 7000.0, 4.0, 2.0, 0.04)


def test_a_plan_follows_from_units_and_rate() -> None:
    """36,000 an hour are ten a second: a third of a process by its work, one by the ERP, and never fewer than two."""
    need = plan(UNIT, 36_000, 0.25, 16)
    assert (2, 10.0) == (need.worker_processes, need.erp_calls_at_once)
    assert 0.5 == pytest.approx(need.server_cores)
    assert 129_600_000 == pytest.approx(need.actions_a_month)
    assert (34_560, 1_728_000) == tuple(map(round, need.calls_a_day))
    assert 42.3 == pytest.approx(need.gigabytes, abs=0.1)


def test_a_slow_erp_needs_more_processes() -> None:
    """Forty calls at once, sixteen for each process, busy 60 % of the time."""
    assert 5 == plan(UNIT, 36_000, 1.0, 16).worker_processes


def test_the_simulation_agrees_with_measured_rates() -> None:
    """Within a fifth, for the runs that had the machine mostly for themselves."""
    ratios = {name: simulated / measured for name, measured, simulated in checked()}
    assert {"throughput-after", "throughput-rest"} <= ratios.keys()
    for name in ("throughput-after", "throughput-rest"):
        assert 1.0 == pytest.approx(ratios[name], abs=0.2)


def test_a_full_erp_makes_orders_wait_longer() -> None:
    """The same orders take longer if fewer of their calls may be under way at a time."""
    arrivals = poisson(3600, 500)
    wide, narrow = (simulate(arrivals, 0.02, 2, 0.25, places) for places in (16, 1))
    assert narrow.p95 > 3 * wide.p95


def test_the_stored_units_are_read() -> None:
    """The newest results have what the page shows: a few tens of milliseconds, five actions, four calls."""
    unit = units()
    assert (4.0, 2.0) == (unit.erp_calls, unit.lone_calls)
    assert 0.005 < unit.worker < 0.2
