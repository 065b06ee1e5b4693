"""What a route says about lines, discounts and free fields is understood, and a mistake is named with its key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from closedwon.settings import Settings, SettingsError
from closedwon.settings.selecting import selected, with_stamps

Load = Callable[[str], Settings]
PRICE, DISCOUNT, TOTAL = 'unit_price = "UnitPrice"', 'discount = "Discount" ', 'total = "TotalPrice"'
EXTRA = "# [routes.order.extra]"
LINES_EXTRA = "[routes.order.lines.extra]"
_TRYTON = 'kind = "tryton"\nurl = "https://erp.example.com/erp"               # server and database\nkey'
REST = (_TRYTON, 'kind = "rest"\nurl = "https://erp.example.com/erp"\ntoken')


@pytest.mark.parametrize(
    "changes",
    [
        [(DISCOUNT, 'discount = { percent = "Discount" } ')],
        [(DISCOUNT, 'discount = { amount = "Discount" } ')],
        [(DISCOUNT, "# ")],
        [(TOTAL, "# ")],
        [(PRICE, "# "), (DISCOUNT, "# ")],
        [('# allow = ["negative-quantity"]', 'allow = ["negative-quantity", "zero-quantity", "negative-total"]')],
        [('# quiet = "30s"', 'quiet = "30s"')],
        [(EXTRA, '[routes.order.extra]\npayment_term = "PO_Number__c"\nwarehouse = "StageName"\n#')],
        [(EXTRA, f'{LINES_EXTRA}\nnote = "Description"\n#')],
        [REST, (EXTRA, '[routes.order.extra]\nparty = "PO_Number__c"\n#')],
        [('qualify = "IsWon"', 'qualify = "IsWon && sum(OpportunityLineItems.records[].TotalPrice) > `0`"')],
        [
            ('each = "OpportunityLineItems.records"', 'each = "OpportunityLineItems.records || [@]"'),
            (PRICE, 'unit_price = "not_null(UnitPrice, Amount)"'),
        ],
        [('each = "OpportunityLineItems.records"', 'each = "OpportunityLineItems.records[?Quantity > `0`]"')],
    ],
)
def test_what_a_route_may_say(example: str, load: Load, changes: list[tuple[str, str]]) -> None:
    """Each of these is a valid way to map an order."""
    load(_changed(example, changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [(PRICE, ""), (TOTAL, ""), (DISCOUNT, "# ")],
            "order.lines.unit_price (won-deals): is missing; map it, or map",
        ),
        ([(PRICE, "")], "order.lines.discount (won-deals): is taken off a unit price; map `unit_price`, or"),
        (
            [(DISCOUNT, 'discount = { percent = "Discount", amount = "Discount" } ')],
            "order.lines.discount (won-deals): needs exactly one of `percent` and `amount`",
        ),
        ([(DISCOUNT, "discount = {} ")], "order.lines.discount (won-deals): needs exactly one of"),
        (
            [(DISCOUNT, 'discount = { percnt = "Discount" } ')],
            "order.lines.discount.percnt (won-deals): is not a key of this table; did you mean `percent`?",
        ),
        (
            [(DISCOUNT, 'discount = "Discnt" ')],
            "order.lines.discount (won-deals): reads Discnt, which `select` does not fetch; did you mean `Discount`?",
        ),
        (
            [(DISCOUNT, 'discount = "DISCOUNT" ')],
            "reads DISCOUNT, which `select` does not fetch; did you mean `Discount`?",
        ),
        (
            [(TOTAL, 'total = "totalPrice"')],
            "reads totalPrice, which `select` does not fetch; did you mean `TotalPrice`?",
        ),
        (
            [('total = "Amount"', 'total = "ExpectedRevenue"')],
            "order.total (won-deals): reads ExpectedRevenue, which `select` does not fetch; add it to `select`, or",
        ),
        (
            [('"Account.Name"', '"account.Name"')],
            "reads account.Name, which `select` does not fetch; did you mean `Account",
        ),
        (
            [('each = "OpportunityLineItems.records"', 'each = "opportunityLineItems.records"')],
            "order.lines.each (won-deals): reads opportunityLineItems.records, which `select` does not fetch; did you",
        ),
        (
            [('qualify = "IsWon"', "qualify = \"IsWon && day_in(CloseDate, 'Europe/Berln') > '2026'\"")],
            "qualify (won-deals): the time zone is not known",
        ),
        ([('# allow = ["negative-quantity"]', 'allow = ["negative"]')], "order.allow[0] (won-deals): must be"),
        (
            [(EXTRA, '[routes.order.extra]\nparty = "PO_Number__c"\n#')],
            "order.extra.party (won-deals): is a name that Closedwon sets itself; map it by its own key, or",
        ),
        (
            [(EXTRA, '[routes.order.extra]\nexternal_id = "PO_Number__c"\n#')],
            "order.extra.external_id (won-deals): is a",
        ),
        ([(EXTRA, f'{LINES_EXTRA}\nunit = "Description"\n#')], "order.lines.extra.unit (won-deals): is a name"),
        (
            [REST, (EXTRA, '[routes.order.extra]\ncurrency = "PO_Number__c"\n#')],
            "order.extra.currency (won-deals): is a",
        ),
        (
            [REST, (EXTRA, f'{LINES_EXTRA}\nquantity = "Description"\n#')],
            "order.lines.extra.quantity (won-deals): is a",
        ),
        (
            [(EXTRA, f'{LINES_EXTRA}\nnote = "Descriptn"\n#')],
            "order.lines.extra.note (won-deals): reads Descriptn, which `select` does not fetch; did you mean",
        ),
        (
            [('each = "OpportunityLineItems.records"', 'each = "[@]"')],
            "order.lines.quantity (won-deals): reads Quantity, which `select` does not fetch",
        ),
        (
            [('key = "ERP_Order_Key__c"', 'key = "ERP_Order_Error__c"')],
            "write_back (won-deals): names the field erp_order_error__c twice",
        ),
        (
            [('qualify = "IsWon"', 'qualify = "ERP_Order_Key__c == null"')],
            "qualify (won-deals): reads ERP_Order_Key__c, which the write-back changes",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(
    example: str, load: Load, changes: list[tuple[str, str]], expected: str
) -> None:
    """Before the first record, and with what was probably meant."""
    with pytest.raises(SettingsError) as caught:
        load(_changed(example, changes))
    assert expected in str(caught.value)


def test_quiet_needs_the_record(example: str, load: Load) -> None:
    """An event does not say when its lines were changed."""
    select = example[example.index("select = ") : example.index("qualify")]
    text = example.replace(select, 'source = "event"\nquiet = "30s"\n').replace(
        "[routes.sweep]", f"[routes.sweep]\n{select}"
    )
    with pytest.raises(SettingsError, match=r'routes\[0\].quiet \(won-deals\): needs source = "record"'):
        load(text)


def test_an_erp_that_a_record_picks_may_be_any(example: str, load: Load) -> None:
    """Where an expression picks the ERP, a name that one of them does not leave free is refused."""
    changes = [
        ('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } '),
        (EXTRA, '[routes.order.extra]\nparty = "Name"\n#'),
    ]
    with pytest.raises(SettingsError, match=r"order\.extra\.party"):
        load(_changed(example, changes))


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("Id, (SELECT Quantity FROM Lines__r)", "Id, (SELECT Quantity, SystemModstamp FROM Lines__r)"),
        ("Id, (select A, systemmodstamp from B)", "Id, (select A, systemmodstamp from B)"),
        (
            "(SELECT A FROM B), (SELECT C, D FROM E)",
            "(SELECT A, SystemModstamp FROM B), (SELECT C, D, SystemModstamp FROM E)",
        ),
        ("(SELECT A FROM B WHERE C IN ('x', 'y'))", "(SELECT A, SystemModstamp FROM B WHERE C IN ('x', 'y'))"),
        ("Id, Name", "Id, Name"),
    ],
)
def test_child_queries_get_their_stamp(select: str, expected: str) -> None:
    """Once, whatever its case."""
    assert expected == with_stamps(select)
    assert selected(select).keys() == selected(expected).keys()


def _changed(example: str, changes: list[tuple[str, str]]) -> str:
    for old, new in changes:
        assert old in example, old
        example = example.replace(old, new, 1)
    return example
