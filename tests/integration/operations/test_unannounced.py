"""`config check` notices a won deal of which no event came."""

from __future__ import annotations

from datetime import timedelta

from closedwon.emulators.salesforce.config import ORDER_REQUESTED, OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.operations.checks import CheckFinding
from closedwon.operations.unannounced import unannounced
from closedwon.settings import Route, Settings
from tests.support import sfdx
from tests.support.salesforce import org_at
from workers.connections import Connections

_INACTIVE = ORDER_REQUESTED.model_copy(update={"active": False})


async def _findings(org: SalesforceEmulator) -> list[CheckFinding]:
    orgs = (org_at(org.url, org_id=org.org_id, client_id=org.client_id, secret=org.client_secret),)
    found = sfdx.route() | {"org": "test", "outbound": None, "callouts": None, "sweep": {"where": "IsWon = TRUE"}}
    settings = Settings.model_construct(orgs=orgs, erps=(), routes=(Route.model_validate(found),))
    async with Connections(settings) as connections:
        return [each async for each in unannounced(settings, connections)]


def _won_long_ago(org: SalesforceEmulator, *, ago: timedelta) -> RecordId:
    """Win a deal at a time of the org's clock that lies `ago` behind ours."""
    org.clock.advance(-ago)
    (deal,) = org.seed(1)
    org.win(deal)
    org.clock.advance(ago)
    return deal


async def test_a_won_deal_without_an_event_is_noticed() -> None:
    """The flow is inactive, which causes no error anywhere else."""
    async with SalesforceEmulator.running(config=OrgConfig(flows=(_INACTIVE,))) as org:
        deal = _won_long_ago(org, ago=timedelta(minutes=5))
        (finding,) = await _findings(org)

    assert f"Opportunity {deal} qualified" in finding.text
    assert ("events of won-deals", False, True) == (finding.subject, finding.wrong, finding.warns)
    assert "Activate the flow" in finding.hint


async def test_a_deal_with_its_event_is_not_reported() -> None:
    """Nor one that was won just now, or before events were retained."""
    async with SalesforceEmulator.running() as org:
        _won_long_ago(org, ago=timedelta(minutes=5))
        assert [] == await _findings(org)
    async with SalesforceEmulator.running(config=OrgConfig(flows=(_INACTIVE,))) as org:
        _won_long_ago(org, ago=timedelta(days=4))
        _won_long_ago(org, ago=timedelta())
        assert [] == await _findings(org)
