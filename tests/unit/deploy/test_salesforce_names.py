"""The metadata of deploy/salesforce uses the same names as the emulator, the example configuration and intake."""

from __future__ import annotations

import re
from itertools import chain, product
from typing import Final
from urllib.parse import urlsplit

import pytest

from closedwon.emulators.salesforce.config import ORDER_REQUESTED, OrgConfig
from closedwon.emulators.salesforce.data.schema import TOMBSTONE, FieldType, Schema, SObject
from closedwon.emulators.salesforce.data.store import Row
from closedwon.emulators.salesforce.push.flows import Flows
from closedwon.ids import OrgId, RecordId
from closedwon.model.orders import idempotency_key
from tests.support import sfdx
from tests.support.sfdx import DEFAULT, NS

_SHARED: Final = ["Opportunity", "Order_Requested__e", TOMBSTONE]
"""Objects that the Salesforce emulator has too."""
_APEX_ONLY: Final = {"Closedwon_Setting__c"}
"""A custom setting: the Salesforce emulator, which runs no Apex, needs none."""
_TYPES: Final = {
    "Text": FieldType.STRING,
    "Url": FieldType.URL,
    "LongTextArea": FieldType.TEXTAREA,
    "Number": FieldType.DOUBLE,
}
_NEED_NO_RIGHT: Final = {
    *("Opportunity.Id", "Opportunity.Name", "Opportunity.StageName", "Opportunity.CloseDate", "Opportunity.IsWon"),
    *("Opportunity.CurrencyIsoCode", "Opportunity.SystemModstamp", "Account.Id", "Account.Name"),
    *("Opportunity.CreatedDate", "OpportunityLineItem.SystemModstamp"),
    *("OpportunityLineItem.Quantity", "OpportunityLineItem.UnitPrice"),
}
"""Required and system fields: a user who may read the object may read them, and permissions cannot be set (as exported
profiles show, which list none of them)."""
_KEY: Final = "ERP_Order_Key__c"
"""Where the record's own key is written, which distinguishes a copied order number from the record's own."""
_OFFERED: Final = {f"OpportunityLineItem.{field}" for field in ("Discount", "ListPrice", "ServiceDate", "TotalPrice")}
"""What the event by Apex holds of a line: a route that reads the record may select it, too."""
_PUBLISH: Final = "flows/Closedwon_Publish_Order_Requested.flow-meta.xml"
_SEND: Final = "flows/Closedwon_Send_Order_Requested.flow-meta.xml"
_SEND_DELETED: Final = "flows/Closedwon_Send_Record_Deleted.flow-meta.xml"
_INTEGRATION: Final = "permissionsets/Closedwon_Integration.permissionset-meta.xml"
_CALLER: Final = "permissionsets/Closedwon_Caller.permissionset-meta.xml"
_TOMBSTONES: Final = "permissionsets/Closedwon_Tombstones.permissionset-meta.xml"


def _described(name: str) -> SObject:
    found = Schema(OrgConfig()).find(name)
    assert found is not None
    return found


def test_the_objects_are_those_of_the_emulator() -> None:
    """Development and deployment use the same objects."""
    schema = Schema(OrgConfig())
    custom = {one.name for one in schema.objects + schema.events if "__" in one.name}

    assert {"Opportunity"} | custom | _APEX_ONLY == sfdx.objects()


@pytest.mark.parametrize("name", _SHARED)
def test_the_fields_are_those_of_the_emulator(name: str) -> None:
    """Name, type, length and required: development and deployment use the same fields."""
    local = {
        one.name: (one.type, one.length, one.required) for one in _described(name).fields if one.name.endswith("__c")
    }

    assert local.keys() == sfdx.fields(name)
    for field, (kind, length, is_required) in local.items():
        root = sfdx.root(f"objects/{name}/fields/{field}.field-meta.xml")
        assert kind == _TYPES[sfdx.text(root, "type")]
        assert str(is_required).lower() == (root.findtext(f"{NS}required") or "false")
        if kind in {FieldType.STRING, FieldType.TEXTAREA}:
            assert str(length) == sfdx.text(root, "length")


