"""Which order is this deal's? Cases I1 to I9."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote

import aiohttp
import pytest
from pydantic import SecretStr, ValidationError
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import CancelOrder, CreateOrder, ErpActivities, ErpResult, FindOrder, FindOrders, ResolveOrder
from closedwon import names, temporal
from closedwon.acceptance import order_start
from closedwon.audit.gather import audit
from closedwon.audit.judge import Kind
from closedwon.audit.mend import mend
from closedwon.erp import open_erp
from closedwon.erp.base import Erp, WrongAnswerError
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import RecordId
from closedwon.localerp.light import Lie, LightErp
from closedwon.localorg.server import LocalOrg
from closedwon.model import Changed, Channel, Customer, Message, Order, Origin, idempotency_key, parse_idempotency_key
from closedwon.operating import doctor, overview
from closedwon.operating.doctor import Harm
from closedwon.order_state import Problem
from closedwon.record import Erps, snapshot
from closedwon.settings import Callouts, Intake, Outbound, Settings, Webhook
from closedwon.settings.codec import Codec
from closedwon.snapshot import Declined, NotWanted, RecordSnapshot, Wanted
from closedwon.telemetry import Metrics
from tests.integration.erp.worlds import made_by_hand, new_order, no_proof, rest_settings
from tests.support import checks as support
from tests.support.handoff import Handoff, handoff, settings_for, until
from tests.support.intake import PATH_SECRET, PROVEN, PROVEN_ROUTE, Authority, deliver, intake, soap_message
from tests.support.mapping import KEY, OTHER_KEY, example_route, record_of
from tests.support.mapping import deal as fields_of
from tests.support.sweeps import sweep, swept
from workers.connections import Connections

TODAY = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)


class StubWorld(NamedTuple):
    """The stub ERP over sockets, and the activities that an order workflow calls."""

    light: LightErp
    erp: Erp
    activities: ErpActivities

    async def create(self, order: Order, **request: Any) -> ErpResult:
        """What the workflow of a record that asks for an order calls."""
        return await ActivityEnvironment().run(
            self.activities.create_order, CreateOrder(erp="light", order=order, **request)
        )

    async def cancel(self, key: str, **request: Any) -> ErpResult:
        """What the workflow of a record that no longer qualifies calls."""
        return await ActivityEnvironment().run(
            self.activities.cancel_order, CancelOrder(erp="light", idempotency_key=key, **request)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every order with every column, past the contract."""
        return [dict(row) for row in self.light.table.db.execute("SELECT * FROM orders ORDER BY id")]


@asynccontextmanager
async def stub_world() -> AsyncIterator[StubWorld]:
    """An empty stub ERP behind the activities."""
    async with LightErp.running() as light:
        erp = open_erp(rest_settings(light.url, light.token))
        yield StubWorld(light, erp, ErpActivities({"light": erp}, Metrics(MetricMeter.noop), prove=no_proof))
        await erp.close()


def deal(lines: list[tuple[str, str, str]] | None = None, /, **changes: Any) -> Order:
    """An order of a record that was created on the day; no other order is for its customer."""
    order = new_order(lines) if lines else new_order()
    return order.model_copy(update={"created_at": TODAY, "modified_at": TODAY, "order_date": TODAY.date()} | changes)


async def problem_of(call: Awaitable[object]) -> Problem:
    """Why the call needs attention."""
    with pytest.raises(ApplicationError) as caught:
        await call
    assert caught.value.non_retryable, caught.value
    problem: Problem = caught.value.details[0]
    return problem


OTHERS = [("GC1040", "4", "5900.00")]


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize(
    ("by_hand", "expected"),
    [
        ({}, ["another customer", "23600.00 EUR on 1 line(s), and the record 11200.00 EUR on 2 line(s)"]),
        ({"lines": new_order().lines}, ["another customer"]),
        ({"lines": new_order().lines, "order_date": date(2025, 11, 3)}, ["another customer", "placed on 2025-11-03"]),
    ],
    ids=["mistyped, amounts differ", "mistyped, amounts agree", "renewal of last year"],
)
async def test_i1_a_number_of_another_customers_order_touches_nothing(
    by_hand: dict[str, Any], expected: list[str], changed: Changed
) -> None:
    """A number that names another customer's order leaves that order as it is, and a person reads what differs."""
    async with stub_world() as world:
        other = await made_by_hand(world.light, deal(OTHERS, **by_hand))
        before, mine = world.rows(), deal()

        problem = await problem_of(world.create(mine, number=other.number, changed=changed))
        again = await problem_of(world.create(mine, number=other.number, changed=changed))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert problem.message == again.message
        assert all(text in problem.message for text in expected), problem.message
        assert "Edge" not in problem.message
        assert before == world.rows()

        result = await world.create(mine, number=None, changed=changed)
        assert result.order is not None
        assert result.order.id != other.id
        assert 2 == len(world.rows())


async def test_i1_what_was_not_adopted_is_not_cancelled_when_the_deal_is_lost() -> None:
    """With `unwon = "cancel"` an order that a record only names is not cancelled: the ERP has none under its key."""
    async with stub_world() as world:
        other = await made_by_hand(world.light, deal(OTHERS))
        before, mine = world.rows(), deal()
        await problem_of(world.create(mine, number=other.number))

        result = await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)

        assert ErpResult(order=None) == result
        assert before == world.rows()


async def test_i1_the_same_customers_renewal_is_not_last_years_order() -> None:
    """An order of the same customer and content is adopted unless it was placed before the record was created."""
    async with stub_world() as world:
        mine = deal()
        last_year = await made_by_hand(world.light, mine.model_copy(update={"order_date": date(2025, 11, 3)}))

        problem = await problem_of(world.create(mine, number=last_year.number, number_is_proven=True))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "before the record was created" in problem.message

        this_year = await made_by_hand(world.light, mine)
        result = await world.create(mine, number=this_year.number)
        assert result.order is not None
        assert (this_year.id, Origin.ADOPTED, TODAY) == (result.order.id, result.order.origin, result.order.modified_at)


@pytest.mark.parametrize("left_out", ["customer", "lines", "order_date"])
async def test_i1_what_the_erp_leaves_out_counts_as_a_difference(
    left_out: Literal["customer", "lines", "order_date"],
) -> None:
    """An order that would agree is not adopted from a facade that leaves one of the compared fields out."""
    async with stub_world() as world:
        mine = deal()
        by_hand = await made_by_hand(world.light, mine)
        world.light.faults.leaves_out = frozenset({left_out})

        problem = await problem_of(world.create(mine, number=by_hand.number))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "does not" in problem.message


