"""Case I5: settings that name another org than the one behind the address."""

from __future__ import annotations

from functools import partial

import pytest
from pydantic import SecretStr

from closedwon import names
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.facts import overview
from closedwon.operations import doctor
from closedwon.operations.troubles import Harm
from closedwon.safe_text import chat
from tests.cases.identity import waits_for_org
from tests.support import checks as support
from tests.support.deals import notify
from tests.support.handoff import Handoff, handoff, settings_for, until
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message


async def test_i5_orders_wait_while_the_settings_name_another_org(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that name one org and lead to another order nothing, alert once, and orders go on when corrected."""
    callouts = {"keys": [SecretStr(support.CALLOUT_KEY)]}
    async with (
        SalesforceEmulator.running() as elsewhere,
        handoff(outbound=PROVEN, callouts=callouts) as world,
        support.alerting(world) as hook,
    ):
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        right = world.settings
        there = settings_for([elsewhere], world.erp).orgs[0]
        wrong = right.orgs[0].model_copy(update={"url": there.url, "auth": there.auth})
        world.settings = right.model_copy(update={"orgs": (wrong,)})
        world.org.seed(3)
        elsewhere.seed(1)
        elsewhere.win_next(1)  # its event is on the bus of the org that is not meant
        swept, pushed, called = world.org.win_next(3)
        async with support.checked(world) as checks, support.another(world), intake(world) as address:
            assert 200 == (await deliver(address, soap_message(world.org.org_id, [pushed]), route=PROVEN_ROUTE))[0]
            assert 202 == await support.call_out(address, world.org.org_id, called)
            await notify(world, swept)
            for record in (swept, pushed, called):
                await until(partial(waits_for_org, world, record))
            await checks.round()
            await checks.round()
            sentence = await check_that_the_org_is_held(world, elsewhere)
            await until(lambda: hook.taken)

        assert [] == world.erp.orders()
        assert 0 == elsewhere.api_calls.total()
        assert 0 == elsewhere.cometd.events_sent

        world.settings = right.model_copy(update={"alerts": world.settings.alerts})
        async with support.checked(world):
            await world.until_written_back(swept, pushed, called)
            await support.until_held(world)
        assert 0 == await support.needed_attention(world)
        assert 3 == len(world.erp.orders())
        (alert,) = hook.taken
        assert ("check", world.org.org_id, chat(sentence)) == (alert["kind"], alert["org"], alert["sentence"])


async def check_that_the_org_is_held(world: Handoff, elsewhere: SalesforceEmulator) -> str:
    """The hold, doctor and the subscription name both orgs and the setting; returns the sentence of the hold."""
    await support.until_held(world, names.hold_workflow_id("login", world.org.org_id))
    found = (await doctor.examine(world.settings))[0]
    (held,) = (await overview.look(world.client, world.settings)).held
    reader = names.subscription_workflow_id(world.org.org_id, "/event/Order_Requested__e")
    await until(lambda: support.waits_for(world, reader))
    assert "orgs.id" in await support.waits_for(world, reader)
    assert (Harm.STOPPED, "org org-0") == (found.harm, found.subject)
    for part in (elsewhere.org_id, world.org.org_id, "`orgs.id`"):
        assert part in found.text
        assert part in held.failed.text
    assert "`orgs.url`" in found.hint
    return held.failed.text


async def test_i5_the_next_login_notices_an_org_that_was_replaced() -> None:
    """A sandbox that is refreshed behind the same address gets nothing from its next login on; orders wait."""
    async with handoff() as world, support.checked(world) as checks:
        world.org.seed(2)
        await world.until_written_back(*world.org.win_next(1))
        was, made = world.org.org_id, len(world.erp.orders())
        # Another org lets us in, and knows nothing of the old one's tokens.
        world.org.oauth._org_id = type(was)("00D00000000Fred")
        world.org.oauth.expire_all()
        calls = world.org.api_calls.total()
        (record,) = await world.win(1)
        workflow_id = names.order_workflow_id(was, record)
        await until(lambda: _waits_for(world, workflow_id, "orgs.id"))
        await checks.round()
        await support.until_held(world, names.hold_workflow_id("login", was))
        assert made == len(world.erp.orders())
        world.org.oauth._org_id = was
        await until(lambda: _logs_in(world))
        await checks.round()
        await world.until_written_back(record)
        assert 0 == await support.needed_attention(world)
        assert calls < world.org.api_calls.total()


async def _waits_for(world: Handoff, workflow_id: str, text: str) -> bool:
    """Whether the newest attempt of a workflow's activity failed with this text."""
    return text in await support.waits_for(world, workflow_id)


async def _logs_in(world: Handoff) -> bool:
    """Whether the pause after the failed login is over, and the next one succeeds."""
    try:
        await world.connections.salesforce[world.org.org_id].log_in()
    except Exception:  # noqa: BLE001 - any failure means that the login does not succeed yet
        return False
    return True
