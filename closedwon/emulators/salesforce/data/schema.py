"""The objects and events of the Salesforce emulator with their fields: type, length, required, read-only.

Data only: `values` checks and converts values, `records` writes records.
Key prefixes and field facts: Object Reference for the Salesforce Platform.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from closedwon.emulators.salesforce.config import CustomField, OrgConfig


class FieldType(StrEnum):
    """Salesforce's names of the supported field types."""

    ID = "id"
    REFERENCE = "reference"
    STRING = "string"
    TEXTAREA = "textarea"
    URL = "url"
    EMAIL = "email"
    PICKLIST = "picklist"
    MULTIPICKLIST = "multipicklist"
    CURRENCY = "currency"
    DOUBLE = "double"
    PERCENT = "percent"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"


PICKLISTS = frozenset({FieldType.PICKLIST, FieldType.MULTIPICKLIST})
TEXTS = PICKLISTS | {FieldType.STRING, FieldType.TEXTAREA, FieldType.URL, FieldType.EMAIL}
IDS = frozenset({FieldType.ID, FieldType.REFERENCE})
NUMBERS = frozenset({FieldType.CURRENCY, FieldType.DOUBLE, FieldType.PERCENT})
LONG_TEXT = 255
"""A text area longer than this is a Long Text Area, which no query may filter or sort by."""


@dataclass(frozen=True)
class SField:
    """One field. `values` are those of a restricted picklist; `refers_to` is the object of a lookup.

    A `fixed` field can be set at creation but not changed later; `external` marks the id of another system.
    """

    name: str
    type: FieldType = FieldType.STRING
    label: str = ""
    length: int = 255
    required: bool = False
    writable: bool = True
    fixed: bool = False
    external: bool = False
    refers_to: str | None = None
    values: tuple[str, ...] = ()

    @property
    def relationship(self) -> str | None:
        """The name of the parent in a field path: `Account` for `AccountId`."""
        if not self.refers_to:
            return None
        return f"{self.name[:-1]}r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    @property
    def is_long_text(self) -> bool:
        """Whether it is a Long Text Area."""
        return self.type is FieldType.TEXTAREA and self.length > LONG_TEXT


@dataclass(frozen=True)
class SObject:
    """One object, or one platform event (`is_event`). Names have any case, as in Salesforce."""

    name: str
    prefix: str
    fields: tuple[SField, ...]
    children: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Child relationship name -> (child object, its lookup field)."""
    is_event: bool = False
    unseen: tuple[SField, ...] = ()
    """Fields that the org has switched off; their values are kept."""
    _index: dict[str, SField] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Index the fields."""
        self._index.update({one.name.lower(): one for one in self.fields})

    def find(self, name: str) -> SField | None:
        """The field called `name`, in any case."""
        return self._index.get(name.lower())

    def parent(self, relationship: str) -> SField | None:
        """The lookup whose relationship is called `relationship`, in any case."""
        wanted = relationship.lower()
        return next((one for one in self.fields if (one.relationship or "").lower() == wanted), None)


def without_unseen(owner: SObject, soql: str) -> str:
    """A query of the emulator's own, without the fields that the org has switched off."""
    for one in owner.unseen:
        soql = soql.replace(f"{one.name}, ", "")
    return soql


STAGES = (
    "Prospecting",
    "Qualification",
    "Proposal/Price Quote",
    "Negotiation/Review",
    "Closed Won",
    "Ordered",
    "Closed Lost",
)
WON_STAGES = frozenset({"Closed Won", "Ordered"})
CLOSED_STAGES = WON_STAGES | {"Closed Lost"}


def _lookup(name: str, to: str, *, required: bool = False, writable: bool = True, fixed: bool = False) -> SField:
    return SField(name, FieldType.REFERENCE, length=18, refers_to=to, required=required, writable=writable, fixed=fixed)


def _system(name: str, kind: FieldType) -> SField:
    return SField(name, kind, writable=False)


_AUDIT = (
    SField("Id", FieldType.ID, length=18, writable=False),
    _system("IsDeleted", FieldType.BOOLEAN),
    _system("CreatedDate", FieldType.DATETIME),
    _lookup("CreatedById", "User", writable=False),
    _system("LastModifiedDate", FieldType.DATETIME),
    _lookup("LastModifiedById", "User", writable=False),
    _system("SystemModstamp", FieldType.DATETIME),
)