async def test_i1_a_facade_that_cannot_look_up_a_number_leads_to_a_person() -> None:
    """Where the ERP cannot be asked without a side effect it is not asked, and nothing is created beside it."""
    async with stub_world() as world:
        by_hand = await made_by_hand(world.light, deal())
        world.light.faults.no_number_lookup = True

        problem = await problem_of(world.create(deal(), number=by_hand.number))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "cannot say whether it has that one" in problem.message
        assert 1 == len(world.rows())


async def test_i1_a_number_that_belongs_to_another_record_was_copied() -> None:
    """The number of an order with another record's key does not stand in the way of the record's own order."""
    async with stub_world() as world:
        others = (await world.create(deal())).order
        assert others is not None

        result = await world.create(deal(), number=others.number)

        assert result.order is not None
        assert result.order.id != others.id


@pytest.mark.parametrize("origin", [Origin.ADOPTED, Origin.RESOLVED, None])
async def test_i1_no_policy_changes_or_cancels_what_closedwon_did_not_make(origin: Origin | None) -> None:
    """An order under the record's key whose origin is not `created` is amended, cancelled, reopened by people only."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        world.light.table.db.execute("UPDATE orders SET origin = ?", (origin,))
        before = world.rows()
        changed = mine.model_copy(update={"lines": mine.lines[:1]})

        amended = await problem_of(world.create(changed, changed="amend"))
        cancelled = await problem_of(world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY))

        assert AttentionReason.AMOUNT_DIFFERS is amended.reason
        assert "Closedwon did not make that order" in amended.message
        assert AttentionReason.ORDER_EXISTS is cancelled.reason
        assert before == world.rows()

        by_command = await world.cancel(mine.idempotency_key)
        assert by_command.order is not None
        assert "cancelled" == by_command.order.status
        reopened = await problem_of(world.create(mine, reopen=True))
        assert AttentionReason.ERP_REJECTED is reopened.reason


async def test_i1_resolve_compares_and_a_person_may_accept() -> None:
    """`resolve` shows how the order differs, changes nothing, and takes it once the differences are accepted."""
    async with stub_world() as world:
        mine, other = deal(), await made_by_hand(world.light, deal(OTHERS))
        before = world.rows()
        request = ResolveOrder(erp="light", idempotency_key=mine.idempotency_key, number=other.number or "", order=mine)

        shown = await ActivityEnvironment().run(world.activities.resolve_order, request)

        assert shown.order is None
        assert shown.differences is not None
        assert "another customer" in shown.differences
        assert before == world.rows()

        accepted = request.model_copy(update={"accept_differences": True})
        taken = await ActivityEnvironment().run(world.activities.resolve_order, accepted)
        assert taken.order is not None
        assert (other.id, Origin.RESOLVED, False) == (taken.order.id, taken.order.origin, taken.keyless)


async def test_i3_a_status_that_proves_nothing_is_a_question_to_the_erp() -> None:
    """A copied `cancelled` does not decide: what the ERP has under the record's own key does, else a person."""
    async with stub_world() as world:
        mine = deal()

        problem = await problem_of(world.create(mine, unproven_status="cancelled"))

        assert AttentionReason.ORDER_EXISTS is problem.reason
        assert "empty the record's status field" in problem.cure
        assert "`skip`" in problem.cure
        assert [] == world.rows()

        made = (await world.create(mine)).order
        assert made == (await world.create(mine, unproven_status="cancelled")).order


class Asked(NamedTuple):
    """The world in which the ERP lies: another record's order, and the one that the call is about."""

    world: StubWorld
    mine: Order


_Call = Callable[[Asked], Awaitable[object]]


async def _create(asked: Asked) -> object:
    return (await asked.world.create(asked.mine)).order


async def _find(asked: Asked) -> object:
    request = FindOrder(erp="light", idempotency_key=asked.mine.idempotency_key)
    return await ActivityEnvironment().run(asked.world.activities.find_order, request)


async def _cancel(asked: Asked) -> object:
    return (await asked.world.cancel(asked.mine.idempotency_key)).order


async def _amend(asked: Asked) -> object:
    changed = asked.mine.model_copy(update={"lines": asked.mine.lines[:1]})
    return (await asked.world.create(changed, changed="amend")).order


async def _adopt(asked: Asked) -> object:
    by_hand = await made_by_hand(asked.world.light, asked.mine)
    return (await asked.world.create(asked.mine, number=by_hand.number)).order


async def _resolve(asked: Asked) -> object:
    by_hand = await made_by_hand(asked.world.light, asked.mine)
    key, number = asked.mine.idempotency_key, by_hand.number or ""
    request = ResolveOrder(erp="light", idempotency_key=key, number=number, accept_differences=True)
    return (await ActivityEnvironment().run(asked.world.activities.resolve_order, request)).order


async def _sweep(asked: Asked) -> object:
    keys = (asked.mine.idempotency_key, new_order().idempotency_key)
    return await ActivityEnvironment().run(asked.world.activities.find_orders, FindOrders(erp="light", keys=keys))


WRONG = AttentionReason.ERP_ANSWER_WRONG
OFF_CONTRACT = AttentionReason.CONFIGURATION
LIES: list[tuple[Lie, _Call, bool, AttentionReason | None]] = [
    (Lie.FIND_OTHER, _create, False, WRONG),
    (Lie.FIND_OTHER, _find, False, WRONG),
    (Lie.FIND_OTHER, _cancel, False, WRONG),
    (Lie.FIND_OTHER, _resolve, False, WRONG),
    (Lie.FIND_STALE, _create, False, WRONG),
    (Lie.FIND_TWO, _create, True, WRONG),
    (Lie.FIND_TWO, _cancel, True, WRONG),
    (Lie.FIND_NO_KEY, _create, True, WRONG),
    (Lie.FIND_NO_KEY, _cancel, True, WRONG),
    (Lie.FIND_OTHER_KEY, _create, True, WRONG),
    (Lie.FIND_OTHER_KEY, _find, True, WRONG),
    (Lie.FIND_STAMPED, _create, False, AttentionReason.CUSTOMER_DIFFERS),
    (Lie.FIND_LIST, _create, True, OFF_CONTRACT),
    (Lie.FIND_OBJECT, _create, True, OFF_CONTRACT),
    (Lie.FIND_NULL, _create, True, OFF_CONTRACT),
    (Lie.CREATE_OTHER, _create, False, WRONG),
    (Lie.CREATE_NO_KEY, _create, False, WRONG),
    (Lie.CREATE_OTHER_KEY, _create, False, WRONG),
    (Lie.CREATE_STAMPED, _create, False, AttentionReason.CUSTOMER_DIFFERS),
    (Lie.CREATE_CANCELLED, _create, False, WRONG),
    (Lie.CREATE_LIST, _create, False, OFF_CONTRACT),
    (Lie.CONFIRM_OTHER, _create, False, WRONG),
    (Lie.CONFIRM_NO_KEY, _create, False, WRONG),
    (Lie.CONFIRM_OTHER_KEY, _create, False, WRONG),
    (Lie.CANCEL_OTHER, _cancel, True, WRONG),
    (Lie.CANCEL_OTHER_KEY, _cancel, True, WRONG),
    (Lie.CANCEL_UNMOVED, _cancel, True, None),
    (Lie.AMEND_OTHER, _amend, True, WRONG),
    (Lie.AMEND_NO_KEY, _amend, True, WRONG),
    (Lie.NUMBER_OTHER, _adopt, False, WRONG),
    (Lie.NUMBER_EMPTY, _adopt, False, AttentionReason.ORDER_EXISTS),
    (Lie.CLAIM_OTHER, _adopt, False, WRONG),
    (Lie.CLAIM_OTHER_KEY, _resolve, False, WRONG),
    (Lie.MANY_OTHER, _sweep, True, WRONG),
]


