"""Case I9: names in expressions and write-backs with the wrong case, and values that are missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.errors import AttentionError
from closedwon.mapping.record import snapshot
from closedwon.model.erp import STATUS_NOT_NEEDED
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.model.snapshot import Declined, NotWanted
from closedwon.operations import doctor
from closedwon.temporal.orders import start_order
from tests.cases.identity import ERPS, snapshot_of, waits_for_org
from tests.support import checks as support
from tests.support.handoff import handoff, until
from tests.support.mapping import KEY, example_route, record_of
from tests.support.mapping import deal as fields_of


def test_i9_a_name_in_the_wrong_case_is_refused_with_the_right_one() -> None:
    """`qualify = "isWon"` is a mistake in the settings, not a deal that does not qualify; so is a write-back field."""
    with pytest.raises(
        ValidationError, match=r"qualify: reads isWon, which `select` does not fetch; did you mean `IsW"
    ):
        example_route(('qualify = "IsWon"', 'qualify = "isWon"'))
    with pytest.raises(ValidationError, match=r"names Erp_Order_Number__c, .*; did you mean `ERP_Order_Number__c`"):
        example_route(
            ("PO_Number__c,", "PO_Number__c, ERP_Order_Number__c,"),
            ('number = "ERP_Order_Number__c"', 'number = "Erp_Order_Number__c"'),
        )


def test_i9_a_field_that_comes_in_another_case_is_not_taken_for_empty() -> None:
    """Where only Salesforce's answer shows the right case, the order waits instead of being ordered twice."""
    route = example_route(('number = "ERP_Order_Number__c"', 'number = "Erp_Order_Number__c"'))
    with pytest.raises(AttentionError, match="has no field Erp_Order_Number__c; did you mean ERP_Order_Number__c"):
        snapshot(record_of(fields_of(ERP_Order_Number__c="SO-1"), route), ERPS)


@pytest.mark.parametrize(("value", "is_certain"), [(False, True), (None, False)])
def test_i9_a_qualify_without_a_value_does_not_mean_not_won(value: object, *, is_certain: bool) -> None:
    """A `qualify` that yields nothing is never a reason to cancel."""
    found = snapshot_of(IsWon=value)
    assert isinstance(found, NotWanted)
    assert is_certain is found.is_certain


def test_i9_a_declined_order_without_a_value_needs_no_person() -> None:
    """What Closedwon writes for a person may come back as a notification: it would ask again and again."""
    assert isinstance(snapshot_of(IsWon=None, ERP_Order_Status__c=STATUS_NOT_NEEDED, ERP_Order_Key__c=KEY), Declined)


async def test_i9_a_name_in_the_wrong_case_is_never_a_reason_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """`qualify = "isWon"` holds the route with a sentence that names the field; a won deal's order stays as it is."""
    async with handoff(on_unqualified="cancel") as world, support.alerting(world) as hook:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        right = world.settings
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        async with support.checked(world):
            await world.until_written_back(record)
            await world.order(record).result()
        route = right.routes[0].model_copy(update={"qualify": "isWon"})
        world.settings = right.model_copy(update={"routes": (route,)})
        async with support.checked(world):
            message = Message(id="m-2", channel=Channel.SWEEP, received_at=datetime.now(UTC))
            start = order_start(world.settings, world.settings.routes[0], record)
            await start_order(world.client, start, message)
            await until(lambda: waits_for_org(world, record))
            await support.until_held(world, names.hold_workflow_id("fields", world.org.org_id))
            found = (await doctor.examine(world.settings))[0]
            await until(lambda: hook.taken)
        assert "Opportunity has no field isWon; the name is IsWon" in found.text
        assert ("org org-0", True) == (found.subject, "`qualify` of route 'won-0'" in found.hint)
        assert ["confirmed"] == [order["status"] for order in world.erp.orders()]

        world.settings = right
        async with support.checked(world):
            await world.order(record).result()
            await support.until_held(world)
        assert ["confirmed"] == [order["status"] for order in world.erp.orders()]
        assert 0 == await support.needed_attention(world)


@pytest.mark.parametrize("changes", [{}, {"writable": False}], ids=["renamed", "read-only"])
async def test_i9_a_field_that_is_renamed_under_running_workers_holds_its_orders(changes: dict[str, Any]) -> None:
    """The next round finds it; two processes alert once; orders go on by themselves when it is there again."""
    async with (
        handoff() as world,
        support.alerting(world) as hook,
        support.checked(world) as one,
        support.another(world) as other,
    ):
        world.org.seed(2)
        await world.until_written_back(*world.org.win_next(1))
        with support.changed(world.org, "Opportunity", "ERP_Order_Number__c", **changes):
            await one.round()
            await other.round()
            calls = world.org.api_calls.total()
            (record,) = await world.win(1)
            await until(lambda: waits_for_org(world, record))
            assert calls == world.org.api_calls.total()
            await support.until_held(world, names.hold_workflow_id("fields", world.org.org_id))
            await until(lambda: hook.taken)
            await one.round()
        assert 1 == len(world.erp.orders())
        await one.round()
        await other.round()
        await world.until_written_back(record)
        await support.until_held(world)
        (alert,) = hook.taken
        assert "ERP_Order_Number__c" in alert["sentence"]
        assert 0 == await support.needed_attention(world)
