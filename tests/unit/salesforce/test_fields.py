"""Names in expressions and write-backs, compared with the org's descriptions of its objects."""

from __future__ import annotations

from typing import Any

import pytest

from activities.salesforce import NEEDS_ATTENTION
from closedwon.emulators.salesforce.api.describe import describe_object
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.data.schema import Schema
from closedwon.errors import AttentionReason
from closedwon.salesforce.api.describe import Description, Field
from closedwon.salesforce.api.fields import STATUSES, check_fields, complaints_of
from closedwon.salesforce.errors import ConfigurationError
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


def complaints(checked: Route, known: dict[str, Description | None] = KNOWN) -> list[str]:
    """The complaints about a route whose objects are all known."""
    found, missing = check_fields(checked, known)
    assert set() == missing
    return [f"{one.key}: {one.text}" for one in found if one.holds]


def test_a_route_with_valid_names_has_no_complaints() -> None:
    """The route of most tests, with lines, parents and parents of lines."""
    assert ([], set()) == check_fields(route(), KNOWN)


def test_an_object_in_another_case_is_a_complaint() -> None:
    """Salesforce ignores the case, but messages, keys of JSON and key prefixes need the exact name."""
    known = {"deal__C": KNOWN["Opportunity"], **KNOWN}
    renamed = route(object="deal__C")
    assert ["object: the org has no object deal__C; the name is Opportunity"] == complaints(renamed, known)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qualify": "isWon"}, "qualify: Opportunity has no field isWon; the name is IsWon"),
        (
            {"qualify": "IsWon && StageNam == 'Won'"},
            "qualify: Opportunity has no field StageNam; did you mean StageName?",
        ),
        ({"qualify": "Zzz"}, "qualify: Opportunity has no field Zzz"),
        ({"qualify": "Name.Last && IsWon"}, "qualify: Opportunity.Name is a field and has no Last"),
        ({"order": {"name": "account.Name"}}, "order.name: Opportunity has no field account; the name is Account"),
        ({"order": {"name": "Account.name"}}, "order.name: Account has no field name; the name is Name"),
        (
            {"order": {"name": "join(' ', [Name, Account.Nam])"}},
            "order.name: Account has no field Nam; did you mean Name?",
        ),
        (
            {"order": {"extra": {"n": "OpportunityLineItems.records[0].quantity"}}},
            "order.extra.n: OpportunityLineItem has no field quantity; the name is Quantity",
        ),
        (
            {"order": {"reference": "to_string(sum(OpportunityLineItems.records[*].Totalprice))"}},
            "order.reference: OpportunityLineItem has no field Totalprice; the name is TotalPrice",
        ),
        (
            {"order": {"reference": "OpportunityLineItems.records[].Product2.productCode"}},
            "order.reference: Product2 has no field productCode; the name is ProductCode",
        ),
        (
            {"order": {"reference": "opportunityLineItems.records[0].Quantity"}},
            "order.reference: Opportunity has no field opportunityLineItems; the name is OpportunityLineItems",
        ),
        (
            {
                "select": _SELECT.replace("Quantity", "quantity"),
                "order": {"lines": {**_DEAL["order"]["lines"], "quantity": "quantity"}},
            },
            "order.lines.quantity: OpportunityLineItem has no field quantity; the name is Quantity",
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
            "order.lines.product: Product2 has no field Productcode; the name is ProductCode",
        ),
        (
            {"order": {"lines": {**_DEAL["order"]["lines"], "each": "[@]"}}},
            "order.lines.product: Opportunity has no field Product2",
        ),
        ({"erp": {"expression": "type || 'stub'"}}, "erp.expression: Opportunity has no field type"),
        (
            {"write_back": {"number": "Erp_Order_Number__c"}},
            "write_back.number: Opportunity has no field Erp_Order_Number__c; the name is ERP_Order_Number__c",
        ),
        (
            {"write_back": {"status": "IsClosed"}},
            "write_back.status: the integration user may not edit IsClosed of Opportunity",
        ),
    ],
)  # fmt: skip
def test_a_wrong_name_is_a_complaint(changes: dict[str, Any], expected: str) -> None:
    """Names are compared with their case; the text has the setting, the object and a suggestion."""
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
def test_right_and_complex_expressions_pass(expression: str) -> None:
    """A complaint holds the orders of an org, so an expression that is not understood passes."""
    assert [] == complaints(route(order={"reference": expression}))