@pytest.mark.parametrize(
    ("lie", "call", "exists", "reason"), LIES, ids=[f"{lie}-{call.__name__.strip('_')}" for lie, call, *_ in LIES]
)
async def test_i2_an_answer_about_another_order_is_not_believed(
    lie: Lie,
    call: _Call,
    exists: bool,  # noqa: FBT001
    reason: AttentionReason | None,
) -> None:
    """However an answer is wrong, no order comes of it, and the other record's order stays as it is.

    `reason` None: the answer is retried.
    """
    async with stub_world() as world:
        other = (await world.create(deal(OTHERS))).order
        assert other is not None
        mine = deal()
        if exists:
            await world.create(mine)
        before = world.rows()[0]
        world.light.faults.lie = lie
        if lie is Lie.FIND_STALE:
            await world.erp.find(other.idempotency_key or "")

        with pytest.raises(ApplicationError) as caught:
            await call(Asked(world, mine))

        assert (reason is not None) is caught.value.non_retryable
        assert reason == (caught.value.details[0].reason if caught.value.details else None)
        assert before == world.rows()[0]

        world.light.faults.lie = None
        if call is _create:
            await world.create(mine)
            keys = [row["idempotency_key"] for row in world.rows()]
            assert [other.idempotency_key, mine.idempotency_key] == keys


def test_i2_every_lie_is_tried() -> None:
    """The stub ERP has no way of answering wrongly that is not tried."""
    assert set(Lie) == {lie for lie, *_ in LIES} | {Lie.LISTING_OTHER}


async def test_i2_a_listing_of_another_org_is_not_believed() -> None:
    """The audit does not take another org's orders for this one's."""
    async with stub_world() as world:
        elsewhere = new_order().model_copy(update={"org": RecordId("00D000000000002")})
        await world.create(elsewhere)
        await world.create(deal())
        world.light.faults.lie = Lie.LISTING_OTHER

        with pytest.raises(Exception, match="has an order of another org"):
            _ = [key async for key, _ in world.erp.orders_since(deal().org, TODAY - timedelta(days=9999))]


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize("lines", [1, 2], ids=["and other lines", "and nothing else"])
async def test_i4_a_deal_that_moved_to_another_account_needs_attention(changed: Changed, lines: int) -> None:
    """The ERP's order is still for the first customer: it is left as it is, and a person is asked, by every policy."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        before = world.rows()
        moved = Customer(id=RecordId("001000000000009AAA"), name="Burlington")
        now = mine.model_copy(update={"customer": moved, "lines": mine.lines[:lines]})

        problem = await problem_of(world.create(now, changed=changed))

        assert AttentionReason.CUSTOMER_DIFFERS is problem.reason
        assert "Burlington" not in problem.message
        assert before == world.rows()


async def test_i4_a_cancelled_order_of_another_customer_is_not_reopened() -> None:
    """A deal that was won again for another account does not revive the first account's order."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)
        before = world.rows()
        moved = mine.model_copy(update={"customer": Customer(id=RecordId("001000000000009AAA"), name="Burlington")})

        problem = await problem_of(world.create(moved, reopen=True))

        assert AttentionReason.CUSTOMER_DIFFERS is problem.reason
        assert before == world.rows()


async def test_i4_a_facade_that_leaves_the_customer_out_takes_orders() -> None:
    """Under our own key an unknown customer is tolerated: who cannot say is not in the wrong."""
    async with stub_world() as world:
        world.light.faults.no_customer = True
        mine = deal()

        made = (await world.create(mine)).order

        assert made is not None
        assert made == (await world.create(mine)).order


@pytest.mark.parametrize("total", [None, Decimal("11200.00"), Decimal("11200.01")])
async def test_i4_customers_that_the_erp_has_already_are_compared_by_their_number(total: Decimal | None) -> None:
    """`customer.number` is what the ERP knows the customer by, also when the Salesforce account is another one."""
    async with stub_world() as world:
        mine = deal(total=total)
        known = mine.model_copy(update={"customer": mine.customer.model_copy(update={"number": "C-7"})})
        by_hand = await made_by_hand(world.light, known)

        result = await world.create(known, number=by_hand.number)

        assert result.order is not None
        assert (by_hand.id, "C-7") == (result.order.id, result.order.customer)


ERPS = Erps(("tryton",))
_COPY = {"ERP_Order_Number__c": "SO-1", "ERP_Order_Key__c": OTHER_KEY}


def _seen(**fields: Any) -> RecordSnapshot:
    return snapshot(record_of(fields_of(**fields)), ERPS)


