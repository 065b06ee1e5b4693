"""How much an org has left of what Closedwon uses: API calls, and the delivery and publishing of events.

Source: REST API Developer Guide, "Limits": an object of `{name: {Max, Remaining}}`. It needs the permission "View Setup
and Configuration", so an org may refuse it; API calls are then known from the header of any response alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from closedwon.salesforce.api.rest import SalesforceClient

NAMES: Final[Mapping[str, str]] = {
    "DailyApiRequests": "API calls of 24 hours",
    "DailyBulkV2QueryJobs": "bulk query jobs of 24 hours",
    "HourlyPublishedPlatformEvents": "platform events published in an hour",
    "HourlyPublishedStandardVolumePlatformEvents": "standard-volume events published in an hour",
    "DailyDeliveredPlatformEvents": "platform events delivered in 24 hours",
    "DailyStandardVolumePlatformEvents": "standard-volume events delivered in 24 hours",
    "MonthlyPlatformEvents": "platform events delivered in a month",
    "MonthlyPlatformEventsUsageEntitlement": "platform events of the month's entitlement",
}
"""What each name counts. An org reports some of them, by its edition and its API version."""
NEAR: Final = 0.8
"""Share of a limit from which on an operator should know."""


class OrgLimit(NamedTuple):
    """One limit of an org."""

    name: str
    used: int
    max: int

    @property
    def share(self) -> float:
        """How much is used."""
        return self.used / self.max

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.used} of {self.max} {NAMES[self.name]} are used ({self.name})"


async def org_limits(client: SalesforceClient) -> list[OrgLimit]:
    """Ask the org: one API call. Raises errors of `closedwon.salesforce.errors`."""
    return read_limits(await client.call(lambda salesforce: salesforce.limits()))


def read_limits(body: object) -> list[OrgLimit]:
    """Read an answer; what is not understood, or does not apply to the org (a maximum of 0), is left out."""
    if not isinstance(body, Mapping):
        return []
    found = (_limit(name, body.get(name)) for name in NAMES)
    return [limit for limit in found if limit is not None]


def _limit(name: str, value: Any) -> OrgLimit | None:
    if not isinstance(value, Mapping):
        return None
    most, left = value.get("Max"), value.get("Remaining")
    if not isinstance(most, int) or not isinstance(left, int) or most <= 0:
        return None
    return OrgLimit(name, most - left, most)