def test_the_example_configuration_and_the_package_use_the_same_fields() -> None:
    """An operator who copies the example and deploys the package has a matching configuration."""
    example = sfdx.EXAMPLE.read_text(encoding="utf-8")
    in_example = set(re.findall(r"\b\w+__[ce]\b", example)) - {"Warehouse__c"}  # shown as an example of a custom field
    used = "\n".join(line for line in example.splitlines() if not line.lstrip().startswith("#"))
    named = set(re.findall(r"\b\w+__[ce]\b", used))
    shown_to_people = {"Amount__c", "Account_Name__c", "Object__c", _KEY}

    assert named <= in_example
    assert in_example | shown_to_people == set(chain.from_iterable(map(sfdx.fields, _SHARED))) | set(_SHARED[1:])


def test_the_package_matches_the_outbound_and_callout_routes_of_the_example() -> None:
    """These routes, when uncommented, accept what the package sends."""
    route = sfdx.route()
    tombstone = route["outbound"]["tombstone"]
    message = sfdx.root(f"workflows/{tombstone['object']}.workflow-meta.xml")

    assert tombstone["record_id"] in sfdx.texts(message, "outboundMessages/fields")
    assert f"/callouts/{route['name']}" in sfdx.text(
        sfdx.root("namedCredentials/Closedwon.namedCredential-meta.xml"), "namedCredentialParameters/parameterValue"
    )
    assert 1 <= len(route["callouts"]["keys"]) <= 2


def test_the_flow_publishes_the_same_event_as_the_emulators_flow() -> None:
    """It omits only the payload, which a flow cannot write."""
    flow = sfdx.root(_PUBLISH)

    assert ORDER_REQUESTED.publishes == sfdx.text(flow, "recordCreates/object")
    assert set(ORDER_REQUESTED.assignments) - {"Payload__c"} == sfdx.texts(flow, "recordCreates/inputAssignments/field")
    assert sfdx.texts(flow, "recordCreates/name") == sfdx.texts(flow, "start/connector/targetReference")


@pytest.mark.parametrize("path", [_PUBLISH, _SEND])
def test_a_flow_runs_when_a_deal_is_won_changed_or_reopened(path: str) -> None:
    """The conditions are those of the emulator's flow, with IsWon, which no translation or renamed stage changes."""
    flow = sfdx.root(path)
    formula = sfdx.text(flow, "start/filterFormula")
    local = Flows((ORDER_REQUESTED,))
    states: list[Row] = [
        {"IsWon": won, "Amount": amount, "AccountId": account, "IsDeleted": False}
        for won, amount, account in product((False, True), (1.0, 2.0), ("001A", "001B"))
    ]
    occasions = [*product([None, *states], states)]
    deployed = [sfdx.holds(formula, before, after) for before, after in occasions]
    developed = [any(local.triggered(_described("Opportunity"), before, after)) for before, after in occasions]

    assert "Active" == sfdx.text(flow, "status")
    assert "Opportunity" == sfdx.text(flow, "start/object")
    assert "CreateAndUpdate" == sfdx.text(flow, "start/recordTriggerType")
    # ISCHANGED is refused beside "only when a record is updated to meet the condition requirements".
    assert "false" == sfdx.text(flow, "start/doesRequireRecordChangedToMeetCriteria")
    assert developed == deployed
    assert formula in (sfdx.PACKAGE.parents[1] / "docs" / "salesforce-setup.md").read_text(encoding="utf-8")
    assert {True, False} == set(deployed)


def test_an_order_key_can_be_copied_with_its_record() -> None:
    """A unique key would prevent clones of a record with an order; 80 characters hold org id, colon and record id."""
    field = sfdx.root(f"objects/Opportunity/fields/{_KEY}.field-meta.xml")

    assert ("true", "false") == (sfdx.text(field, "externalId"), sfdx.text(field, "unique"))
    assert len(idempotency_key(OrgId("00D000000000001"), RecordId("006000000000001"))) <= int(
        sfdx.text(field, "length")
    )