def test_the_fields_of_an_event_are_not_checked() -> None:
    """An event's payload has fields of its own; with a sweep they must be those of the object."""
    event = {"source": "event", "select": None, "order": {"name": "dealName"}}
    assert [] == complaints(route(**event))
    swept = route(**event, sweep={"select": f"dealName, {_SELECT}"})
    assert ["order.name: Opportunity has no field dealName; did you mean Name?"] == complaints(swept)


def test_write_backs_of_an_event_route_are_checked() -> None:
    """They are fields of the object for every source."""
    event = route(source="event", select=None, write_back={"number": "erp_Order_Number__c"})
    assert [
        "write_back.number: Opportunity has no field erp_Order_Number__c; the name is ERP_Order_Number__c"
    ] == complaints(event)


def _with(*fields: Field) -> dict[str, Description | None]:
    deal = KNOWN["Opportunity"]
    assert deal is not None
    return {**KNOWN, "Opportunity": deal._replace(fields={**deal.fields, **{one.name: one for one in fields}})}


@pytest.mark.parametrize(
    ("field", "part"),
    [
        (Field("ERP_Order_Number__c", type="double"), "type double"),
        (Field("ERP_Order_Number__c", length=10), "holds 10 characters; the"),
        (Field("ERP_Order_Status__c", length=12), "holds 12 characters"),
        (Field("ERP_Order_Status__c", type="picklist", values=frozenset({"confirmed"})), "restricted picklist without"),
        (Field("ERP_Order_Link__c", type="url", length=80), "holds 80 characters; the"),
        (Field("ERP_Order_Error__c", length=80), "holds 80 characters; the"),
    ],
)
def test_a_field_that_is_too_short_is_a_warning(field: Field, part: str) -> None:
    """A value may be cut or rejected: the complaint says so and does not hold orders."""
    (found,) = check_fields(route(), _with(field))[0]
    assert part in found.text
    assert not found.holds


def test_a_key_field_that_is_too_short_holds_the_orders() -> None:
    """A key that is cut identifies no record, or another one."""
    keyed = route(write_back={"key": "ERP_Order_Key__c"})
    assert [] == check_fields(keyed, _with(Field("ERP_Order_Key__c", length=37)))[0]
    (found,) = check_fields(keyed, _with(Field("ERP_Order_Key__c", length=36)))[0]
    assert ("write_back.key", True) == (found.key, found.holds)


@pytest.mark.parametrize(
    "field",
    [
        Field("ERP_Order_Error__c", type="textarea", length=32768),
        Field("ERP_Order_Status__c", type="picklist", values=STATUSES),
    ],
)
def test_a_field_that_accepts_every_value_is_right(field: Field) -> None:
    """Examples are long text areas, and picklists with all statuses."""
    assert [] == check_fields(route(), _with(field))[0]
    assert NEEDS_ATTENTION in STATUSES


async def test_each_object_is_described_once() -> None:
    """Any number of routes over deals with lines needs four calls; objects that no expression reads need none."""
    asked: list[str] = []

    async def describe(name: str) -> Description:
        asked.append(name)
        found = KNOWN[name]
        assert found is not None
        return found

    found = await complaints_of([route(), route(name="more", qualify="isWon")], describe)

    assert ["Account", "Opportunity", "OpportunityLineItem", "Product2"] == sorted(asked)
    assert {"won": 0, "more": 1} == {name: len(each) for name, each in found.items()}


async def test_a_related_object_that_cannot_be_described_passes() -> None:
    """The query will show whether its fields exist; the route's own object must exist."""

    async def describe(name: str) -> Description:
        found = KNOWN[name]
        if name == "Account" or found is None:
            raise ConfigurationError("there is none", hint="")
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
        (Field("ERP_Order_Error__c", type="textarea", length=255), False),
        (Field("ERP_Order_Error__c", type="textarea", length=999), False),
        (Field("ERP_Order_Error__c", type="textarea", length=1000), True),
        (Field("ERP_Order_Error__c", type="boolean"), False),
    ],
)
def test_the_required_length_is_exact(field: Field, *, fits: bool) -> None:
    """The length of a picklist is not that of its values; 0 means no limit."""
    assert fits is (not check_fields(route(), _with(field))[0])


