"""What of an ERP has worked in this process, and for how long a refusal of it is tried again.

An ERP that is deployed, or the proxy before it, answers 401, 403, 404 or off the contract for some seconds. A person
who is asked then finds nothing. So a refusal that concerns the ERP as a whole (`errors.concerns_erp`) is tried again
for a while, if the ERP has worked in this process before: a call of the same kind for 15 minutes, another one for one.
The time begins with the first refusal, whichever order met it, and a success ends it.

After that the ERP itself is checked, and held if it refuses the check, too (`activities.holds`): one alert, no matter
how many orders wait. Only what the check cannot see, e.g. a missing right to cancel, needs a person for each order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal

from closedwon.streaks import WHILE, Streaks

Call = Literal["look", "create", "advance", "amend", "cancel", "claim"]
"""What an ERP is asked for. All look-ups are one kind."""

UNPROVEN: Final = timedelta(minutes=1)
"""For how long a refusal is tried again if only other kinds of calls have worked: most probably a right is missing."""


class Refusals:
    """The refusals of one ERP, as one process sees them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has worked yet, so that nothing is tried again."""
        self._has_worked: set[Call] = set()
        self._streaks = Streaks(clock)

    def accepted(self, call: Call) -> None:
        """Note that the ERP has done what was asked for, or has refused it for a reason of the order's own."""
        self._has_worked.add(call)
        self._streaks.end(call)

    def refused(self, call: Call, *, is_answer: bool = False) -> timedelta:
        """Note a refusal that concerns the ERP; return for how long it is still tried again.

        `is_answer`: it is an answer off the contract. That a facade has answered other calls right says nothing of it.
        """
        has_worked = call in self._has_worked
        left = self._streaks.left(call, WHILE if has_worked else UNPROVEN)
        return left if has_worked or (self._has_worked and not is_answer) else timedelta(0)