def test_apex_identifies_its_own_order_by_the_written_key() -> None:
    """It consists of org id, colon and record id, like the key in the ERP."""
    org, record = OrgId("00D000000000001"), RecordId("006000000000001")
    built = re.search(
        r"String key = UserInfo\.getOrganizationId\(\) \+ '(.*)' \+ deal\.Id;", sfdx.apex()["ClosedwonDeals"]
    )
    assert built is not None

    assert idempotency_key(org, record) == f"{org}{built[1]}{record}"


def test_the_triggers_select_the_same_deals() -> None:
    """They use one rule, which the Apex tests check for the same conditions."""
    apex = sfdx.apex()

    for trigger in ("ClosedwonCalloutTrigger", "ClosedwonEventTrigger"):
        assert "(ClosedwonDeals.withNews(Trigger.new, Trigger.oldMap));" in apex[trigger]
        assert "(after insert, after update)" in apex[trigger]


@pytest.mark.parametrize(
    ("path", "owner", "endpoint"),
    [
        (_SEND, "Opportunity", "/outbound/{route}/the-path-secret"),
        (_SEND_DELETED, TOMBSTONE, "/outbound/{route}/the-path-secret/tombstones"),
    ],
)
def test_a_flow_sends_an_outbound_message_that_intake_accepts(path: str, owner: str, endpoint: str) -> None:
    """The message exists, has existing fields, and its endpoint is that of the example's route."""
    flow = sfdx.root(path)
    message = sfdx.root(f"workflows/{owner}.workflow-meta.xml").find(f"{NS}outboundMessages")
    assert message is not None

    assert "outboundMessage" == sfdx.text(flow, "actionCalls/actionType")
    assert f"{owner}.{sfdx.text(message, 'fullName')}" == sfdx.text(flow, "actionCalls/actionName")
    assert sfdx.texts(flow, "actionCalls/name") == sfdx.texts(flow, "start/connector/targetReference")
    assert owner == sfdx.text(flow, "start/object")
    assert endpoint.format(route=sfdx.route()["name"]) == urlsplit(sfdx.text(message, "endpointUrl")).path
    sent = sfdx.texts(message, "fields")
    assert {"Id", "SystemModstamp"} <= sent <= {one.name for one in _described(owner).fields}
    assert "false" == sfdx.text(message, "includeSessionId")


def test_a_message_is_sent_when_a_tombstone_is_created() -> None:
    """One message per deleted record, with its id."""
    flow = sfdx.root(_SEND_DELETED)
    message = sfdx.root(f"workflows/{TOMBSTONE}.workflow-meta.xml")

    assert ("Active", "Create") == (sfdx.text(flow, "status"), sfdx.text(flow, "start/recordTriggerType"))
    assert sfdx.fields(TOMBSTONE) <= sfdx.texts(message, "outboundMessages/fields")


def test_the_named_credential_has_the_address_of_the_examples_route() -> None:
    """Apex contains no URL: only the named credential has host and route."""
    credential = sfdx.root("namedCredentials/Closedwon.namedCredential-meta.xml")

    assert (
        f"/callouts/{sfdx.route()['name']}"
        == urlsplit(sfdx.text(credential, "namedCredentialParameters/parameterValue")).path
    )
    assert (DEFAULT / "externalCredentials" / "Closedwon.externalCredential-meta.xml").is_file()
    assert "Closedwon" == sfdx.text(credential, "namedCredentialParameters/externalCredential")


def test_the_integration_user_has_the_minimal_permissions() -> None:
    """It writes the five fields; it sends no outbound messages, so that a write-back cannot loop."""
    rights = sfdx.root(_INTEGRATION)
    editable = {
        permission.findtext(f"{NS}field")
        for permission in rights.iterfind(f"{NS}fieldPermissions")
        if permission.findtext(f"{NS}editable") == "true"
    }

    assert {f"Opportunity.{field}" for field in {_KEY, *sfdx.route()["write_back"].values()}} == editable
    assert {"ApiEnabled"} == sfdx.texts(rights, "userPermissions/name")
    assert {"Account", "Opportunity", "Product2", "Order_Requested__e"} == _allowed(_INTEGRATION, "allowRead")
    assert {TOMBSTONE} == _allowed(_TOMBSTONES, "allowRead")
    assert {"Opportunity"} == _allowed(_INTEGRATION, "allowEdit")


