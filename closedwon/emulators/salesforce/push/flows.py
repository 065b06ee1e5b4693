"""Record-triggered flows: which flows and pushes a write triggers, and the payloads of their events.

A flow is triggered when the record *begins* to match its condition: by its creation or by a change of that one field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from closedwon.emulators.salesforce.config import ORGANIZATION_ID, WHOLE_DEAL, Flow, PushDefinition, Trigger
from closedwon.emulators.salesforce.data.schema import LONGEST_PAYLOAD, SObject, without_unseen
from closedwon.emulators.salesforce.data.soql import Record, Soql
from closedwon.emulators.salesforce.data.store import Row
from closedwon.emulators.salesforce.push.formulas import parse_formula

_DEAL = (
    "SELECT Id, Name, StageName, IsWon, IsClosed, Amount, CurrencyIsoCode, CloseDate, Description, PO_Number__c, "
    "CreatedDate, SystemModstamp, HasOpportunityLineItem, "
    "AccountId, Account.Id, Account.Name, Account.AccountNumber, Account.BillingStreet, Account.BillingCity, "
    "Account.BillingPostalCode, Account.BillingState, Account.BillingCountry, Account.BillingCountryCode, "
    "(SELECT Id, Product2Id, ProductCode, Product2.ProductCode, Product2.Name, Quantity, UnitPrice, ListPrice, "
    "Discount, TotalPrice, ServiceDate, Description, SystemModstamp FROM OpportunityLineItems ORDER BY SortOrder) "
    "FROM Opportunity WHERE Id = '{record}'"
)


class Flows:
    """The active flows of an org."""

    def __init__(self, flows: tuple[Flow, ...]) -> None:
        """Run `flows`."""
        self._flows = flows

    def triggered(self, owner: SObject, before: Row | None, after: Row) -> Iterator[Flow]:
        """The flows that a write from `before` to `after` triggers."""
        for flow in self._flows:
            if flow.active and flow.on == owner.name and _is_triggered(flow, before, after):
                yield flow

    def payload(self, flow: Flow, record: str, soql: Soql) -> dict[str, Any]:
        """The fields of the event that `flow` publishes for a record."""
        paths = {path for path in flow.assignments.values() if not path.startswith("$")}
        query = f"SELECT {', '.join(sorted(paths | {'Id'}))} FROM {flow.on} WHERE Id = '{record}'"  # noqa: S608 - SOQL, of our own configuration
        found = soql.records(query)[0]
        special: dict[str, Callable[[], str | None]] = {
            WHOLE_DEAL: lambda: _deal(soql, record),
            ORGANIZATION_ID: lambda: str(soql.records("SELECT Id FROM Organization")[0]["Id"]),
        }
        return {
            name: special[path]() if path in special else _at(found, path) for name, path in flow.assignments.items()
        }


def fires(rule: PushDefinition, before: Row | None, after: Row) -> bool:
    """Whether a write from `before` to `after` triggers the push `rule`. A deletion never does."""
    if rule.trigger is Trigger.BECOME:
        return _is_triggered(rule, before, after)
    is_evaluated = rule.trigger is Trigger.EVERY or before is None
    return is_evaluated and _matches(rule, after) and not after["IsDeleted"]


def _is_triggered(rule: Flow | PushDefinition, before: Row | None, after: Row) -> bool:
    if rule.formula:
        return not after["IsDeleted"] and bool(parse_formula(rule.formula)(before, after))
    return _has_become(rule, before, after) or _has_changed(rule, before, after)


def _has_become(rule: Flow | PushDefinition, before: Row | None, after: Row) -> bool:
    """Whether the record matches the rule after a write and did not before."""
    already = before is not None and _matches(rule, before)
    return _matches(rule, after) and not already and not after["IsDeleted"]


def _has_changed(rule: Flow | PushDefinition, before: Row | None, after: Row) -> bool:
    """Whether a field in `or_changes` changes in a record that matches the rule before or after the write."""
    if before is None or after["IsDeleted"] or not (_matches(rule, before) or _matches(rule, after)):
        return False
    return any(before.get(name) != after.get(name) for name in rule.or_changes)


def _matches(rule: Flow | PushDefinition, row: Row) -> bool:
    return not rule.field or row.get(rule.field) == rule.becomes


def _at(record: Record, path: str) -> Any:
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _deal(soql: Soql, record: str) -> str | None:
    """The deal as JSON text; None if it is too long for its field, like in our Apex."""
    query = without_unseen(soql.object("Opportunity"), _DEAL.format(record=record))
    found = soql.records(query)[0]
    text = json.dumps(_without_attributes(found), ensure_ascii=False)
    return text if len(text) <= LONGEST_PAYLOAD else None


def _without_attributes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_attributes(inner) for key, inner in value.items() if key != "attributes"}
    return [_without_attributes(inner) for inner in value] if isinstance(value, list) else value