@pytest.mark.parametrize("status", ["cancelled", "not needed", "cancelled, no longer won", "confirmed", None])
def test_i3_a_clone_is_ordered_as_a_new_deal(status: str | None) -> None:
    """Number and status that were copied with the key of another record do not count: the clone is ordered."""
    found = _seen(ERP_Order_Status__c=status, **_COPY)
    assert isinstance(found, Wanted)
    assert (None, False, False, None) == (
        found.number, found.number_is_proven, found.reopen, found.unproven_status,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_status_that_nothing_proves_is_handed_on_as_such(status: str) -> None:
    """Copied without its key, or on a route without a key field: the ERP is asked, and then a person."""
    found = _seen(ERP_Order_Status__c=status, ERP_Order_Number__c="SO-1")
    assert isinstance(found, Wanted)
    assert ("SO-1", False, status) == (found.number, found.number_is_proven, found.unproven_status)
    without = example_route(('key = "ERP_Order_Key__c"', ""))
    same = snapshot(record_of(fields_of(ERP_Order_Status__c=status, ERP_Order_Key__c=KEY), without), ERPS)
    assert isinstance(same, Wanted)
    assert status == same.unproven_status


@pytest.mark.parametrize("key", [KEY, f"{KEY[:15]}:{KEY[19:34]}"])
@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_proven_status_still_counts(status: str, key: str) -> None:
    """Beside this record's own key, in either form, a late message does not order what was declined."""
    assert isinstance(_seen(ERP_Order_Status__c=status, ERP_Order_Key__c=key), Declined)


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
def test_i9_no_value_is_not_a_no(value: object, *, is_certain: bool) -> None:
    """A `qualify` that yields nothing is never a reason to cancel."""
    found = _seen(IsWon=value)
    assert isinstance(found, NotWanted)
    assert is_certain is found.is_certain


_KEY = "a key that both ends know, made for one test"
_ONE_LINE: dict[str, Any] = {
    "source": "event",
    "payload": "@",
    "events": (),
    "qualify": "IsWon == 'true'",
    "order": {
        "name": "Name",
        "currency": "'EUR'",
        "customer": {"id": "AccountId", "name": "'Edge'"},
        "lines": {"each": "[@]", "product": "Product_Code__c", "quantity": "'1'", "unit_price": "Amount"},
    },
}
"""A route that makes the order of the message's own fields."""


def _told(org: str, record: str, *, first: int = 1, **fields: str) -> bytes:
    """A message that says of a deal what `fields` say."""
    said = {"Name": "Roof", "AccountId": "001000000000001", "Product_Code__c": "GC1040", "IsWon": "true", **fields}
    values = "".join(f"<sf:{name}>{value}</sf:{name}>" for name, value in said.items())
    return soap_message(org, [record], first=first).replace(b"</sObject>", f"{values}</sObject>".encode())


def _signed(body: bytes) -> dict[str, str]:
    timestamp = str(int(time.time()))
    digest = hmac.new(_KEY.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={digest}"}
    return {"Content-Type": "application/json", **headers}


async def test_i7_a_forged_message_about_a_deal_in_prospecting_makes_no_order() -> None:
    """Whoever knows the org id but not the path secret starts nothing; the org's own message is taken."""
    guesses = ["", "/", *(f"/{guess}" for guess in (PATH_SECRET[:-1], f"{PATH_SECRET}x", PATH_SECRET.lower()))]
    async with (
        handoff(outbound=PROVEN, **_ONE_LINE) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        record, won = world.org.seed(2)
        forged = _told(world.org.org_id, record, Amount="999999.00")
        answers = {await deliver(address, forged, route=f"won-0{guess}") for guess in guesses}
        unknown = await deliver(address, forged, route="no-such-route")
        status, _ = await deliver(address, _told(world.org.org_id, won, Amount="10.00"), route=PROVEN_ROUTE)
        await world.until_written_back(won)

        assert {unknown} == answers
        assert (404, 200) == (unknown[0], status)
        assert not await world.has_begun(record)
        assert ["10.00"] == [str(order["amount"]) for order in world.erp.orders()]


async def test_i7_settings_refuse_orders_made_of_messages_that_prove_nothing() -> None:
    """`source = "event"` by outbound message needs a path secret or the org's own certificate; a hint needs neither."""
    async with handoff(outbound=PROVEN, **_ONE_LINE) as world:
        (route,) = world.settings.routes

        def with_outbound(outbound: dict[str, Any], **more: Any) -> Settings:
            changed = route.model_copy(update={"outbound": Outbound.model_validate(outbound), **more})
            return Settings.model_validate({**dict(world.settings), "routes": (changed,)})

        with pytest.raises(ValidationError) as caught:
            with_outbound({})
        assert "`closedwon secret path` prints one" in str(caught.value)
        with pytest.raises(ValidationError, match="no client is asked for a certificate"):
            with_outbound({"client_fingerprints": ["ab" * 32]})
        with_outbound({}, source="record", select="Name, IsWon, AccountId, Product_Code__c, Amount")


async def test_i7_a_moment_in_the_future_makes_no_true_message_older() -> None:
    """A message of the year 2099 comes first, the true one afterwards: the order is made of the true one."""
    async with handoff(outbound=PROVEN, **_ONE_LINE) as world, intake(world) as address:
        (record,) = world.org.seed(1)
        for number, (amount, at) in enumerate((("999.00", "2099-01-01"), ("20.00", "2026-01-01")), 1):
            stamp = f"{at}T10:00:00.000Z"
            body = _told(world.org.org_id, record, first=number, Amount=amount, SystemModstamp=stamp)
            assert 200 == (await deliver(address, body, route=PROVEN_ROUTE))[0]
        async with world.working(subscriber=False):
            await world.until_written_back(record)

        assert ["20.00"] == [str(order["amount"]) for order in world.erp.orders()]


async def test_i7_a_certificate_proves_an_org_only_where_it_is_that_orgs_own(tmp_path: Path) -> None:
    """Another org's certificate of the same authority, of the same name, is let in by the door, not by the route."""
    authority = Authority(tmp_path, "ours")
    own, other = [_escaped(authority.issue("proxy.salesforce.com")[0]) for _ in range(2)]
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(unquote(own))).hexdigest()
    forwarded = {"client_subjects": ["proxy.salesforce.com"]}
    door: dict[str, Any] = {"proxies": ["127.0.0.0/8"], "forwarded_certificate": forwarded}
    async with handoff(outbound=PROVEN, **_ONE_LINE) as world:
        outbound = Outbound(client_fingerprints=(fingerprint.upper(),))
        changed = world.settings.routes[0].model_copy(update={"outbound": outbound})
        settings = {**dict(world.settings), "intake": door, "routes": (changed,)}
        world.settings = Settings.model_validate(settings)
        record, won = world.org.seed(2)
        answers = []
        async with intake(world, **door) as address:
            for deal, certificate in ((record, other), (record, ""), (won, own)):
                body = _told(world.org.org_id, deal, Amount="10.00")
                answers.append((await deliver(address, body, headers={"Client-Cert": certificate}))[0])

        assert [403, 403, 200] == answers
        assert not await world.has_begun(record)
        assert await world.has_begun(won)


def _escaped(pem: Path) -> str:
    """A certificate as nginx forwards it."""
    return quote(pem.read_text(encoding="ascii"))


@pytest.mark.parametrize("secret", ["k", "k" * 100, "abcdefghi" * 4, "0123456789abcdef0123456789abcde", ""])
def test_i7_a_weak_secret_is_refused(secret: str) -> None:
    """One letter, one repeated letter, nine different letters, 31 characters: each can be guessed."""
    for kind, key in ((Outbound, "path_secrets"), (Callouts, "keys"), (Webhook, "keys")):
        with pytest.raises(ValidationError, match=r"can be guessed.*`closedwon secret (path|callout|webhook)`"):
            kind.model_validate({key: [SecretStr(secret)]})
        kind.model_validate({key: [SecretStr("0123456789abcdef0123456789abcdef")]})
    with pytest.raises(ValidationError, match="can be guessed"):
        Codec(token=SecretStr(secret))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"host": "0.0.0.0"}, "messages would arrive in clear"),  # noqa: S104 - that is the point
        ({"host": "::"}, "messages would arrive in clear"),
        ({"host": ""}, "messages would arrive in clear"),
        ({"host": "intake.example.com", "allow": ["13.108.0.0/14"]}, "messages would arrive in clear"),
        ({"proxies": ["0.0.0.0/0"]}, "every sender in it could forge"),
        ({"proxies": ["0.0.0.0/1", "128.0.0.0/1"]}, "every sender in it could forge"),
        ({"proxies": ["10.0.0.0/8", "::/0"]}, "every sender in it could forge"),
        ({"proxies": ["2000::/3"]}, "every sender in it could forge"),
    ],
)
def test_i7_an_open_intake_is_refused(settings: dict[str, Any], complaint: str) -> None:
    """Messages in clear from other machines, and proxies that are everybody, are refused with what to do."""
    with pytest.raises(ValidationError, match=complaint):
        Intake.model_validate(settings)