def test_p7_what_happens_to_a_value_that_is_too_long_is_said() -> None:
    """A Text(255) takes the beginning of an error; that is advice, and holds no order."""
    (found,) = check_fields(route(), _with(Field("ERP_Order_Error__c", length=255)))[0]
    assert (
        "Opportunity.ERP_Order_Error__c holds 255 characters; the error may need 1000; a longer one is cut"
        == found.text
    )
    assert not found.holds


def test_the_missing_statuses_of_a_picklist_are_named() -> None:
    """Only those, sorted."""
    lacks = STATUSES - {"done", "cancelled"}
    (found,) = check_fields(route(), _with(Field("ERP_Order_Status__c", type="picklist", values=lacks)))[0]
    assert "is a restricted picklist without cancelled, done" in found.text


def test_the_stage_is_a_field_of_every_deal() -> None:
    """It must exist and be editable; its picklist values are not checked here."""
    staged = route(write_back={"stage": "Ordered"})
    assert [] == check_fields(staged, _with(Field("StageName", type="double", length=1)))[0]
    (found,) = check_fields(staged, _with(Field("StageName", editable=False)))[0]
    assert ("write_back.stage", AttentionReason.SALESFORCE_REJECTED, True) == (found.key, found.reason, found.holds)
    assert "`write_back.stage` of route 'won'" in found.hint
    assert [] == check_fields(route(write_back={}), _with(Field("StageName", editable=False)))[0]


def test_the_hint_of_a_complaint_names_the_setting() -> None:
    """It names the setting and the route. The complaint holds orders, with the reason `configuration`."""
    (found,) = check_fields(route(qualify="isWon"), KNOWN)[0]
    assert (AttentionReason.CONFIGURATION, True) == (found.reason, found.holds)
    assert found.hint.startswith("Correct `qualify` of route 'won' in closedwon.toml")


def test_only_the_closest_name_is_suggested() -> None:
    """Several names are similar."""
    known = _with(Field("ERP_Order_Numbers__c"))
    assert [
        "write_back.number: Opportunity has no field ERP_Order_Numbe__c; did you mean ERP_Order_Number__c?"
    ] == complaints(route(write_back={"number": "ERP_Order_Numbe__c"}), known)


def test_a_relationship_to_several_objects_is_not_followed() -> None:
    """An owner may be a user or a queue, so its fields are unknown."""
    for targets in (("Account", "Group"), ("Group", "Account")):
        known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=targets))
        assert [] == complaints(route(order={"reference": "Owner__r.nothing"}), known)
    known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=("Account",)))
    assert ["order.reference: Account has no field nothing"] == complaints(
        route(order={"reference": "Owner__r.nothing"}), known
    )


def test_only_objects_whose_fields_are_read_are_described() -> None:
    """A parent that is only compared with null, and lines of an unknown relationship, need no description."""
    known = _with(Field("Owner__c", type="reference", relationship="Owner__r", targets=("Crew__c",)))
    assert set() == check_fields(route(order={"reference": "Owner__r && 'yes'"}), known)[1]
    assert {"Crew__c"} == check_fields(route(order={"reference": "Owner__r.Name"}), known)[1]
    for each in ("Nothings.records", "Account.records", "OpportunityLineItems.others", "OpportunityLineItems"):
        assert set() == check_fields(route(order={"lines": {**_DEAL["order"]["lines"], "each": each}}), KNOWN)[1]


def test_only_elements_of_records_are_lines() -> None:
    """Other keys beside `records` are not checked."""
    for beside in ("done", "others", "totalSize"):
        assert [] == complaints(route(order={"reference": f"OpportunityLineItems.{beside}.nothing"}))
    assert ["order.reference: OpportunityLineItem has no field nothing"] == complaints(
        route(order={"reference": "OpportunityLineItems.records.nothing"})
    )


def test_a_path_behind_a_field_is_a_complaint() -> None:
    """The complaint names the first part behind the field."""
    found = complaints(route(order={"reference": "Name.first.second"}))
    assert ["order.reference: Opportunity.Name is a field and has no first"] == found


def test_unknown_objects_are_returned() -> None:
    """First the route's own, then related ones, each once; one that cannot be described passes."""
    assert ([], {"Opportunity"}) == check_fields(route(), {})
    assert ([], set()) == check_fields(route(), {"Opportunity": None})
    found, missing = check_fields(route(), {"Opportunity": KNOWN["Opportunity"]})
    assert ([], {"Account", "OpportunityLineItem"}) == (found, missing)
    assert ([], set()) == check_fields(route(), {**KNOWN, "OpportunityLineItem": None, "Account": None})