def test_the_integration_user_may_read_exactly_the_used_fields() -> None:
    """An API-only profile shows no optional field: a query that names one fails, a message omits it."""
    select: str = sfdx.route()["select"]
    lines = re.search(r"\(SELECT (.*) FROM OpportunityLineItems\)", select)
    assert lines is not None
    read = {_right_to(name, "Opportunity") for name in _names(select.replace(lines[0], ""))}
    read |= {_right_to(name, "OpportunityLineItem") for name in _names(lines[1])}
    sent = sfdx.texts(sfdx.root("workflows/Opportunity.workflow-meta.xml"), "outboundMessages/fields")
    written = {_KEY, *sfdx.route()["write_back"].values()}
    # Without permission for the lookup, a user sees no field of the account.
    needed = read | {f"Opportunity.{name}" for name in sent | written | {"AccountId"}}

    assert _OFFERED | needed - _NEED_NO_RIGHT == sfdx.texts(sfdx.root(_INTEGRATION), "fieldPermissions/field")


def _names(select: str) -> list[str]:
    return [name.strip() for name in select.split(",") if name.strip()]


def _right_to(path: str, owner: str) -> str:
    """The name for field permissions: an address is one field."""
    parent, dot, field = path.rpartition(".")
    field = "BillingAddress" if field.startswith("Billing") else field
    return f"{parent if dot else owner}.{field}"


@pytest.mark.parametrize("path", [_INTEGRATION, _CALLER, _TOMBSTONES])
def test_no_permission_set_grants_rights_over_all_records(path: str) -> None:
    """None grants creating, deleting, or more records than the org's sharing."""
    rights = ("allowCreate", "allowDelete", "viewAllRecords", "modifyAllRecords")

    assert set() == set(chain.from_iterable(_allowed(path, right) for right in rights))


def _allowed(path: str, right: str) -> set[str]:
    return {
        sfdx.text(one, "object")
        for one in sfdx.root(path).iterfind(f"{NS}objectPermissions")
        if sfdx.text(one, right) == "true"
    }


def test_a_caller_has_the_permissions_for_callouts() -> None:
    """Without the principal, every callout of the user fails."""
    rights = sfdx.root(_CALLER)
    principal = sfdx.text(
        sfdx.root("externalCredentials/Closedwon.externalCredential-meta.xml"),
        "externalCredentialParameters/parameterName",
    )

    assert f"Closedwon-{principal}" == sfdx.text(
        rights, "externalCredentialPrincipalAccesses/externalCredentialPrincipal"
    )
    assert {"UserExternalCredential"} == _allowed(_CALLER, "allowRead")
    for kind, folder in (("classAccesses/apexClass", "classes/{}.cls"), ("pageAccesses/apexPage", "pages/{}.page")):
        assert (DEFAULT / folder.format(sfdx.text(rights, kind))).is_file()


def test_the_client_app_grants_only_the_api_to_the_integration_user() -> None:
    """Client credentials only, scope api, for users with the permission set; the package contains no secret."""
    settings = sfdx.root("extlClntAppGlobalOauthSets/Closedwon_glbloauth.ecaGlblOauth-meta.xml")
    policies = sfdx.root("extlClntAppOauthPolicies/Closedwon_oauthPlcy.ecaOauthPlcy-meta.xml")
    flows = {one.tag.removeprefix(NS) for one in settings if "Enabled" in str(one.tag) and one.text == "true"}

    assert {"isClientCredentialsFlowEnabled"} == flows
    assert not {"consumerKey", "consumerSecret"} & {str(one.tag).removeprefix(NS) for one in settings}
    assert "Api" == sfdx.text(
        sfdx.root("extlClntAppOauthSettings/Closedwon_oauth.ecaOauth-meta.xml"), "commaSeparatedOauthScopes"
    )
    assert "AdminApprovedPreAuthorized" == sfdx.text(policies, "permittedUsersPolicyType")
    assert "Closedwon_Integration" == sfdx.text(policies, "commaSeparatedPermissionSet")
