"""Reads and writes records: permissions, required and derived fields, validation rules, stamps, flows, events.

One API call is one transaction (`transaction`); a record of a collection is a savepoint in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from closedwon.emulators.salesforce.bus.eventbus import EventBus
from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.data.bodies import checked, column, key_of, missing_fields, no_column
from closedwon.emulators.salesforce.data.history import History
from closedwon.emulators.salesforce.data.lines import Lines
from closedwon.emulators.salesforce.data.locks import RowLocks
from closedwon.emulators.salesforce.data.rights import RightsOfUsers
from closedwon.emulators.salesforce.data.schema import CLOSED_STAGES, TOMBSTONE, WON_STAGES, Schema, SObject
from closedwon.emulators.salesforce.data.soql import EVERYTHING, Column, Record, Soql
from closedwon.emulators.salesforce.data.soql_sql import Reader
from closedwon.emulators.salesforce.data.store import Row, Store, record_id
from closedwon.emulators.salesforce.data.transactions import Publication, Transactions
from closedwon.emulators.salesforce.data.values import Stored, to_json, to_stored
from closedwon.emulators.salesforce.errors import ApiError, not_found
from closedwon.emulators.salesforce.faults import OrgFaults
from closedwon.emulators.salesforce.push.flows import Flows
from closedwon.emulators.salesforce.push.outbound import Outbox
from closedwon.ids import RecordId

API = "/services/data/v67.0"
_OPPORTUNITY, _LINE = "Opportunity", "OpportunityLineItem"
_DEFAULTS: dict[str, dict[str, Stored]] = {
    "Opportunity": {"CurrencyIsoCode": "EUR"},
    "Product2": {"IsActive": 0},
}


class Records:
    """The records of an org."""

    def __init__(
        self,
        schema: Schema,
        store: Store,
        clock: Clock,
        bus: EventBus,
        outbox: Outbox,
        faults: OrgFaults,
        config: OrgConfig,
    ) -> None:
        """`config` defines the automation, which publishes on `bus` and adds to `outbox`."""
        self.schema = schema
        self._store = store
        self._clock = clock
        self._outbox = outbox
        self._faults = faults
        self._config = config
        self._soql = Soql(schema, store, clock)
        self._flows = Flows(config.flows)
        self._lines = Lines(store)
        self._history = History(store, clock, faults)
        self._transactions = Transactions(store, bus, faults)
        self._has_faults = True
        self.rights = RightsOfUsers()
        """Set when the org has its users."""
        self.locks = RowLocks()

    # Transactions

    def transaction(self) -> AbstractContextManager[None]:
        """One API transaction, or a savepoint when inside one."""
        return self._transactions.transaction()

    @property
    def commits(self) -> int:
        """How many transactions have changed something."""
        return self._transactions.commits

    @contextmanager
    def without_faults(self) -> Iterator[None]:
        """No fault applies in this block: for calls of tests and audits without HTTP."""
        self._has_faults = False
        try:
            yield
        finally:
            self._has_faults = True

    # Reading

    def as_seen(self) -> AbstractContextManager[None]:
        """In this block the tables are as a reader sees them: with the read-lag fault, in an earlier state."""
        return self._history.as_seen() if self._has_faults else nullcontext()

    def query(
        self,
        text: str,
        *,
        url: str = f"{API}/sobjects",
        include_deleted: bool = False,
        reader: Reader = EVERYTHING,
    ) -> list[Record] | int:
        """Run a query, as `reader` sees the org. Return records, or the number for `COUNT()`."""
        with self.as_seen():
            return self._soql.run(text, url=url, include_deleted=include_deleted, reader=reader)

    def selected_columns(self, text: str, reader: Reader = EVERYTHING) -> list[Column]:
        """The fields that a query of records selects; none for aggregates."""
        return self._soql.columns(text, reader=reader)

    def modified_ms(self, owner: SObject, record: str) -> int:
        """LastModifiedDate of a record, regardless of the read-lag fault. Raises NOT_FOUND and ENTITY_IS_DELETED."""
        return int(self._existing(owner, record)["LastModifiedDate"] or 0)

    def retrieve(
        self,
        owner: SObject,
        record: str,
        fields: list[str] | None = None,
        *,
        base: str = API,
        reader: Reader = EVERYTHING,
    ) -> Record:
        """One record by id in either length, as `reader` sees it.

        Raises NOT_FOUND, even for a deleted record, and INVALID_FIELD.
        """
        key = key_of(record)
        with self.as_seen():
            row = self._store.get(owner.name, key)
        if row is None or row["IsDeleted"] or not reader.sees_object(owner):
            raise not_found()
        wanted = [column(owner, name) for name in fields] if fields else list(owner.fields)
        unseen = [one for one in wanted if not reader.sees_field(owner, one.name)]
        if fields and unseen:
            raise no_column(owner, unseen[0].name)
        wanted = [one for one in wanted if one not in unseen]
        attributes = {"type": owner.name, "url": f"{base}/sobjects/{owner.name}/{key}"}
        return {"attributes": attributes, **{one.name: to_json(one, row[one.name]) for one in wanted}}

    def with_external_id(self, owner: SObject, name: str, value: str) -> list[RecordId]:
        """The records with a value in an external id field, or with an id. Raises NOT_FOUND for another field."""
        found = owner.find(name)
        if found is None or not (found.external or found.name == "Id"):
            raise ApiError("NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name[:80]}")
        wanted = to_stored(found, value)
        sql = f'SELECT Id FROM "{owner.name}" WHERE "{found.name}" = ? COLLATE NOCASE AND IsDeleted = 0 ORDER BY Id'  # noqa: S608 - names of the schema
        return [RecordId(row["Id"]) for row in self._store.select(sql, (wanted,))]

    # Writing

    def create(self, owner: SObject, body: Mapping[str, Any], *, actor: str) -> RecordId:
        """Insert a record and return its id."""
        self.rights.require_create(owner, actor)
        with self.transaction():
            self._apply_fault()
            values = checked(owner, body, self._exists)
            missing = [one.name for one in owner.fields if one.required and values.get(one.name) is None]
            if missing:
                raise missing_fields(missing)
            if owner.name == _LINE:
                values = self._lines.new(values)
            return self._insert(owner, values, actor)

    def create_result(self, owner: SObject, body: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
        """Create a record or publish an event, and the result's body.

        The result for an event is a success with OPERATION_ENQUEUED among the errors, and a meaningless id.
        """
        if not owner.is_event:
            return {"id": self.create(owner, body, actor=actor), "success": True, "errors": []}
        self.rights.require_create(owner, actor)
        if self._has_faults:
            self._faults.refuse_in_maintenance()
        event_uuid = self.publish(owner, body, actor=actor)
        enqueued = {"statusCode": "OPERATION_ENQUEUED", "message": event_uuid, "fields": []}
        return {"id": record_id(owner.prefix, 1), "success": True, "errors": [enqueued]}

    def update(
        self, owner: SObject, record: str, body: Mapping[str, Any], *, actor: str, together: int = 1
    ) -> RecordId:
        """Change fields of a record, one of `together` in its transaction.

        Raises NOT_FOUND, ENTITY_IS_DELETED and the errors of invalid values and of automations.
        """
        with self.transaction():
            before = self._existing(owner, record)
            self._apply_fault()
            if self._has_faults:
                self.locks.lock(before)
            values = checked(owner, body, self._exists, is_new=False)
            self.rights.require_edit(owner, values, actor)
            cleared = [
                one.name for one in owner.fields if one.required and one.name in values and values[one.name] is None
            ]
            if cleared:
                raise missing_fields(cleared)
            if owner.name == _OPPORTUNITY:
                _keep_currency(before, values)
            if self._has_faults:
                self._faults.refuse_automation(together)
            is_line = owner.name == _LINE
            after = self._lines.changed(before, values) if is_line else {**before, **values}
            self._write(owner, before, after, actor)
            return RecordId(before["Id"])

    def delete(self, owner: SObject, record: str, *, actor: str) -> RecordId:
        """Move a record and its line items to the recycle bin. The delete trigger inserts a tombstone.

        A line item that is deleted separately is erased.
        """
        with self.transaction():
            before = self._existing(owner, record)
            self.rights.require_delete(owner, actor)
            self._apply_fault()
            if owner.name == _LINE:
                self._erase_line(before, actor)
                return RecordId(before["Id"])
            self._write(owner, before, {**before, "IsDeleted": 1}, actor)
            for owned, lookup in self._parts(owner):
                for row in self._rows_of(owned, lookup, str(before["Id"])):
                    self._put(owned.name, row, {**row, "IsDeleted": 1})
            if owner.name in self._config.tombstones_of:
                tombstone = self.schema.find(TOMBSTONE)
                assert tombstone is not None, "every org has this object"
                self._insert(tombstone, {"Record_Id__c": before["Id"], "Object__c": owner.name}, actor)
            return RecordId(before["Id"])

    def undelete(self, owner: SObject, record: str, *, actor: str) -> RecordId:
        """Restore a record and its parts from the recycle bin. This triggers no flow, as in a real org.

        Raises NOT_FOUND and UNDELETE_FAILED.
        """
        with self.transaction():
            before = self._store.get(owner.name, key_of(record))
            if before is None:
                raise not_found()
            if not before["IsDeleted"]:
                raise ApiError("UNDELETE_FAILED", "Entity is not in the recycle bin")
            for owned, lookup in self._parts(owner):
                for row in self._rows_of(owned, lookup, str(before["Id"]), deleted=True):
                    self._put(owned.name, row, {**row, "IsDeleted": 0})
            self._write(owner, before, {**before, "IsDeleted": 0}, actor)
            return RecordId(before["Id"])

    def _parts(self, owner: SObject) -> Iterator[tuple[SObject, str]]:
        """The objects whose records are parts of a record of `owner`, each with its lookup."""
        for child, lookup in owner.children.values():
            owned = self.schema.find(child)
            field = owned.find(lookup) if owned is not None else None
            if owned is not None and field is not None and field.required:
                yield owned, lookup

    def _erase_line(self, line: Row, actor: str) -> None:
        self._history.note(_LINE, RecordId(line["Id"]), line)
        self._store.erase(_LINE, str(line["Id"]))
        self._save_deal_of(line, actor)

    def publish(self, event: SObject, body: Mapping[str, Any], *, actor: str) -> str:
        """Publish a platform event at the end of the transaction or at once, by the event's publish behavior.

        Returns the EventUuid.
        """
        with self.transaction():
            payload: dict[str, Any] = {one.name: None for one in event.fields}
            for name, value in body.items():
                if name != "attributes":
                    one = column(event, name)
                    payload[one.name] = "" if value == "" else to_json(one, to_stored(one, value))
            event_uuid = str(uuid.uuid4())
            immediately = event.name in self._config.publish_immediately
            self._transactions.publish(Publication(event.name, event_uuid, payload, actor), immediately=immediately)
            return event_uuid

    def add_standard_row(self, owner: SObject, row: Row, actor: str) -> None:
        """Insert a row that every org has from the start (its users, the organization itself)."""
        now = self._clock.now_ms()
        born: Row = {one.name: None for one in owner.fields}
        stamps: Row = {"CreatedDate": now, "LastModifiedDate": now, "SystemModstamp": now, "IsDeleted": 0}
        self._store.put(owner.name, {**born, **stamps, "CreatedById": actor, "LastModifiedById": actor, **row})

    def _insert(self, owner: SObject, values: Row, actor: str) -> RecordId:
        """Write a new row of checked values."""
        row: Row = {one.name: None for one in owner.fields}
        row |= {**_DEFAULTS.get(owner.name, {}), **values}
        row |= {"Id": self._store.new_id(owner.prefix), "IsDeleted": 0, "CreatedById": actor}
        if owner.find("OwnerId") and row["OwnerId"] is None:
            row["OwnerId"] = actor
        self._write(owner, None, row, actor)
        return RecordId(row["Id"])

    def _apply_fault(self) -> None:
        if self._has_faults:
            self._faults.refuse_record()

    def _exists(self, object_name: str, record: str) -> bool:
        row = self._store.get(object_name, record)
        return row is not None and not row["IsDeleted"]

    def _existing(self, owner: SObject, record: str) -> Row:
        row = self._store.get(owner.name, key_of(record))
        if row is None:
            raise not_found()
        if row["IsDeleted"]:
            raise ApiError("ENTITY_IS_DELETED", "entity is deleted", fields=())
        return row

    def _write(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Derive fields, set stamps, store, check validation rules, roll up, run flows."""
        self._derive(owner, after)
        now = self._clock.now_ms()
        after |= {"LastModifiedDate": now, "LastModifiedById": actor, "SystemModstamp": now}
        if before is None:
            after["CreatedDate"] = now
        self._put(owner.name, before, after)
        self._check_rules(owner, RecordId(after["Id"]))
        if owner.name == _LINE:
            self._save_deal_of(after, actor)
        self._run_automation(owner, before, after, actor)

    def _run_automation(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Run the flows and pushes that a write triggers."""
        for flow in self._flows.triggered(owner, before, after):
            event = self.schema.find(flow.publishes)
            assert event is not None, "checked when the org started"
            if flow.user_mode and not self.rights.may_create(event, actor):
                continue
            self.publish(event, self._flows.payload(flow, str(after["Id"]), self._soql), actor=actor)
        self._outbox.fire(owner, before, after, actor)

    def _derive(self, owner: SObject, after: Row) -> None:
        if owner.name == _OPPORTUNITY:
            after["IsWon"] = int(after["StageName"] in WON_STAGES)
            after["IsClosed"] = int(after["StageName"] in CLOSED_STAGES)
            self._lines.roll_up(after)
        elif owner.name == _LINE:
            self._lines.describe(after)

    def _save_deal_of(self, line: Row, actor: str) -> None:
        """Save the Opportunity of a saved line: its amount, stamps, rules, flows and messages.

        Source: "New Opportunity Save Behavior": a save of a child of an Opportunity is a save of the Opportunity.
        """
        deal = self._store.get(_OPPORTUNITY, str(line["OpportunityId"]))
        owner = self.schema.find(_OPPORTUNITY)
        if deal is not None and owner is not None:
            self._write(owner, deal, dict(deal), actor)

    def _put(self, object_name: str, before: Row | None, after: Row) -> None:
        self._history.note(object_name, RecordId(after["Id"]), before)
        self._store.put(object_name, after)

    def _check_rules(self, owner: SObject, record: RecordId) -> None:
        for rule in self._config.validation_rules:
            if rule.on == owner.name and self._soql.matches(owner.name, rule.when, record):
                fields = (rule.field,) if rule.field else ()
                raise ApiError("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, fields=fields)

    def _rows_of(self, owner: SObject, lookup: str, parent: str, *, deleted: bool = False) -> list[Row]:
        sql = f'SELECT * FROM "{owner.name}" WHERE "{lookup}" = ? AND IsDeleted = ?'  # noqa: S608 - names of the schema
        return [dict(row) for row in self._store.select(sql, (parent, int(deleted)))]


def _keep_currency(before: Row, values: Row) -> None:
    """Refuse another currency for an Opportunity with line items (Object Reference, "OpportunityLineItem")."""
    wanted = values.get("CurrencyIsoCode", before["CurrencyIsoCode"])
    if before["HasOpportunityLineItem"] and wanted != before["CurrencyIsoCode"]:
        raise ApiError(
            "FIELD_INTEGRITY_EXCEPTION",
            "field integrity exception: CurrencyIsoCode (cannot be changed while there are line items)",
            fields=("CurrencyIsoCode",),
        )
