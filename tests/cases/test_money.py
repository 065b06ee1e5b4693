"""Cases M1 to M10: the order has the amounts that people signed. Each test is named by the ID of its case."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.service import RPCError

from closedwon.emulators.erp.stub import ErpFaults, StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import AmountDiffersError, Erp, amend_to, find_or_create
from closedwon.errors import AttentionReason
from closedwon.expressions import json_number
from closedwon.ids import RecordId
from closedwon.mapping.lines import LineDiffersError, UnusualAmountError
from closedwon.mapping.reader import MappingError
from closedwon.mapping.record import until_quiet
from closedwon.model.orders import OrderLine
from closedwon.money import money
from closedwon.operations.doctor import examine
from tests.integration.erp.worlds import new_order, rest_settings
from tests.support.handoff import Handoff, handoff, until
from tests.support.mapping import deal, example_route, line, line_of, order_of, record_of

NOISE = 'unit_price = "UnitPrice"', 'unit_price = "round(UnitPrice, `2`)"'


def test_m1_a_line_discount_reaches_the_order() -> None:
    """Two at 100.00 less 10 % make an order of 180.00, with the shipped mapping."""
    found = line_of(line(2, 100.0, Discount=10.0, TotalPrice=180.0))
    assert (Decimal(90), Decimal(100), Decimal(10)) == (found.unit_price, found.list_price, found.discount_percent)
    assert Decimal(180) == found.total == found.amount


def test_m1_a_line_that_contradicts_itself_needs_attention() -> None:
    """Price, discount and total that do not agree need attention, with the line and both totals."""
    with pytest.raises(LineDiffersError) as caught:
        order_of(line(), line(2, 100, Discount=10, TotalPrice=200))
    assert caught.value.reason == AttentionReason.AMOUNT_DIFFERS
    assert "line 2 says 200.00, quantity x price less discount gives 180.00" == str(caught.value)


def test_m2_the_order_carries_the_signed_total() -> None:
    """The order carries the deal's own total, which is compared with the lines before the ERP is called."""
    order = order_of(line(2, 100), Amount=180.0)
    assert (Decimal(180), Decimal(200)) == (order.total, order.amount)


@pytest.mark.parametrize(
    "text",
    [
        *("1234567890123.45", "1234567890123.05", "12345678901230.01", "90000000000000.01", "123456789012345.67"),
        *("1234567890.123004", "0.1234567890123456", "0.9234567890123456"),
    ],
)
def test_m3_a_long_number_without_noise_keeps_every_digit(text: str) -> None:
    """A number with 16 or 17 significant digits is not noise by itself, also in an event's JSON text."""
    assert Decimal(text) == json_number(text)
    route = example_route(('total = "Amount"', "# no total"))
    record = json.loads(json.dumps(deal(line(1, "price"))).replace('"price"', text), parse_float=json_number)
    assert Decimal(text) == record_of(record, route).order().lines[0].unit_price


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("16.009999999999998", "16.01"),
        ("0.7999999999999999", "0.8"),
        ("0.30000000000000004", "0.3"),
        ("434.99999999999994", "435"),
        ("12345678901.230001", "12345678901.23"),
        ("-123456789012.34001", "-123456789012.34"),
    ],
)
def test_m3_noise_of_a_double_is_removed(text: str, meant: str) -> None:
    """It is some units in the double's last place."""
    assert Decimal(meant) == json_number(text)


@pytest.mark.parametrize("amount", [None, ""])
def test_m2_a_total_that_is_mapped_and_missing_needs_attention(amount: str | None) -> None:
    """A record that says no total is not ordered unchecked; a route that maps none compares none."""
    with pytest.raises(MappingError, match=r"order\.total: the expression 'Amount' gives no value"):
        order_of(line(), Amount=amount)
    unchecked = example_route(('total = "Amount"', "# no total"))
    assert order_of(line(), route=unchecked, Amount=amount).total is None


def test_m3_noise_is_taken_off_json_numbers() -> None:
    """16.009999999999998 is 16.01, from a float as from JSON text; 133.3300001 can be rounded, and is not by itself."""
    assert Decimal("16.01") == line_of(line(1, 16.009999999999998)).unit_price
    assert Decimal("16.01") == line_of(line(1, json_number("16.009999999999998"))).unit_price
    assert Decimal("16.009999999999998") == line_of(line(1, "16.009999999999998")).unit_price
    assert Decimal("133.3300001") == line_of(line(1, 133.3300001)).unit_price
    assert Decimal("133.33") == line_of(line(1, 133.3300001), example_route(NOISE)).unit_price