_ACCOUNT = (
    SField("Name", required=True, label="Account Name"),
    SField("AccountNumber", length=40),
    SField("Type", FieldType.PICKLIST),
    SField("Phone", length=40),
    SField("Website", FieldType.URL),
    SField("BillingStreet", FieldType.TEXTAREA),
    SField("BillingCity", length=40),
    SField("BillingPostalCode", length=20),
    SField("BillingState", length=80),
    SField("BillingCountry", length=80),
    SField("BillingCountryCode", FieldType.PICKLIST, length=10),
    _lookup("OwnerId", "User"),
)
_PRODUCT = (
    SField("Name", required=True, label="Product Name"),
    SField("ProductCode"),
    SField("Description", FieldType.TEXTAREA, length=4000),
    SField("IsActive", FieldType.BOOLEAN),
    SField("Family", FieldType.PICKLIST),
)
_PRICEBOOK_ENTRY = (
    _lookup("Product2Id", "Product2", required=True, fixed=True),
    SField("UnitPrice", FieldType.CURRENCY, required=True, label="List Price"),
    SField("IsActive", FieldType.BOOLEAN),
)
"""Entries of the standard price book, the only one here."""
_OPPORTUNITY = (
    SField("Name", required=True, length=120),
    _lookup("AccountId", "Account"),
    SField("StageName", FieldType.PICKLIST, label="Stage", required=True, values=STAGES),
    SField("Amount", FieldType.CURRENCY),
    SField("CloseDate", FieldType.DATE, label="Close Date", required=True),
    _system("IsWon", FieldType.BOOLEAN),
    _system("IsClosed", FieldType.BOOLEAN),
    _system("HasOpportunityLineItem", FieldType.BOOLEAN),
    SField("CurrencyIsoCode", FieldType.PICKLIST, label="Currency", length=3),
    SField("Description", FieldType.TEXTAREA, length=32000),
    SField("NextStep"),
    _lookup("OwnerId", "User"),
    SField("PO_Number__c", label="PO Number", length=80),
    SField("ERP_Order_Number__c", label="ERP Order Number", length=80),
    SField("ERP_Order_Key__c", label="ERP Order Key", length=80, external=True),
    SField("ERP_Order_Status__c", label="ERP Order Status", length=80),
    SField("ERP_Order_Link__c", FieldType.URL, label="ERP Order Link"),
    SField("ERP_Order_Error__c", FieldType.TEXTAREA, label="ERP Order Error", length=32768),
)
_LINE_ITEM = (
    _lookup("OpportunityId", "Opportunity", required=True, fixed=True),
    _lookup("PricebookEntryId", "PricebookEntry", fixed=True),
    _lookup("Product2Id", "Product2", fixed=True),
    SField("ProductCode", writable=False),
    SField("Quantity", FieldType.DOUBLE, required=True),
    SField("UnitPrice", FieldType.CURRENCY, label="Sales Price"),
    SField("Discount", FieldType.PERCENT),
    SField("TotalPrice", FieldType.CURRENCY, label="Total Price"),
    _system("ListPrice", FieldType.CURRENCY),
    SField("CurrencyIsoCode", FieldType.PICKLIST, label="Currency", length=3, writable=False),
    SField("Description"),
    SField("ServiceDate", FieldType.DATE, label="Date"),
    SField("SortOrder", FieldType.DOUBLE),
)
_USER = (
    SField("Name", required=True),
    SField("Username", required=True, length=80),
    SField("Email", FieldType.EMAIL, length=128),
    SField("IsActive", FieldType.BOOLEAN),
)
_NAMED = (SField("Name", length=80), _lookup("OwnerId", "User"))
"""The standard fields of a custom object."""
_ORGANIZATION = (
    SField("Name", required=True, length=80),
    SField("OrganizationType", FieldType.PICKLIST),
    SField("IsSandbox", FieldType.BOOLEAN),
    SField("InstanceName", length=5),
)
_FLOW = (SField("ApiName", label="API Name"), SField("IsActive", FieldType.BOOLEAN))
FLOW_VIEW = "FlowDefinitionView"
"""Read-only, as in a real org: which flows there are, and which of them are active."""
TOMBSTONE = "Deleted_Record__c"
"""Records a deletion, so that an outbound message can report it."""
_TOMBSTONE = (
    SField("Record_Id__c", length=18, label="Record Id", required=True),
    SField("Object__c", length=80, label="Object", required=True),
    _lookup("OwnerId", "User"),
)
LONGEST_PAYLOAD = 131_072
_ORDER_REQUESTED = (
    SField("Opportunity_Id__c", length=18, label="Opportunity Id"),
    SField("Amount__c", FieldType.DOUBLE, label="Amount"),
    SField("Account_Name__c", label="Account Name"),
    SField("Organization_Id__c", length=18, label="Organization Id"),
    SField("Payload__c", FieldType.TEXTAREA, label="Payload", length=LONGEST_PAYLOAD),
)


