"""What is done when an org runs out of API calls, by what each of its responses says (`Sforce-Limit-Info`). Pure.

| used of the calls of 24 hours | what is done |
|---|---|
| above `sweep.api_share`, `audit.api_share` (0.8) | sweeps and audits wait (`activities.sweeps`) |
| above `LONGER_BATCHES_FROM` | orders share calls for longer: 4 seconds, not 0.1 to 2.5 |
| above `ORDERS_WAIT_FROM` | orders wait for the next call, which leaves once a minute or when it is full |
| all | Salesforce refuses calls (`REQUEST_LIMIT_EXCEEDED`); orders are retried after 45 to 90 minutes |

Nothing is lost: what waits is an activity with a next attempt, whose failure says why. What is known of the org is
as old as its last response, and a call once a minute renews it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.salesforce.api.window import NORMAL, Pace
from closedwon.salesforce.errors import ThrottledError

LONGER_BATCHES_FROM: Final = 0.8
"""Share of the org's calls, the default of `api_share`: from there on, no call should be made for one order."""
ORDERS_WAIT_FROM: Final = 0.95
"""Share of the org's calls. The rest is for a call a minute, and for what else uses the org."""

_LONGER: Final = Pace(first=4.0, longest=4.0)
"""Below the six seconds after which a local activity makes room for a regular one."""
_EACH_MINUTE: Final = Pace(first=60.0, longest=60.0)
_SHORT_WAIT: Final = 5.0
"""Seconds before the next call leaves, in which orders may wait for it; before that they are sent away."""
_LIMIT_INFO: Final = re.compile(r"(?<![\w-])api-usage=(\d+)/(\d+)")


class Usage(NamedTuple):
    """API calls of the org in the last 24 hours, all clients together."""

    used: int
    max: int

    @property
    def share(self) -> float:
        """How much is used; more than 1 is possible. An org without any calls has used all of them."""
        return self.used / self.max if self.max else 1.0

    def __str__(self) -> str:
        """Text for people."""
        return f"{self.used} of {self.max} API calls of 24 hours are used"


class Measure(StrEnum):
    """What is done to save API calls; the values are labels of a metric."""

    SWEEPS_WAIT = "sweeps-wait"
    LONGER_BATCHES = "longer-batches"
    ORDERS_WAIT = "orders-wait"

    @property
    def text(self) -> str:
        """For people: "sweeps wait"."""
        return _TEXTS[self]


_TEXTS: Final = {
    Measure.SWEEPS_WAIT: "sweeps wait",
    Measure.LONGER_BATCHES: "orders share calls for longer",
    Measure.ORDERS_WAIT: "orders share one call a minute",
}


def usage_in(header: str) -> Usage | None:
    """Read the header `Sforce-Limit-Info`; None if it does not say what the org has used."""
    info = _LIMIT_INFO.search(header)
    return Usage(int(info[1]), int(info[2])) if info else None


def measures(usage: Usage, *, sweep_share: float | None) -> list[Measure]:
    """Say what is done now; `sweep_share` is the smallest `api_share` of the org's sweeps, None if it has none."""
    limits = {
        Measure.SWEEPS_WAIT: sweep_share,
        Measure.LONGER_BATCHES: LONGER_BATCHES_FROM,
        Measure.ORDERS_WAIT: ORDERS_WAIT_FROM,
    }
    return [measure for measure, limit in limits.items() if limit is not None and usage.share > limit]


def pace(usage: Usage | None) -> Pace:
    """How far apart the calls for orders are."""
    if usage is None or usage.share <= LONGER_BATCHES_FROM:
        return NORMAL
    return _LONGER if usage.share <= ORDERS_WAIT_FROM else _EACH_MINUTE


def check_turn(usage: Usage | None, delay: float) -> None:
    """Raise `ThrottledError` if an order must wait and the next call leaves only in `delay` seconds.

    The error's `retry_after` leads back to shortly before that call, so that all who wait share it.
    """
    if usage is None or usage.share <= ORDERS_WAIT_FROM or delay <= _SHORT_WAIT:
        return
    raise ThrottledError(
        f"{usage}; above {100 * ORDERS_WAIT_FROM:.0f} % of them orders share one call a minute",
        between=(timedelta(seconds=delay - _SHORT_WAIT), timedelta(seconds=delay - 1)),
    )
