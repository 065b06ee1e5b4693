"""What orders wait for because a safety check has failed: the gate in front of an order's calls.

The checks (`workers.checks`) close and open it; activities ask it before they call Salesforce or an ERP. A hold fails
an attempt as benign, to be tried again: orders wait and go on by themselves, and none of them needs attention.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from closedwon.errors import BenignError
from closedwon.ids import OrgId
from closedwon.model.checks import CheckName, FailedCheck
from closedwon.settings import Org, Route


class HeldError(BenignError):
    """A safety check has failed: nothing is called until it passes."""


class Holds:
    """Which orgs and ERPs are held in this process. A new one holds nothing: tests and tools without checks."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._held: dict[str, dict[str, FailedCheck]] = {}
        self.in_doubt: Callable[[OrgId], Awaitable[None]] | None = None
        """Checks an org at once; None: nothing is checked here."""
        self.erp_in_doubt: Callable[[str], Awaitable[None]] | None = None
        """The same for an ERP."""

    def check(self, route: Route) -> None:
        """Raise `HeldError` while the org of the route is held."""
        self._raise_for(_of_org(route.org))

    async def doubt(self, org: OrgId) -> None:
        """Salesforce has refused what the settings name: check the org, and raise `HeldError` if that fails, too.

        A field that is renamed between two rounds so holds the orders instead of needing a person for each.
        """
        if self.in_doubt is not None:
            await self.in_doubt(org)
        self._raise_for(_of_org(org))

    async def doubt_erp(self, name: str) -> None:
        """An ERP has refused what every order needs: check it, and raise `HeldError` if that fails, too.

        Its orders then wait with one alert, instead of needing a person each.
        """
        if self.erp_in_doubt is not None:
            await self.erp_in_doubt(name)
        self.check_erp(name)

    def check_erp(self, name: str, org: OrgId | None = None) -> None:
        """Raise `HeldError` while the ERP is held, or the org from which its order comes."""
        self._raise_for(_of_erp(name))
        if org is not None:
            self._raise_for(_of_org(org))

    def check_push(self, route: Route) -> None:
        """Raise `HeldError` while any sender can push to the route: what it sends must not even wait."""
        failed = self._held.get(_of_org(route.org), {}).get("intake")
        if failed is not None:
            raise _held_by(failed)

    def hold_org(self, org: Org, failed: FailedCheck) -> None:
        """Let the orders of an org wait."""
        for name in (org.name, org.id):
            self._held.setdefault(_of_org(name), {})[failed.check] = failed

    def hold_erp(self, name: str, failed: FailedCheck) -> None:
        """Let the orders for an ERP wait."""
        self._held.setdefault(_of_erp(name), {})[failed.check] = failed

    def release_org(self, org: Org, check: CheckName) -> None:
        """The check has passed."""
        for name in (org.name, org.id):
            self._held.get(_of_org(name), {}).pop(check, None)

    def release_erp(self, name: str, check: CheckName) -> None:
        """The check has passed."""
        self._held.get(_of_erp(name), {}).pop(check, None)

    def _raise_for(self, key: str) -> None:
        for failed in self._held.get(key, {}).values():
            raise _held_by(failed)


def _held_by(failed: FailedCheck) -> HeldError:
    return HeldError(f"held: {failed.subject}: {failed.text}")


def _of_org(name: str) -> str:
    return f"org {name}"


def _of_erp(name: str) -> str:
    return f"erp {name}"