_STANDARD = frozenset(
    {"Account", "Product2", "PricebookEntry", "Opportunity", "OpportunityLineItem", TOMBSTONE, "User"}
)


class Schema:
    """Every object and event of one org, custom fields included."""

    def __init__(self, config: OrgConfig) -> None:
        """Combine the standard objects and the configured custom fields."""
        self._extra = config.custom_fields
        self._names = _STANDARD | {one.name for one in config.objects}
        self._lacking = frozenset() if config.multi_currency else frozenset({"CurrencyIsoCode"})
        self.objects = tuple(
            self._object(name, prefix, fields, children)
            for name, prefix, fields, children in (
                ("Account", "001", _ACCOUNT, {"Opportunities": ("Opportunity", "AccountId")}),
                ("Product2", "01t", _PRODUCT, {}),
                ("PricebookEntry", "01u", _PRICEBOOK_ENTRY, {}),
                (
                    "Opportunity",
                    "006",
                    _OPPORTUNITY,
                    {"OpportunityLineItems": ("OpportunityLineItem", "OpportunityId")},
                ),
                ("OpportunityLineItem", "00k", _LINE_ITEM, {}),
                (TOMBSTONE, "a00", _TOMBSTONE, {}),
                ("User", "005", _USER, {}),
                (FLOW_VIEW, "2aF", _FLOW, {}),
                ("Organization", "00D", _ORGANIZATION, {}),
            )
        )
        self.objects += tuple(
            self._object(one.name, _prefix(number), _NAMED, {})
            for number, one in enumerate(config.objects)
            if one.name.endswith("__c") and one.name != TOMBSTONE
        )
        events = {"Order_Requested__e"} | {one.name for one in config.objects if one.name.endswith("__e")}
        events |= {one.on for one in config.custom_fields if one.on.endswith("__e")}
        self.events = tuple(self._event(name) for name in sorted(events))
        self._index = {one.name.lower(): one for one in self.objects + self.events}

    def find(self, name: str) -> SObject | None:
        """The object or event called `name`, in any case."""
        return self._index.get(name.lower())

    def _custom(self, name: str) -> Iterable[SField]:
        return (_custom_field(one, self._names) for one in self._extra if one.on == name)

    def _replaced(self, name: str) -> frozenset[str]:
        """The fields of ours that the configuration defines, too."""
        return frozenset(one.name for one in self._extra if one.on == name)

    def _object(
        self, name: str, prefix: str, fields: tuple[SField, ...], children: dict[str, tuple[str, str]]
    ) -> SObject:
        seen = tuple(one for one in fields if one.name not in self._lacking | self._replaced(name))
        unseen = tuple(one for one in fields if one.name in self._lacking)
        return SObject(name, prefix, (*_AUDIT, *seen, *self._custom(name)), children, unseen=unseen)

    def _event(self, name: str) -> SObject:
        ours = _ORDER_REQUESTED if name == "Order_Requested__e" else ()
        standard = (one for one in ours if one.name not in self._replaced(name))
        return SObject(name, "e01", (*standard, *self._custom(name)), is_event=True)


def _custom_field(one: CustomField, objects: frozenset[str]) -> SField:
    """A field of the configuration; a reference to an object that the emulator lacks is not checked."""
    return SField(
        one.name,
        FieldType(one.type),
        label=one.label or one.name.removesuffix("__c").replace("_", " "),
        length=18 if one.refers_to else one.length,
        required=one.required,
        external=one.external,
        refers_to=one.refers_to if one.refers_to in objects else None,
        values=one.values,
    )


def _prefix(number: int) -> str:
    """The key prefix of a custom object: a01, a02 and so on, in base 36."""
    digits = string.digits + string.ascii_lowercase
    high, low = divmod(number + 1, len(digits))
    return f"a{digits[high]}{digits[low]}"