@pytest.mark.parametrize("channel", ["outbound", "callouts"])
@pytest.mark.parametrize("stranger", ["001000000000001AAA", "500000000000001AAA"])
async def test_i8_a_pushed_record_of_another_object_is_refused(channel: str, stranger: str) -> None:
    """The id of an Account or a Case on a route of Opportunities starts nothing, as by an event or a tombstone."""
    callouts = {"keys": [SecretStr(_KEY)]}
    async with handoff(outbound=PROVEN, callouts=callouts, **_ONE_LINE) as world, intake(world) as address:
        record = RecordId(stranger)
        if channel == "outbound":
            status, _ = await deliver(address, _told(world.org.org_id, record, Amount="1.00"), route=PROVEN_ROUTE)
        else:
            fields = {"Name": "Roof", "AccountId": "001000000000001", "IsWon": "true", "Amount": 1.0}
            call = {"org": world.org.org_id, "records": [{"recordId": record, "id": "n-1", "fields": fields}]}
            body = json.dumps(call).encode()
            url = f"{address}/callouts/won-0"
            async with aiohttp.request("POST", url, data=body, headers=_signed(body)) as answer:
                status = answer.status

        assert status >= 400
        assert not await world.has_begun(record)


def earlier(order: Order, price: str, *, hours: int = 1) -> Order:
    """The deal as it was before: another price, an older message."""
    lines = new_order([("GC1040", "1", price)]).lines
    return order.model_copy(update={"lines": lines, "modified_at": TODAY - timedelta(hours=hours)})


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
async def test_i6_an_older_message_changes_nothing(changed: Changed) -> None:
    """The message of 11:00 arrives after the order of 12:00 was made and its workflow has ended: the order stays."""
    async with stub_world() as world:
        mine = deal()
        made = (await world.create(mine)).order
        before = world.rows()

        late = await world.create(earlier(mine, "10.00"), changed=changed)
        unwon = await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY - timedelta(seconds=1))

        assert ErpResult(order=made, kept=True) == late == unwon
        assert before == world.rows()


async def test_i6_a_person_cancels_whatever_the_messages_say() -> None:
    """A command has no older or newer; after it, an older message does not bring the order back."""
    async with stub_world() as world:
        mine = deal()
        await world.create(mine)

        cancelled = await world.cancel(mine.idempotency_key)
        late = await world.create(earlier(mine, "10.00"), reopen=True)

        assert cancelled.order is not None
        assert ("cancelled", False) == (cancelled.order.status, cancelled.kept)
        assert ErpResult(order=cancelled.order, kept=True) == late


@pytest.mark.parametrize("remembers", [True, False])
async def test_i6_a_newer_message_without_a_change_is_remembered_where_it_matters(remembers: bool) -> None:  # noqa: FBT001
    """10:00 and 12:00 say the same, 11:00 says something else and comes last. Without `remembers` it costs no call."""
    async with stub_world() as world:
        now = deal()
        await world.create(now.model_copy(update={"modified_at": TODAY - timedelta(hours=2)}))
        calls = world.light.calls

        again = await world.create(now, remembers=remembers)
        assert (2 if remembers else 1) == world.light.calls - calls
        calls = world.light.calls
        await world.create(now, remembers=remembers)
        assert 1 == world.light.calls - calls
        late = await world.create(earlier(now, "10.00"), changed="amend", remembers=remembers)

        assert again.order is not None
        assert again.order.origin is Origin.CREATED
        assert remembers is late.kept
        assert ("11200.00" if remembers else "10.00") == world.rows()[0]["amount"]


async def test_i6_a_newer_unwon_of_a_cancelled_order_is_remembered() -> None:
    """Cancelled at 10:00, no longer won at 12:00: a late message of 11:00 that it is won does not reopen the order."""
    async with stub_world() as world:
        mine = deal(modified_at=TODAY - timedelta(hours=2))
        await world.create(mine)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=mine.modified_at)
        await world.cancel(mine.idempotency_key, by_policy=True, modified_at=TODAY)

        late = await world.create(earlier(mine, "5000.00"), reopen=True)

        assert late.kept
        assert "cancelled" == world.rows()[0]["status"]


async def test_i6_a_change_and_its_time_are_stored_together() -> None:
    """An amended order is as new as the message that it was amended by."""
    async with stub_world() as world:
        await world.create(earlier(deal(), "10.00"))
        first = world.rows()[0]
        mine = deal(record=parse_idempotency_key(first["idempotency_key"])[1])
        mine = mine.model_copy(update={"customer": mine.customer.model_copy(update={"number": first["customer"]})})

        amended = (await world.create(mine, changed="amend")).order

        assert amended is not None
        assert (TODAY, Decimal(11200)) == (amended.modified_at, amended.amount)


async def test_a_new_order_takes_as_many_calls_as_before() -> None:
    """Four for an ERP with drafts: a look, a creation, a confirmation, a look. A record that is touched again: one."""
    async with stub_world() as world:
        mine = deal()

        await world.create(mine)
        assert 4 == world.light.calls
        await world.create(mine.model_copy(update={"modified_at": TODAY + timedelta(minutes=1)}))

        assert 5 == world.light.calls