def test_m5_a_record_that_is_still_changing_waits() -> None:
    """Until record and lines were left alone for the route's quiet time, by Salesforce's clock, there is no order."""
    route = example_route(('# quiet = "30s"', 'quiet = "30s"'))
    assert "Description, SystemModstamp FROM OpportunityLineItems" in route.query_fields
    won = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)  # as in the support module
    late = line(SystemModstamp="2026-11-03T09:00:20.000+0000")
    cases = [
        (deal(line()), 0, 30), (deal(line()), 29, 1), (deal(line()), 30, 0),
        (deal(late), 30, 20), (deal(late), 50, 0), (deal(line(), late, line()), 49, 1),
    ]  # fmt: skip
    for fields, age, expected in cases:
        left = until_quiet(record_of(fields, route), won + timedelta(seconds=age))
        assert timedelta(seconds=expected) == left
    assert timedelta(0) == until_quiet(record_of(deal()), won)  # the default


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line(0)], "line 1 has a quantity of 0"),
        ([line(), line(-15)], "line 2 has a quantity of -15"),
        ([line(1, -5)], "the total of the lines is -5.00 EUR"),
        ([line(1, 10), line(1, -10.01)], "the total of the lines is -0.01 EUR"),
    ],
)
def test_m6_an_unusual_quantity_or_total_needs_attention(lines: list[dict[str, Any]], expected: str) -> None:
    """A quantity that is not positive, or a negative total, needs attention; the sentence names the line."""
    with pytest.raises(UnusualAmountError, match=expected) as caught:
        order_of(*lines)
    assert caught.value.reason == AttentionReason.UNUSUAL_AMOUNT
    assert 'order.allow = ["' in caught.value.hint


def test_m6_a_negative_price_is_a_discount_and_a_route_may_allow_the_rest() -> None:
    """A line that takes something off is valid; so are free lines, and what `order.allow` names."""
    assert Decimal(150) == order_of(line(2, 100), line(1, -50)).amount
    assert Decimal(0) == order_of(line(2, 0)).amount
    assert Decimal(0) == order_of(line(2, 100, Discount=100, TotalPrice=0)).amount
    allowed = example_route(
        ('# allow = ["negative-quantity"]', 'allow = ["negative-quantity", "zero-quantity", "negative-total"]')
    )
    assert Decimal(-200) == order_of(line(-2, 100), line(0, 5), route=allowed).amount


def test_m7_invisible_characters_become_blanks() -> None:
    """A tab, a line feed, a no-break space or one of no width in a one-line text is one blank; a street keeps lines."""
    order = order_of(
        Name="\tRoof\u200b for\xa0 Acme\n",
        PO_Number__c="PO\t77",
        Account={
            "Id": "0015g00000AbCdEAAV",
            "Name": "Acme\r\n\tHoldings\ufeff",
            "BillingCity": "New\x0bYork",
            "BillingStreet": " Main\tStreet 1\r\n\r\n2nd  floor ",
        },
    )
    customer = order.customer
    assert ("Roof for Acme", "PO 77", "Acme Holdings", "New York") == (
        order.name, order.reference, customer.name, customer.city,
    )  # fmt: skip
    assert "Main Street 1\n2nd floor" == customer.street


def test_m9_a_customer_that_the_erp_has_is_named_by_its_number() -> None:
    """`order.customer.number` finds the ERP's own customer; without a value the Account's id does, as ever."""
    route = example_route(
        ('# number = "Account.AccountNumber"', 'number = "Account.AccountNumber"'),
        ("Account.Id,", "Account.Id, Account.AccountNumber,"),
    )
    account = {"Id": "0015g00000AbCdEAAV", "Name": "Acme"}
    known = order_of(route=route, Account={**account, "AccountNumber": " D-4711 "}).customer
    assert ("D-4711", "D-4711") == (known.number, known.reference)
    new = order_of(route=route, Account={**account, "AccountNumber": None}).customer
    assert (None, "0015g00000AbCdEAAV") == (new.number, new.reference)


def test_m10_amounts_read_the_same_everywhere() -> None:
    """2.0 x 10.00 is 20.00 EUR, which cannot be misread as twenty thousand."""
    order = order_of(line(2.0, json.loads("10.00")))
    assert "20.00 EUR" == money(order.amount, order.currency)
    assert "Roof for Acme · 20.00 EUR" == record_of(deal(line(2.0, 10.00))).summary()


@asynccontextmanager
async def _stub(**faults: Any) -> AsyncIterator[tuple[StubErp, Erp]]:
    """The stub ERP behind its adapter."""
    async with StubErp.running() as stub:
        stub.faults = ErpFaults.model_validate(faults)
        erp = open_erp(rest_settings(stub.url, stub.token))
        yield stub, erp
        await erp.close()


@pytest.mark.parametrize("call", [find_or_create, amend_to])
async def test_m2_lines_that_do_not_add_up_are_not_sent(call: Any) -> None:
    """The deal says 180.00, its lines 200.00: a person reads both, and the ERP is not asked anything."""
    async with _stub() as (stub, erp):
        order = new_order([("GC1040", "2", "100.00")], total=Decimal("180.00"))

        with pytest.raises(AmountDiffersError, match=r"The deal says 180\.00 EUR, its lines 200\.00 EUR"):
            await call(erp, order)

        assert 0 == stub.calls


