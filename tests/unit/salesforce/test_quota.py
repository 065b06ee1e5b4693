"""What is done when an org runs out of API calls."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon.salesforce.api.quota import Measure, Usage, check_turn, measures, pace, usage_in
from closedwon.salesforce.api.window import NORMAL
from closedwon.salesforce.errors import ThrottledError


@pytest.mark.parametrize(
    ("header", "usage"),
    [
        ("api-usage=18/5000; per-app-api-usage=17/250(appName=ours)", Usage(18, 5000)),
        ("per-app-api-usage=17/250(appName=ours), api-usage=25/5000", Usage(25, 5000)),
        ("per-app-api-usage=17/250(appName=ours)", None),
        ("", None),
    ],
)
def test_the_header_says_what_the_org_has_used(header: str, usage: Usage | None) -> None:
    """The part of one app is not the org's."""
    assert usage == usage_in(header)


@pytest.mark.parametrize(
    ("used", "seconds"), [(None, 0.1), (0, 0.1), (80, 0.1), (81, 4.0), (95, 4.0), (96, 60.0), (100, 60.0), (130, 60.0)]
)
def test_the_more_is_used_the_further_apart_calls_are(used: int | None, seconds: float) -> None:
    """Beyond 80 and 95 % of the calls of 24 hours, also where an org goes beyond all of them."""
    found = pace(None if used is None else Usage(used, 100))
    assert (seconds, max(seconds, 2.5)) == found


def test_an_org_without_calls_has_used_all() -> None:
    """0 of 0 is not nothing, and no division fails."""
    assert 1.0 == Usage(0, 0).share
    assert 60.0 == pace(Usage(0, 0)).first
    assert NORMAL == pace(Usage(0, 1))


@pytest.mark.parametrize(("used", "delay"), [(None, 60.0), (95, 60.0), (96, 5.0), (96, 0.0), (100, 0.0)])
def test_orders_wait_last(used: int | None, delay: float) -> None:
    """Up to 95 % never; beyond, one that comes shortly before the next call shares it, and the first one makes it."""
    check_turn(None if used is None else Usage(used, 100), delay)


@pytest.mark.parametrize("delay", [5.1, 30.0, 60.0])
def test_an_order_that_waits_says_why_and_comes_back_in_time(delay: float) -> None:
    """Before the next call leaves, so that all who wait share it."""
    waits = []
    for _ in range(50):
        with pytest.raises(ThrottledError, match="96 of 100 API calls of 24 hours are used; above 95 %") as raised:
            check_turn(Usage(96, 100), delay)
        assert raised.value.retry_after is not None
        waits.append(raised.value.retry_after)
    assert timedelta(seconds=delay - 5) <= min(waits) <= max(waits) <= timedelta(seconds=delay - 1)
    assert timedelta(seconds=delay - 2) < max(waits)


def test_each_measure_is_known_by_name() -> None:
    """For the metric: which measures are in force at which share."""
    assert [] == measures(Usage(80, 100), sweep_share=0.8)
    assert [Measure.SWEEPS_WAIT] == measures(Usage(50, 100), sweep_share=0.4)
    assert [Measure.LONGER_BATCHES] == measures(Usage(90, 100), sweep_share=None)
    assert [*Measure] == measures(Usage(96, 100), sweep_share=0.8)
    assert "sweeps wait, orders share calls for longer, orders share one call a minute" == ", ".join(
        measure.text for measure in Measure
    )
