"""Cases S1 to S3: what a real org would do, as far as it can be seen without one."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import pytest

from closedwon.emulators.salesforce.config import ORDER_REQUESTED, OrgConfig, Rights
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.operations.unannounced import unannounced
from closedwon.salesforce.bus.bayeux import read_answer, refusal
from closedwon.salesforce.errors import SessionExpiredError
from closedwon.settings import Route, Settings
from tests.support import sfdx
from tests.support.salesforce import org_at
from workers.connections import Connections

_APEX: Final = sfdx.apex()
_WIN: Final = "ClosedwonTestDeals.win("


@pytest.mark.parametrize("user_mode", [True, False])
async def test_s1_an_event_in_user_mode_is_lost_with_the_right_to_publish_it(user_mode: bool) -> None:  # noqa: FBT001 - a case
    """The emulator does what API 67.0 does; our Apex names system mode at each publication, and has a test."""
    flow = ORDER_REQUESTED.model_copy(update={"user_mode": user_mode})
    config = OrgConfig(flows=(flow,), rights=Rights(salesperson_publishes=False))
    async with SalesforceEmulator.running(config=config) as org:
        org.seed(1)
        org.win_next(1)
        assert int(not user_mode) == org.bus.published

    published = re.findall(r"EventBus\.publish\w*\([^;]*;", "".join(_APEX.values()))
    assert published
    assert all("publishWithAccessLevel" in one and "AccessLevel.SYSTEM_MODE" in one for one in published)
    assert "System.runAs(ClosedwonTestUsers.minimal())" in _APEX["ClosedwonEventsTest"]


async def test_s2_an_inactive_flow_is_noticed_and_the_manifest_has_a_test_that_wins_a_deal() -> None:
    """Without the flow, nothing reports an error; `config check` looks for the event of the newest won deal."""
    inactive = ORDER_REQUESTED.model_copy(update={"active": False})
    async with SalesforceEmulator.running(config=OrgConfig(flows=(inactive,))) as org:
        org.clock.advance(-timedelta(minutes=5))
        org.seed(1)
        org.win_next(1)
        org.clock.advance(timedelta(minutes=5))
        own = org_at(org.url, org_id=org.org_id, client_id=org.client_id, secret=org.client_secret)
        found = sfdx.route() | {"org": own.name, "outbound": None, "callouts": None}
        route = Route.model_validate(found | {"sweep": {"where": "IsWon = TRUE"}})
        settings = Settings.model_construct(orgs=(own,), erps=(), routes=(route,))
        async with Connections(settings) as connections:
            (finding,) = [each async for each in unannounced(settings, connections)]

    assert "production deploys flows as inactive" in finding.hint
    members = sfdx.manifest(sfdx.PACKAGE / "manifest" / "event-by-flow.xml")
    assert any(_WIN in _APEX[name] for kind, name in members if kind == "ApexClass")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (HTTPStatus.UNAUTHORIZED, b'[{"error":"401:a,b:Authentication invalid","successful":false}]'),
        (HTTPStatus.UNAUTHORIZED, b'[{"error":"Unauthorized","successful":false}]'),
    ],
)
def test_s3_a_401_without_a_channel_is_the_loss_of_the_session(status: HTTPStatus, body: bytes) -> None:
    """So is one with arguments: a new login follows, not another try with the same token."""
    with pytest.raises(SessionExpiredError):
        read_answer(status, body)
    lost: dict[str, Any] = {"channel": "/meta/connect", "error": "401:x:Authentication invalid", "successful": False}
    assert SessionExpiredError is type(refusal(lost, {}))


def test_s3_a_copy_of_the_org_makes_no_callout_with_the_key_of_production() -> None:
    """Apex compares a digest of the org's id, which a sandbox copy does not replace; intake refuses other orgs (T8)."""
    apex = _APEX["ClosedwonCallout"]
    key = re.search(r"private static String key\(\) \{(.*?)\n    \}", apex, re.DOTALL)
    assert key is not None

    assert "Set_In__c == digestOfOrg()" in key[1]
    assert "WITH SYSTEM_MODE" in apex
    assert "aCopyOfTheOrgMakesNoCall" in _APEX["ClosedwonCalloutTest"]