def _win(world: Handoff) -> RecordId:
    """A deal is won; no message arrives yet."""
    world.org.seed(1)
    (record,) = world.org.win_next(1)
    return record


async def _say(world: Handoff, record: RecordId, **fields: Any) -> None:
    """Change the deal, if there are `fields`; a message about it arrives."""
    if fields:
        world.org.update("Opportunity", record, **fields)
    message = Message(id=uuid.uuid4().hex, channel=Channel.SWEEP, received_at=datetime.now(UTC))
    await temporal.start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def _reason(world: Handoff, record: RecordId) -> str | None:
    description = await world.order(record).describe()
    return description.typed_search_attributes.get(temporal.KEYS[names.ATTENTION_REASON])


@pytest.mark.parametrize("agrees", [True, False], ids=["amounts agree", "amounts differ"])
async def test_i1_a_deal_never_touches_the_order_that_its_number_names(
    agrees: bool,  # noqa: FBT001
) -> None:
    """From the message to the un-win, with every policy that changes something, the other customer's order stays."""
    policies: dict[str, Any] = {"changed": "amend", "unwon": "cancel", "grace": timedelta(seconds=0.1)}
    async with handoff(**policies) as world, world.working(subscriber=False):
        record = _win(world)
        asked = await (world.made_by_hand(record) if agrees else made_by_hand(world.erp, deal(OTHERS)))
        world.erp.table.db.execute("UPDATE orders SET customer = '001000000000009AAA'")
        before = world.erp.orders()

        await _say(world, record, ERP_Order_Number__c=asked.number)
        await world.until_stage(record, names.OrderStage.ATTENTION)

        assert AttentionReason.ORDER_EXISTS == await _reason(world, record)
        assert before == world.erp.orders()
        await _say(world, record, StageName="Negotiation/Review")
        await until(lambda: _has_looked(world, record))
        assert before == world.erp.orders()


async def _has_looked(world: Handoff, record: RecordId) -> bool:
    """Whether the order has acted on the un-win: it asks for something else than before, or has ended."""
    return AttentionReason.ORDER_EXISTS != await _reason(world, record)


@pytest.mark.parametrize(
    "lie", [Lie.FIND_OTHER, Lie.FIND_STALE, Lie.FIND_TWO, Lie.FIND_NO_KEY, Lie.CREATE_OTHER, Lie.CONFIRM_OTHER]
)
async def test_i2_a_deal_is_not_ordered_as_another_deals_number(lie: Lie) -> None:
    """A wrong answer needs attention, nothing is written back; once the facade is corrected, `retry` orders."""
    async with handoff() as world, world.working(subscriber=False):
        first = _win(world)
        await _say(world, first)
        await world.until_written_back(first)
        await world.order(first).result()
        world.erp.faults.lie = lie
        if lie is Lie.FIND_STALE:
            await world.connections.erps["light"].find(idempotency_key(world.org.org_id, first))

        record = _win(world)
        await _say(world, record)
        await world.until_stage(record, names.OrderStage.ATTENTION)

        assert AttentionReason.ERP_ANSWER_WRONG == await _reason(world, record)
        assert world.number_of(record) is None
        world.erp.faults.lie = None
        await world.order(record).signal(names.SIGNAL_RETRY)
        await world.until_written_back(record)
        assert world.number_of(first) != world.number_of(record)
        assert 2 == len(world.erp.orders())


