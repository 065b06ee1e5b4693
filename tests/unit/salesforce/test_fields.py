"""Names in expressions and write-backs, compared with what the org says of its objects."""

from __future__ import annotations

from typing import Any

import pytest

from activities.salesforce import NEEDS_ATTENTION
from closedwon.errors import AttentionReason
from closedwon.localorg.config import OrgConfig
from closedwon.localorg.describe import describe_object
from closedwon.localorg.schema import Schema
from closedwon.salesforce.describe import Description, Field
from closedwon.salesforce.errors import ConfigurationError
from closedwon.salesforce.fields import STATUSES, complaints_of, judge
from closedwon.settings import Route
from tests.support.handoff import _DEAL, _SELECT

KNOWN: dict[str, Description | None] = {
    one.name: Description.read(describe_object(one, "/services/data/v67.0")) for one in Schema(OrgConfig()).objects
}


def route(**changes: Any) -> Route:
    """The route of most tests, with changes; `order` is merged."""
    order = _DEAL["order"] | changes.pop("order", {})
    return Route.model_validate(
        {**_DEAL, "name": "won", "org": "o", "select": f"FIELDS(ALL), {_SELECT}", **changes, "order": order}
    )


def complaints(judged: Route, known: dict[str, Description | None] = KNOWN) -> list[str]:
    """What is wrong with a route whose objects are all known."""
    found, missing = judge(judged, known)
    assert set() == missing
    return [f"{one.key}: {one.text}" for one in found if one.holds]


def test_a_route_whose_names_all_exist_is_right() -> None:
    """The route of most tests, with lines, parents and parents of lines."""
    assert ([], set()) == judge(route(), KNOWN)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qualify": "isWon"}, "qualify: Opportunity has no field isWon; it is IsWon"),
        (
            {"qualify": "IsWon && StageNam == 'Won'"},
            "qualify: Opportunity has no field StageNam; did you mean StageName?",
        ),
        ({"qualify": "Zzz"}, "qualify: Opportunity has no field Zzz"),
        ({"qualify": "Name.Last && IsWon"}, "qualify: Opportunity.Name is a field and has no Last"),
        ({"order": {"name": "account.Name"}}, "order.name: Opportunity has no field account; it is Account"),
        ({"order": {"name": "Account.name"}}, "order.name: Account has no field name; it is Name"),
        (
            {"order": {"name": "join(' ', [Name, Account.Nam])"}},
            "order.name: Account has no field Nam; did you mean Name?",
        ),
        (
            {"order": {"extra": {"n": "OpportunityLineItems.records[0].quantity"}}},
            "order.extra.n: OpportunityLineItem has no field quantity; it is Quantity",
        ),
        (
            {"order": {"reference": "to_string(sum(OpportunityLineItems.records[*].Totalprice))"}},
            "order.reference: OpportunityLineItem has no field Totalprice; it is TotalPrice",
        ),
        (
            {"order": {"reference": "OpportunityLineItems.records[].Product2.productCode"}},
            "order.reference: Product2 has no field productCode; it is ProductCode",
        ),
        (
            {"order": {"reference": "opportunityLineItems.records[0].Quantity"}},
            "order.reference: Opportunity has no field opportunityLineItems; it is OpportunityLineItems",
        ),
        (
            {
                "select": _SELECT.replace("Quantity", "quantity"),
                "order": {"lines": {**_DEAL["order"]["lines"], "quantity": "quantity"}},
            },
            "order.lines.quantity: OpportunityLineItem has no field quantity; it is Quantity",
        ),
        (
            {
                "select": _SELECT.replace("Product2.ProductCode", "Product2.Productcode"),
                "order": {
                    "lines": {
                        **_DEAL["order"]["lines"],
                        "each": "OpportunityLineItems.records[?Quantity > `0`]",
                        "product": "Product2.Productcode",
                    }
                },
            },
            "order.lines.product: Product2 has no field Productcode; it is ProductCode",
        ),
        (
            {"order": {"lines": {**_DEAL["order"]["lines"], "each": "[@]"}}},
            "order.lines.product: Opportunity has no field Product2",
        ),
        ({"erp": {"expression": "type || 'light'"}}, "erp.expression: Opportunity has no field type"),
        (
            {"write_back": {"number": "Erp_Order_Number__c"}},
            "write_back.number: Opportunity has no field Erp_Order_Number__c; it is ERP_Order_Number__c",
        ),
        (
            {"write_back": {"status": "IsClosed"}},
            "write_back.status: the integration user may not edit IsClosed of Opportunity",
        ),
    ],
)  # fmt: skip
def test_a_name_that_yields_nothing_is_found(changes: dict[str, Any], expected: str) -> None:
    """Exactly, including case; the sentence names setting, object and the name that is meant."""
    assert expected in complaints(route(**changes))


