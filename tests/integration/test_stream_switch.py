"""An org is switched from CometD to the Pub/Sub API and back, in the middle of its events."""

from __future__ import annotations

from typing import Literal

import pytest

from closedwon import names
from closedwon.emulators.salesforce.config import OrgConfig, PubSubConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.model.sweeps import GapReason
from tests.support.audit import assert_clean
from tests.support.handoff import CHANNEL, Handoff, handoff
from workflows.subscription import SubscriptionWorkflow


def switch(world: Handoff, stream: Literal["cometd", "pubsub"]) -> None:
    """Change the setting, as an operator does between two starts."""
    org = world.settings.orgs[0].model_copy(update={"stream": stream})
    world.settings = world.settings.model_copy(update={"orgs": (org,)})


@pytest.mark.parametrize(("before", "after"), [("cometd", "pubsub"), ("pubsub", "cometd")])
async def test_a_switched_org_loses_nothing_and_says_so_by_a_gap(
    before: Literal["cometd", "pubsub"], after: Literal["cometd", "pubsub"]
) -> None:
    """Deals won before, between and after the switch have one order each; the old position has opened a gap."""
    async with (
        SalesforceEmulator.running(config=OrgConfig(pubsub=PubSubConfig(port=0))) as org,
        handoff(orgs=[org]) as world,
    ):
        org.seed(9)
        switch(world, before)
        async with world.working():
            won = org.win_next(3)
            await world.until_written_back(*won)
        won += org.win_next(3)
        switch(world, after)
        async with world.working():
            won += org.win_next(3)
            await world.until_written_back(*won)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(org.org_id, CHANNEL))
            gaps = await subscription.query(SubscriptionWorkflow.gaps)

        assert [GapReason.BUS_MOVED] == [gap.reason for gap in gaps]
        assert_clean(await world.audit(), won=9)
