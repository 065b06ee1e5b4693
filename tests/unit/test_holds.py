"""The gate in front of an order's calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from activities.holds import HeldError, Holds
from closedwon.errors import AttentionReason, BenignError
from closedwon.ids import OrgId
from closedwon.model.checks import CheckName, FailedCheck
from closedwon.settings import Route
from tests.support.handoff import _DEAL, _SELECT
from tests.support.salesforce import ORG_ID, org_at

_RUNBOOK = Path(__file__).parents[2] / "docs" / "operate" / "safety-checks.md"
_ROUTE = Route.model_validate({**_DEAL, "name": "won", "org": "test", "select": _SELECT})
_FAILED = FailedCheck(
    check="login", subject="org test", reason=AttentionReason.CONFIGURATION, text="another org", hint="Correct it."
)


def test_a_new_gate_holds_nothing() -> None:
    """Tools and tests without checks order as before."""
    holds = Holds()
    holds.check(_ROUTE)
    holds.check_erp("stub", ORG_ID)


def test_an_org_is_held_until_each_of_its_checks_passes() -> None:
    """By its name, as routes know it, and by its id, as orders do; other orgs and ERPs go on."""
    holds, org = Holds(), org_at("http://localhost:1")
    holds.hold_org(org, _FAILED)
    holds.hold_org(org, _FAILED.model_copy(update={"check": "fields", "text": "no such field"}))
    holds.release_org(org, "login")
    with pytest.raises(HeldError, match="held: org test: no such field") as raised:
        holds.check(_ROUTE)
    with pytest.raises(HeldError):
        holds.check_erp("stub", ORG_ID)
    assert isinstance(raised.value, BenignError)
    holds.check(_ROUTE.model_copy(update={"org": "other"}))
    holds.check_erp("stub", OrgId("00D000000000002"))
    holds.check_erp("stub")
    holds.release_org(org, "fields")
    holds.check(_ROUTE)
    holds.check_erp("stub", ORG_ID)


@pytest.mark.parametrize("check", get_args(CheckName))
def test_a_check_has_its_line_in_the_runbook(check: str) -> None:
    """A person who reads the name in `hold:<check>@…` finds what it checks."""
    assert 1 == len(re.findall(rf"^\| `{check}` \| .{{40,}} \|$", _RUNBOOK.read_text("utf-8"), re.MULTILINE))


def test_only_what_any_sender_can_push_is_refused_by_intake() -> None:
    """The other checks say nothing about who sends: messages are accepted, and their orders wait."""
    holds, org = Holds(), org_at("http://localhost:1")
    holds.hold_org(org, _FAILED)
    holds.check_push(_ROUTE)
    holds.hold_org(org, _FAILED.model_copy(update={"check": "intake", "text": "open"}))
    with pytest.raises(HeldError, match="held: org test: open"):
        holds.check_push(_ROUTE)
    holds.release_org(org, "intake")
    holds.check_push(_ROUTE)


def test_an_erp_is_held_until_each_of_its_checks_passes() -> None:
    """Its answer and the strength of its webhook's keys are two checks."""
    holds = Holds()
    holds.hold_erp("stub", _FAILED.model_copy(update={"check": "erp"}))
    holds.hold_erp("stub", _FAILED.model_copy(update={"check": "secrets"}))
    holds.release_erp("stub", "erp")
    with pytest.raises(HeldError):
        holds.check_erp("stub")
    holds.release_erp("stub", "secrets")
    holds.check_erp("stub")


def test_an_erp_is_held_for_all_orgs() -> None:
    """Orders for another ERP go on, and records are read."""
    holds = Holds()
    holds.hold_erp("stub", _FAILED.model_copy(update={"subject": "erp stub"}))
    with pytest.raises(HeldError, match="held: erp stub"):
        holds.check_erp("stub", ORG_ID)
    holds.check_erp("tryton", ORG_ID)
    holds.check(_ROUTE)
    holds.release_erp("stub", "login")
    holds.check_erp("stub", ORG_ID)