@pytest.mark.parametrize(
    "expression",
    [
        "attributes.type",
        "'isWon'",
        '`"isWon.x"`',
        "OpportunityLineItems.totalSize",
        "length(OpportunityLineItems.records)",
        "OpportunityLineItems.records[?isNothing == `1`].Quantity",
        "OpportunityLineItems.records[?length(Tags[*].x) > `0`].Quantity",
        "sort_by(OpportunityLineItems.records, &length(Tags[*].x))[0].Quantity",
        "IsWon && sort_by(OpportunityLineItems.records, &length(Tags[*].x))",
        "sort_by(OpportunityLineItems.records, &Quantity)[0].Product2.Name",
        "{a: Account.Name}.a",
        "OpportunityLineItems.records | [0].quantity",
        "merge(Account, Owner).Name",
        "Account.Owner.Name",
        "@",
    ],
)
def test_what_is_right_or_not_plain_passes(expression: str) -> None:
    """A complaint holds the orders of an org: what is not understood is no reason for one."""
    assert [] == complaints(route(order={"reference": expression}))


def test_the_fields_of_an_event_are_its_own() -> None:
    """An event's payload is not the object's record; where a sweep's records take its place, they are."""
    event = {"source": "event", "select": None, "order": {"name": "dealName"}}
    assert [] == complaints(route(**event))
    swept = route(**event, sweep={"select": f"dealName, {_SELECT}"})
    assert ["order.name: Opportunity has no field dealName; did you mean Name?"] == complaints(swept)


def test_write_backs_of_an_event_route_are_checked() -> None:
    """They are the object's fields, whatever brings the order."""
    event = route(source="event", select=None, write_back={"number": "erp_Order_Number__c"})
    assert ["write_back.number: Opportunity has no field erp_Order_Number__c; it is ERP_Order_Number__c"] == complaints(
        event
    )


def _with(*fields: Field) -> dict[str, Description | None]:
    deal = KNOWN["Opportunity"]
    assert deal is not None
    return {**KNOWN, "Opportunity": deal._replace(fields={**deal.fields, **{one.name: one for one in fields}})}


@pytest.mark.parametrize(
    ("field", "part"),
    [
        (Field("ERP_Order_Number__c", type="double"), "type double"),
        (Field("ERP_Order_Number__c", length=10), "takes 10 characters; 20"),
        (Field("ERP_Order_Status__c", length=12), "takes 12 characters"),
        (Field("ERP_Order_Status__c", type="picklist", values=frozenset({"confirmed"})), "restricted picklist without"),
        (Field("ERP_Order_Link__c", type="url", length=80), "takes 80 characters; 255"),
        (Field("ERP_Order_Error__c", length=80), "takes 80 characters; 255"),
    ],
)
def test_a_field_that_is_too_small_is_a_warning(field: Field, part: str) -> None:
    """It may be cut or refused: that is said, and holds nothing."""
    (found,) = judge(route(), _with(field))[0]
    assert part in found.text
    assert not found.holds


def test_a_key_that_does_not_fit_holds_the_orders() -> None:
    """A key that is cut proves nothing, or another record."""
    keyed = route(write_back={"key": "ERP_Order_Key__c"})
    assert [] == judge(keyed, _with(Field("ERP_Order_Key__c", length=37)))[0]
    (found,) = judge(keyed, _with(Field("ERP_Order_Key__c", length=36)))[0]
    assert ("write_back.key", True) == (found.key, found.holds)


@pytest.mark.parametrize(
    "field",
    [
        Field("ERP_Order_Error__c", type="textarea", length=32768),
        Field("ERP_Order_Status__c", type="picklist", values=STATUSES),
    ],
)
def test_a_field_that_takes_all_is_right(field: Field) -> None:
    """Long text areas, and picklists with all statuses."""
    assert [] == judge(route(), _with(field))[0]
    assert NEEDS_ATTENTION in STATUSES


async def test_each_object_is_described_once() -> None:
    """Four calls for any number of routes over deals with lines; none for what no expression reads."""
    asked: list[str] = []

    async def describe(name: str) -> Description:
        asked.append(name)
        found = KNOWN[name]
        assert found is not None
        return found

    found = await complaints_of([route(), route(name="more", qualify="isWon")], describe)

    assert ["Account", "Opportunity", "OpportunityLineItem", "Product2"] == sorted(asked)
    assert {"won": 0, "more": 1} == {name: len(each) for name, each in found.items()}


async def test_an_object_behind_a_relationship_that_cannot_be_described_passes() -> None:
    """Whether its fields can be read is for the query to say; the route's own object must be there."""

    async def describe(name: str) -> Description:
        found = KNOWN[name]
        if name == "Account" or found is None:
            raise ConfigurationError("there is none", cure="")
        return found

    assert {"won": []} == await complaints_of([route(order={"name": "Account.nothing"})], describe)
    with pytest.raises(ConfigurationError):
        await complaints_of([route(object="Account", events=())], describe)