async def test_m1_the_total_of_a_line_counts_where_it_cannot_be_divided() -> None:
    """Three for 100.00 become an order of 100.00, not of 99.99, and agree with it ever after."""
    async with _stub() as (stub, erp):
        line = OrderLine(product="A", quantity=Decimal(3), unit_price=Decimal("33.33"), total=Decimal("100.00"))
        order = new_order(total=Decimal("100.00")).model_copy(update={"lines": (line,)})

        made = (await find_or_create(erp, order)).order

        assert Decimal(100) == made.amount
        assert made == (await find_or_create(erp, order)).order
        assert ["100.00"] == [held["amount"] for held in stub.orders()]


@pytest.mark.parametrize(
    ("currency", "price", "rounding", "held"),
    [
        ("HUF", "10.40", {"HUF": "1"}, "31"),
        ("HUF", "10.60", {"HUF": "1"}, "32"),
        ("JPY", "333.5", {}, "1000.50"),
        ("JPY", "333.5", {"JPY": "1"}, "1000"),
        ("KWD", "0.3335", {"KWD": "0.001"}, "1.000"),
    ],
)
async def test_m4_the_erps_own_rounding_makes_no_difference(
    currency: str, price: str, rounding: dict[str, str], held: str
) -> None:
    """Whatever the ERP rounds this currency to, an order that it has just made agrees with what was sold."""
    async with _stub(rounding=rounding) as (stub, erp):
        order = new_order([("A", "3", price)], currency=currency)

        made = await find_or_create(erp, order)

        assert (await find_or_create(erp, order)).order == made.order
        assert [held] == [row["amount"] for row in stub.orders()]


async def test_m4_less_than_the_erps_rounding_is_a_difference() -> None:
    """Where the ERP keeps two decimals of a currency that has none by ISO 4217, half a unit is 0.005, not 0.5."""
    async with _stub() as (_, erp):
        order = new_order([("A", "3", "333.5")], currency="JPY")
        await find_or_create(erp, order)

        with pytest.raises(AmountDiffersError):
            await find_or_create(erp, order.model_copy(update={"lines": new_order([("A", "3", "333.4")]).lines}))


def _first_line(world: Handoff, record: RecordId) -> RecordId:
    (first,) = world.org.query(
        f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id LIMIT 1"  # noqa: S608 - SOQL
    )
    return RecordId(first["Id"])


async def test_m1_the_erp_gets_what_was_signed() -> None:
    """On real parts: a deal whose lines have discounts is ordered at its own Amount."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        (deal_id,) = (RecordId(one["Id"]) for one in world.org.query("SELECT Id FROM Opportunity"))
        world.org.update("OpportunityLineItem", _first_line(world, deal_id), UnitPrice=100, Quantity=2, Discount=10)
        world.org.win(deal_id)
        await world.until_written_back(deal_id)
        amount = Decimal(str(world.org.get("Opportunity", deal_id)["Amount"]))
        (order,) = world.erp.orders()

        assert amount == Decimal(order["amount"])
        assert any(Decimal(180) == Decimal(str(one["TotalPrice"])) for one in _lines(world, deal_id))


async def test_m5_lines_that_come_late_are_ordered_too() -> None:
    """On real parts: with a quiet time one order is made, of all that was entered before it was over."""
    async with handoff(quiet=timedelta(seconds=5)) as world, world.working():
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        quantity = count(1)

        async def waits_while_it_is_changed() -> bool:
            world.org.update("OpportunityLineItem", _first_line(world, record), Quantity=next(quantity))
            return await _waits(world, record)

        await until(waits_while_it_is_changed, poll=1)
        await world.until_written_back(record)
        (order,) = world.erp.orders()

        assert Decimal(str(world.org.get("Opportunity", record)["Amount"])) == Decimal(order["amount"])


async def test_m5_a_deal_that_is_never_left_alone_shows_since_when_it_waits_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Temporal's UI, by its page and its pending activity, and in `closedwon doctor`."""
    async with handoff(quiet=timedelta(hours=1)) as world, world.working():
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await until(lambda: _waits(world, record))
        description = await world.order(record).describe()
        (step,) = description.raw_description.pending_activities
        metadata: Any = await world.order(record).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        problems = await examine(world.settings, old=timedelta(0))

        expected = r"waited since (\S+ \S+) UTC .* changed last at .*`quiet`"
        found = re.search(expected, step.last_failure.message)
        assert found is not None
        since = datetime.fromisoformat(f"{found[1]}+00:00")
        assert description.start_time - timedelta(minutes=1) < since <= datetime.now(UTC)
        assert "`quiet`" in metadata.current_details
        (old,) = [one for one in problems if one.subject == "old orders"]
        assert re.search(expected, old.text)


async def _waits(world: Handoff, record: RecordId) -> bool:
    """Whether the record was read and is to be read again, since it is not quiet yet."""
    try:
        description = await world.order(record).describe()
    except RPCError:
        return False  # its notification has not arrived yet
    return any("left alone" in one.last_failure.message for one in description.raw_description.pending_activities)


def _lines(world: Handoff, record: RecordId) -> list[dict[str, Any]]:
    return world.org.query(f"SELECT TotalPrice FROM OpportunityLineItem WHERE OpportunityId = '{record}'")  # noqa: S608 - SOQL