async def test_i5_orders_wait_while_the_settings_name_another_org(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that name one org and lead to another order nothing, alert once, and orders go on when corrected."""
    callouts = {"keys": [SecretStr(support.CALLOUT_KEY)]}
    async with (
        LocalOrg.running() as elsewhere,
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
            statuses = [
                (await deliver(address, soap_message(world.org.org_id, [pushed]), route=PROVEN_ROUTE))[0],
                await support.call_out(address, world.org.org_id, called),
            ]
            message = Message(id="m-1", channel=Channel.SWEEP, received_at=datetime.now(UTC))
            start = order_start(world.settings, world.settings.routes[0], swept)
            await temporal.start_order(world.client, start, message)
            await until(lambda: _waits(world, swept))
            await until(lambda: _waits(world, pushed))
            await until(lambda: _waits(world, called))
            await checks.round()
            await checks.round()
            await support.until_held(world, names.hold_workflow_id("login", world.org.org_id))
            found = (await doctor.examine(world.settings))[0]
            (held,) = (await overview.look(world.client, world.settings)).held
            reader = names.subscription_workflow_id(world.org.org_id, "/event/Order_Requested__e")
            await until(lambda: support.waits_for(world, reader))
            assert "orgs.id" in await support.waits_for(world, reader)
            await until(lambda: hook.taken)

        assert [200, 202] == statuses
        assert [] == world.erp.orders()
        assert 0 == elsewhere.api_calls.total()
        assert 0 == elsewhere.cometd.events_sent
        assert (Harm.STOPPED, "org org-0") == (found.harm, found.subject)
        for part in (elsewhere.org_id, world.org.org_id, "`orgs.id`"):
            assert part in found.text
            assert part in held.failed.text
        assert "`orgs.url`" in found.cure

        world.settings = right.model_copy(update={"alerts": world.settings.alerts})
        async with support.checked(world):
            await world.until_written_back(swept, pushed, called)
            await support.until_held(world)
        assert 0 == await support.needed_attention(world)
        assert 3 == len(world.erp.orders())
        (alert,) = hook.taken
        assert ("check", world.org.org_id, held.failed.text) == (alert["kind"], alert["org"], alert["sentence"])


async def _waits(world: Handoff, record: RecordId) -> bool:
    return "held: org org-0: " in await support.waits_for(world, names.order_workflow_id(world.org.org_id, record))


async def test_i5_an_org_that_is_exchanged_while_workers_run_is_noticed_by_the_login() -> None:
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
        await until(lambda: support.waits_for(world, workflow_id))
        assert "orgs.id" in await support.waits_for(world, workflow_id)
        await checks.round()
        await support.until_held(world, names.hold_workflow_id("login", was))
        assert made == len(world.erp.orders())
        world.org.oauth._org_id = was
        await until(lambda: _logs_in(world))
        await checks.round()
        await world.until_written_back(record)
        assert 0 == await support.needed_attention(world)
        assert calls < world.org.api_calls.total()


async def _logs_in(world: Handoff) -> bool:
    """Whether the pause after the failed login is over, and the next one succeeds."""
    try:
        await world.connections.salesforce[world.org.org_id].log_in()
    except Exception:  # noqa: BLE001 - whatever it is
        return False
    return True


async def test_i9_a_name_in_the_wrong_case_is_never_a_reason_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """`qualify = "isWon"` holds the route with a sentence that names the field; a won deal's order stays as it is."""
    async with handoff(unwon="cancel") as world, support.alerting(world) as hook:
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
            await temporal.start_order(world.client, start, message)
            await until(lambda: _waits(world, record))
            await support.until_held(world, names.hold_workflow_id("fields", world.org.org_id))
            found = (await doctor.examine(world.settings))[0]
            await until(lambda: hook.taken)
        assert "Opportunity has no field isWon; it is IsWon" in found.text
        assert ("org org-0", True) == (found.subject, "`qualify` of route 'won-0'" in found.cure)
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
            await until(lambda: _waits(world, record))
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


_COPIED = ("ERP_Order_Number__c", "ERP_Order_Status__c", "ERP_Order_Link__c", "ERP_Order_Key__c")
_WRITTEN = {
    "number": "ERP_Order_Number__c",
    "status": "ERP_Order_Status__c",
    "link": "ERP_Order_Link__c",
    "error": "ERP_Order_Error__c",
}
_WITH_KEY = _WRITTEN | {"key": "ERP_Order_Key__c"}


def _copy(world: Handoff, source: RecordId, record: RecordId, *, key: bool = True) -> None:
    """What a clone tool does with the fields of the write-back."""
    values = world.org.get("Opportunity", source)
    fields = {name: values[name] for name in _COPIED if key or name != "ERP_Order_Key__c"}
    world.org.update("Opportunity", record, **fields)


async def _cancelled_deal(world: Handoff, *clones: Literal["key", "no key"]) -> list[RecordId]:
    """A won deal whose order a person has cancelled, and won deals that were cloned from it: with its key or without.

    No message tells of the clones.
    """
    world.org.seed(1 + len(clones))
    (first,) = await world.win(1)
    await world.until_written_back(first)
    await world.order(first).result()
    await _command(world, first, names.SIGNAL_CANCEL)
    won = world.org.win_next(len(clones))
    for record, copied in zip(won, clones, strict=True):
        _copy(world, first, record, key=copied == "key")
    return [first, *won]


async def _command(world: Handoff, record: RecordId, command: str) -> None:
    """Let the deal's workflow look again, and send it a command before it can end."""
    start = order_start(world.settings, world.settings.routes[0], record)
    message = Message(id=uuid.uuid4().hex, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await temporal.start_order(world.client, start, message)
    await world.order(record).signal(command)
    await world.order(record).result()


async def test_i3_a_sweep_finds_a_clone_of_a_cancelled_deal() -> None:
    """Number, status and key copied: ordered under a number of its own. The same without the key: a person is asked."""
    async with swept(write_back=_WITH_KEY) as world:
        first, with_key, without_key = await _cancelled_deal(world, "key", "no key")
        found = await sweep(world)
        await until(lambda: world.number_of(with_key) not in {None, world.number_of(first)})
        await world.until_stage(without_key, names.OrderStage.ATTENTION)

        assert (3, 2, 1) == (found.found, found.started, found.right)
        assert AttentionReason.ORDER_EXISTS == await _reason(world, without_key)
        assert ["cancelled", "confirmed"] == sorted(order["status"] for order in world.erp.orders())


async def test_i3_a_chain_of_clones_is_ordered_each_by_itself() -> None:
    """A clone of a clone holds the key of either of them, and never one of its own."""
    async with swept(write_back=_WITH_KEY) as world:
        first, second, third = await _cancelled_deal(world, "key", "key")
        await sweep(world)
        await until(lambda: world.number_of(second) not in {None, world.number_of(first)})
        await world.order(second).result()
        await world.order(third).result()
        world.org.seed(1)
        (last,) = world.org.win_next(1)
        _copy(world, second, last)
        again = await sweep(world)
        await until(lambda: world.number_of(last) not in {None, world.number_of(second)})

        assert (1, 3) == (again.started, again.right)
        assert 4 == len({world.number_of(one) for one in (first, second, third, last)})


async def test_i3_without_a_key_field_the_erp_or_the_own_workflow_proves_a_status() -> None:
    """A deal that a person has declined is left alone by sweeps; one that copied its status is not."""
    async with swept(write_back=_WRITTEN) as world:
        first, clone = await _cancelled_deal(world, "no key")
        world.org.seed(2)
        (skipped,) = world.org.win_next(1)
        world.erp.faults.reject = 1
        await _say(world, skipped)
        await world.until_stage(skipped, names.OrderStage.ATTENTION)
        await world.order(skipped).signal(names.SIGNAL_SKIP)
        await world.order(skipped).result()
        found = await sweep(world)
        await world.until_stage(clone, names.OrderStage.ATTENTION)

        assert (1, 2) == (found.started, found.right)
        assert "not needed" == world.org.get("Opportunity", skipped)["ERP_Order_Status__c"]
        assert AttentionReason.ORDER_EXISTS == await _reason(world, clone)
        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]
        assert first != clone


@pytest.mark.parametrize("write_back", [_WITH_KEY, _WRITTEN], ids=["key field", "no key field"])
async def test_i3_a_copied_status_does_not_hide_an_order_too_many(write_back: dict[str, str]) -> None:
    """A deal is not won any more, its order lives, and its status says `cancelled` because it was copied."""
    async with swept(write_back=write_back, unwon="cancel", grace=timedelta(0)) as world:
        first, second = await _cancelled_deal(world, "key")
        world.org.update("Opportunity", second, ERP_Order_Status__c=None, ERP_Order_Number__c=None)
        await sweep(world)
        await world.until_written_back(second)
        await world.order(second).result()
        _copy(world, first, second)
        world.org.update("Opportunity", second, StageName="Negotiation/Review")
        found = await sweep(world)
        await world.order(second).result()

        assert 1 == found.started
        assert ["cancelled", "cancelled"] == [order["status"] for order in world.erp.orders()]


async def _ordered(world: Handoff, number: int) -> list[RecordId]:
    """Won deals whose orders are done, one after the other."""
    world.org.seed(number)
    won = []
    for _ in range(number):
        won += await world.win(1)
        await world.order(won[-1]).result()
    return won


async def _kinds(world: Handoff) -> dict[RecordId, list[Kind]]:
    """What the audit reports, by record."""
    report = await world.audit()
    found: dict[RecordId, list[Kind]] = {}
    for one in (*report.findings, *report.under_way):
        found.setdefault(one.record, []).append(one.kind)
    return found


def _restored(world: Handoff) -> None:
    """The ERP is as it was before its first order, and gives the numbers of lost orders away again."""
    db = world.erp.table.db
    db.executescript("DELETE FROM orders; DELETE FROM sqlite_sequence;")


def _rows(world: Handoff) -> list[dict[str, Any]]:
    return [dict(row) for row in world.erp.table.db.execute("SELECT * FROM orders ORDER BY id")]


@pytest.mark.parametrize("agrees", [True, False], ids=["amounts agree", "amounts differ"])
async def test_i1_fix_after_an_erp_restore_takes_nobody_elses_order(agrees: bool) -> None:  # noqa: FBT001
    """The ERP gave the numbers away again: the workflows that `--fix` starts order anew or ask, and touch nothing."""
    policies: dict[str, Any] = {"changed": "amend", "unwon": "cancel", "write_back": _WITH_KEY}
    async with handoff(grace=timedelta(0), **policies) as world, world.working(subscriber=False):
        first, second = await _ordered(world, 2)
        number = world.number_of(first)
        lines = (await world.made_by_hand(first)).line_count  # what it looks like, before the restore
        _restored(world)
        mine = await world.made_by_hand(first) if agrees else await made_by_hand(world.erp, deal(OTHERS))
        world.erp.table.db.execute("UPDATE orders SET customer = '001000000000009AAA'")
        world.org.seed(1)
        (third,) = await world.win(1)
        await world.order(third).result()
        assert (number, world.number_of(second)) == (mine.number, world.number_of(third))
        before = _rows(world)

        assert {first: [Kind.UNKNOWN_NUMBER], second: [Kind.UNKNOWN_NUMBER]} == await _kinds(world)
        assert 2 == await mend(world.settings, world.client, await world.audit())
        await world.until_stage(first, names.OrderStage.ATTENTION)
        await world.order(second).result()

        assert AttentionReason.ORDER_EXISTS == await _reason(world, first)
        assert before == _rows(world)[:2]
        assert [idempotency_key(world.org.org_id, second)] == [row["idempotency_key"] for row in _rows(world)[2:]]
        assert lines == before[0]["line_count"] or not agrees
        world.org.update("Opportunity", first, StageName="Negotiation/Review")
        await _say(world, first)
        await until(lambda: _has_looked(world, first))
        assert before == _rows(world)[:2]


async def test_i1_the_audit_reports_an_order_that_has_our_key_without_us() -> None:
    """Somebody else's order under a deal's key: without an origin, or adopted though it does not agree."""
    async with handoff(write_back=_WITH_KEY, changed="ignore") as world, world.working(subscriber=False):
        unknown, adopted, whole = await _ordered(world, 3)
        db = world.erp.table.db
        at = "WHERE idempotency_key LIKE ?"
        db.execute(f"UPDATE orders SET origin = NULL {at}", (f"%{unknown}",))  # noqa: S608 - constant
        db.execute(f"UPDATE orders SET origin = 'adopted' {at}", (f"%{whole}",))  # noqa: S608 - constant
        db.execute(
            f"UPDATE orders SET origin = 'adopted', amount = '23600.00', line_count = 1 {at}",  # noqa: S608 - constant
            (f"%{adopted}",),
        )

        assert {unknown: [Kind.FOREIGN_ORDER], adopted: [Kind.FOREIGN_ORDER]} == await _kinds(world)
        db.execute("UPDATE orders SET origin = NULL")  # an ERP that keeps no origins says nothing about it
        assert {} == await _kinds(world)


@pytest.mark.parametrize("lie", [Lie.FIND_OTHER, Lie.MANY_OTHER, Lie.LISTING_OTHER])
async def test_i2_the_audit_believes_no_answer_about_another_order(lie: Lie) -> None:
    """An answer without the key that was asked for ends the audit with what is wrong; it is no finding and no order."""
    async with handoff(write_back=_WITH_KEY) as world, world.working(subscriber=False):
        await _ordered(world, 1)
        world.org.seed(2)
        world.org.win_next(2 if lie is Lie.MANY_OTHER else 1)
        stranger = deal(OTHERS)
        world.erp.table.insert(stranger.idempotency_key, stranger, Decimal("0.01"))
        world.erp.faults.lie = lie

        with pytest.raises(WrongAnswerError, match="not believed"):
            async with Connections(world.settings) as connections:
                await audit(
                    world.settings,
                    connections,
                    world.client,
                    since=datetime.now(UTC) - timedelta(hours=1),
                    lag=timedelta(0),
                )


async def test_i3_the_audit_reports_what_was_copied_and_fix_orders_it() -> None:
    """Clones of a cancelled deal, with its key and without: neither counts as cancelled."""
    async with handoff(write_back=_WITH_KEY) as world, world.working(subscriber=False):
        first, with_key, without_key = await _cancelled_deal(world, "key", "no key")
        report = await world.audit()

        assert {with_key: [Kind.COPIED_STATUS], without_key: [Kind.COPIED_STATUS]} == await _kinds(world)
        assert (3, 1, 2) == (report.counts.won, report.counts.cancelled, report.counts.lost)
        await mend(world.settings, world.client, report)
        await until(lambda: world.number_of(with_key) not in {None, world.number_of(first)})
        await world.until_stage(without_key, names.OrderStage.ATTENTION)
        assert AttentionReason.ORDER_EXISTS == await _reason(world, without_key)


async def test_i3_without_a_key_field_the_audit_asks_the_workflow_whether_a_person_has_declined() -> None:
    """A cancelled order under the own key proves it, and so does the own workflow; a clone has neither."""
    async with handoff(write_back=_WRITTEN) as world, world.working(subscriber=False):
        _, clone = await _cancelled_deal(world, "no key")
        world.org.seed(1)
        world.erp.faults.reject = 1
        (skipped,) = await world.win(1)
        await world.until_stage(skipped, names.OrderStage.ATTENTION)
        await world.order(skipped).signal(names.SIGNAL_SKIP)
        await world.order(skipped).result()

        assert {clone: [Kind.COPIED_STATUS]} == await _kinds(world)
        assert 2 == (await world.audit()).counts.cancelled


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
async def test_i4_the_audit_reports_another_customer(changed: Changed) -> None:
    """The deal moves to another Account after its order: whatever the route does about changes, it is reported."""
    async with handoff(write_back=_WITH_KEY, changed=changed) as world, world.working(subscriber=False):
        moved, other = await _ordered(world, 2)
        account = world.org.query("SELECT Id FROM Account ORDER BY Id DESC LIMIT 1")[0]["Id"]
        accounts = {world.org.get("Opportunity", one)["AccountId"] for one in (moved, other)}
        assert {account} != accounts
        there = moved if world.org.get("Opportunity", moved)["AccountId"] != account else other
        world.org.update("Opportunity", there, AccountId=account)

        assert {there: [Kind.CUSTOMER_DIFFERS]} == await _kinds(world)