@pytest.mark.parametrize(
    ("field", "fits"),
    [
        (Field("ERP_Order_Number__c", length=19), False),
        (Field("ERP_Order_Number__c", length=20), True),
        (Field("ERP_Order_Number__c", length=0), True),
        (Field("ERP_Order_Number__c", length=1), False),
        (Field("ERP_Order_Status__c", length=max(map(len, STATUSES)) - 1), False),
        (Field("ERP_Order_Status__c", length=max(map(len, STATUSES))), True),
        (Field("ERP_Order_Status__c", type="picklist", length=5), True),
        (Field("ERP_Order_Status__c", type="picklist", values=STATUSES | {"more"}), True),
        (Field("ERP_Order_Status__c", type="picklist", values=STATUSES - {"cancelled"}), False),
        (Field("ERP_Order_Number__c", type="picklist", values=frozenset({"a"})), True),
        (Field("ERP_Order_Link__c", type="url", length=254), False),
        (Field("ERP_Order_Link__c", type="url", length=255), True),
        (Field("ERP_Order_Error__c", type="textarea", length=254), False),
        (Field("ERP_Order_Error__c", type="textarea", length=255), True),
        (Field("ERP_Order_Error__c", type="boolean"), False),
    ],
)
def test_the_length_that_may_be_needed_is_exact(field: Field, *, fits: bool) -> None:
    """A picklist's length is not that of its values; 0 is no bound."""
    assert fits is (not judge(route(), _with(field))[0])


def test_the_statuses_that_a_picklist_lacks_are_named() -> None:
    """Sorted, and only those."""
    lacks = STATUSES - {"done", "cancelled"}
    (found,) = judge(route(), _with(Field("ERP_Order_Status__c", type="picklist", values=lacks)))[0]
    assert "is a restricted picklist without cancelled, done" in found.text


def test_the_stage_is_a_field_of_every_deal() -> None:
    """It must be there and editable; what it takes, its picklist says elsewhere."""
    staged = route(write_back={"stage": "Ordered"})
    assert [] == judge(staged, _with(Field("StageName", type="double", length=1)))[0]
    (found,) = judge(staged, _with(Field("StageName", editable=False)))[0]
    assert ("write_back.stage", AttentionReason.SALESFORCE_REJECTED, True) == (found.key, found.reason, found.holds)
    assert "`write_back.stage` of route 'won'" in found.hint
    assert [] == judge(route(write_back={}), _with(Field("StageName", editable=False)))[0]


def test_a_complaint_says_what_to_correct() -> None:
    """The setting and the route; it holds the orders, as a matter of configuration."""
    (found,) = judge(route(qualify="isWon"), KNOWN)[0]
    assert (AttentionReason.CONFIGURATION, True) == (found.reason, found.holds)
    assert found.hint.startswith("Correct `qualify` of route 'won' in closedwon.toml")


def test_of_several_names_that_are_near_one_is_named() -> None:
    """The nearest."""
    known = _with(Field("ERP_Order_Numbers__c"))
    assert [
        "write_back.number: Opportunity has no field ERP_Order_Numbe__c; did you mean ERP_Order_Number__c?"
    ] == complaints(route(write_back={"number": "ERP_Order_Numbe__c"}), known)


def test_a_relationship_to_several_objects_is_not_followed() -> None:
    """An owner may be a user or a queue: what it has is not known."""
    for targets in (("Account", "Group"), ("Group", "Account")):
        known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=targets))
        assert [] == complaints(route(order={"reference": "Owner__r.nothing"}), known)
    known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=("Account",)))
    assert ["order.reference: Account has no field nothing"] == complaints(
        route(order={"reference": "Owner__r.nothing"}), known
    )


def test_only_objects_of_which_something_is_read_are_asked_for() -> None:
    """A parent that is only there or not need not be described; lines of no known relationship neither."""
    known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=("Crew__c",)))
    assert set() == judge(route(order={"reference": "Owner__r && 'yes'"}), known)[1]
    assert {"Crew__c"} == judge(route(order={"reference": "Owner__r.Name"}), known)[1]
    for each in ("Nothings.records", "Account.records", "OpportunityLineItems.others", "OpportunityLineItems"):
        assert set() == judge(route(order={"lines": {**_DEAL["order"]["lines"], "each": each}}), KNOWN)[1]


def test_the_part_that_a_field_does_not_have_is_named() -> None:
    """The first one behind the field."""
    found = complaints(route(order={"reference": "Name.first.second"}))
    assert ["order.reference: Opportunity.Name is a field and has no first"] == found


def test_objects_that_are_not_known_yet_are_asked_for() -> None:
    """The route's own first; then those behind it, each once; one that cannot be described passes."""
    assert ([], {"Opportunity"}) == judge(route(), {})
    assert ([], set()) == judge(route(), {"Opportunity": None})
    found, missing = judge(route(), {"Opportunity": KNOWN["Opportunity"]})
    assert ([], {"Account", "OpportunityLineItem"}) == (found, missing)
    assert ([], set()) == judge(route(), {**KNOWN, "OpportunityLineItem": None, "Account": None})
