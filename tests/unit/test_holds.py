"""The gate in front of an order's calls."""

from __future__ import annotations

import pytest

from activities.holds import FailedCheck, HeldError, Holds
from closedwon.errors import AttentionReason, BenignError
from closedwon.ids import OrgId
from closedwon.settings import Route
from tests.support.handoff import _DEAL, _SELECT
from tests.support.salesforce import ORG_ID, org_at

_ROUTE = Route.model_validate({**_DEAL, "name": "won", "org": "test", "select": _SELECT})
_FAILED = FailedCheck(
    check="login", subject="org test", reason=AttentionReason.CONFIGURATION, text="another org", hint="Correct it."
)


def test_a_new_gate_holds_nothing() -> None:
    """Tools and tests without checks order as before."""
    holds = Holds()
    holds.check(_ROUTE)
    holds.check_erp("light", ORG_ID)


def test_an_org_is_held_until_each_of_its_checks_passes() -> None:
    """By its name, as routes know it, and by its id, as orders do; other orgs and ERPs go on."""
    holds, org = Holds(), org_at("http://localhost:1")
    holds.hold_org(org, _FAILED)
    holds.hold_org(org, _FAILED.model_copy(update={"check": "fields", "text": "no such field"}))
    holds.release_org(org, "login")
    with pytest.raises(HeldError, match="held: org test: no such field") as raised:
        holds.check(_ROUTE)
    with pytest.raises(HeldError):
        holds.check_erp("light", ORG_ID)
    assert isinstance(raised.value, BenignError)
    holds.check(_ROUTE.model_copy(update={"org": "other"}))
    holds.check_erp("light", OrgId("00D000000000002"))
    holds.check_erp("light")
    holds.release_org(org, "fields")
    holds.check(_ROUTE)
    holds.check_erp("light", ORG_ID)


def test_an_erp_is_held_for_all_orgs() -> None:
    """Orders for another ERP go on, and records are read."""
    holds = Holds()
    holds.hold_erp("light", _FAILED)
    with pytest.raises(HeldError, match="held: erp light"):
        holds.check_erp("light", ORG_ID)
    holds.check_erp("tryton", ORG_ID)
    holds.check(_ROUTE)
    holds.release_erp("light")
    holds.check_erp("light", ORG_ID)
