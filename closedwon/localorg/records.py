"""How records are read and written: rights, required fields, derived fields, validation rules, stamps, flows, events.

One API call is one transaction (`transaction`); a record of a collection is a savepoint in it. Events of kind Publish
After Commit become durable in the same commit as the record; Publish Immediately survives a rollback.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from closedwon.ids import InvalidIdError, RecordId
from closedwon.localorg.clock import Clock
from closedwon.localorg.config import OrgConfig
from closedwon.localorg.errors import ApiError, not_found
from closedwon.localorg.eventbus import EventBus
from closedwon.localorg.faults import Fault, Faults
from closedwon.localorg.flows import Flows
from closedwon.localorg.outbound import Outbox
from closedwon.localorg.schema import CLOSED_STAGES, TOMBSTONE, WON_STAGES, Schema, SField, SObject
from closedwon.localorg.soql import Record, Soql
from closedwon.localorg.store import Row, Store, record_id
from closedwon.localorg.values import Stored, to_json, to_stored

API = "/services/data/v67.0"
_DEFAULTS: dict[str, dict[str, Stored]] = {
    "Opportunity": {"CurrencyIsoCode": "EUR"},
    "Product2": {"IsActive": 0},
}


class _Before(NamedTuple):
    """A row as it was until `until_ms`; `row` is None for one that did not exist yet."""

    until_ms: int
    object_name: str
    record: RecordId
    row: Row | None


class _Publication(NamedTuple):
    event: str
    event_uuid: str
    payload: dict[str, Any]
    actor: str


class Records:
    """The records of an org."""

    def __init__(
        self,
        schema: Schema,
        store: Store,
        clock: Clock,
        bus: EventBus,
        outbox: Outbox,
        faults: Faults,
        config: OrgConfig,
    ) -> None:
        """Write to `store`; what the automation of `config` says goes on `bus` and into `outbox`."""
        self.schema = schema
        self._store = store
        self._clock = clock
        self._bus = bus
        self._outbox = outbox
        self._faults = faults
        self._config = config
        self._soql = Soql(schema, store)
        self._flows = Flows(config.flows)
        self._before: deque[_Before] = deque()
        self._after_commit: list[_Publication] = []
        self._at_once: list[_Publication] = []
        self._is_disturbed = True
        self.commits = 0
        """Counts transactions that changed something."""

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One API transaction, or a savepoint when inside one."""
        if self._store.db.in_transaction:
            held = len(self._after_commit)
            try:
                with self._store.transaction():
                    yield
            except BaseException:
                del self._after_commit[held:]
                raise
            return
        changes = self._store.db.total_changes
        try:
            with self._store.transaction():
                yield
                self._publish(self._at_once + self._after_commit)
            self.commits += self._store.db.total_changes > changes
        except BaseException:
            if self._at_once:  # rolled back, but these were out before
                with self._store.transaction():
                    self._publish(self._at_once)
                self.commits += 1
            raise
        finally:
            self._at_once.clear()
            self._after_commit.clear()
            self._bus.wake()

    def _publish(self, publications: list[_Publication]) -> None:
        for one in publications:
            if self._faults.strikes(Fault.DROPPED_EVENT):
                continue
            copies = 2 if self._faults.strikes(Fault.DOUBLED_EVENT) else 1
            self._bus.publish(one.event, one.payload, actor=one.actor, event_uuid=one.event_uuid, copies=copies)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Within, no fault strikes: for what tests and audits do without HTTP."""
        self._is_disturbed = False
        try:
            yield
        finally:
            self._is_disturbed = True

    # Reading

    @contextmanager
    def as_seen(self) -> Iterator[None]:
        """Within, the tables are as a reader sees them: with the read-lag fault, as they were some seconds ago."""
        horizon = self._clock.now_ms() - round(self._faults.read_lag_s * 1000)
        while self._before and self._before[0].until_ms <= horizon:
            self._before.popleft()
        if not self._before or not self._is_disturbed:
            yield
            return
        self._store.db.execute("SAVEPOINT lagging_read")
        try:
            for _, object_name, record, row in reversed(self._before):
                if row is None:
                    self._store.erase(object_name, record)
                else:
                    self._store.put(object_name, row)
            yield
        finally:
            self._store.db.execute("ROLLBACK TO lagging_read")
            self._store.db.execute("RELEASE lagging_read")

    def query(self, text: str, *, url: str = f"{API}/sobjects", include_deleted: bool = False) -> list[Record] | int:
        """Answer a query: records, or the number for `COUNT()`."""
        with self.as_seen():
            count = self._soql.count(text)
            return self._soql.records(text, url=url, include_deleted=include_deleted) if count is None else count

    def selected_fields(self, text: str) -> list[SField]:
        """The fields a query selects."""
        return self._soql.columns(text)

    def modified_ms(self, owner: SObject, record: str) -> int:
        """LastModifiedDate of a record, never lagging. Raises NOT_FOUND and ENTITY_IS_DELETED."""
        return int(self._existing(owner, record)["LastModifiedDate"] or 0)

    def retrieve(self, owner: SObject, record: str, fields: list[str] | None = None, *, base: str = API) -> Record:
        """One record by id in either length. Raises NOT_FOUND, also for a deleted one, and INVALID_FIELD."""
        key = _key(record)
        with self.as_seen():
            row = self._store.get(owner.name, key)
        if row is None or row["IsDeleted"]:
            raise not_found()
        wanted = [_column(owner, name) for name in fields] if fields else list(owner.fields)
        attributes = {"type": owner.name, "url": f"{base}/sobjects/{owner.name}/{key}"}
        return {"attributes": attributes, **{one.name: to_json(one, row[one.name]) for one in wanted}}

    # Writing

    def create(self, owner: SObject, body: Mapping[str, Any], *, actor: str) -> RecordId:
        """Insert a record and return its id."""
        with self.transaction():
            self._disturb()
            values = self._checked(owner, body)
            missing = [one.name for one in owner.fields if one.required and values.get(one.name) is None]
            if missing:
                raise _missing(missing)
            return self._insert(owner, values, actor)

    def create_result(self, owner: SObject, body: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
        """Create a record or publish an event, and the result's body.

        A published event answers success with OPERATION_ENQUEUED among the errors, and an id that means nothing.
        """
        if not owner.is_event:
            return {"id": self.create(owner, body, actor=actor), "success": True, "errors": []}
        event_uuid = self.publish(owner, body, actor=actor)
        enqueued = {"statusCode": "OPERATION_ENQUEUED", "message": event_uuid, "fields": []}
        return {"id": record_id(owner.prefix, 1), "success": True, "errors": [enqueued]}

    def update(self, owner: SObject, record: str, body: Mapping[str, Any], *, actor: str) -> RecordId:
        """Change fields of a record. Raises NOT_FOUND, ENTITY_IS_DELETED and the refusals of values."""
        with self.transaction():
            before = self._existing(owner, record)
            self._disturb()
            values = self._checked(owner, body)
            cleared = [
                one.name for one in owner.fields if one.required and one.name in values and values[one.name] is None
            ]
            if cleared:
                raise _missing(cleared)
            self._write(owner, before, {**before, **values}, actor)
            return RecordId(before["Id"])

    def delete(self, owner: SObject, record: str, *, actor: str) -> RecordId:
        """Mark a record deleted, with its line items if it is an Opportunity. Its delete trigger leaves a tombstone."""
        with self.transaction():
            before = self._existing(owner, record)
            self._disturb()
            for child, lookup in owner.children.values():
                owned = self.schema.find(child)
                if owned is not None and (field := owned.find(lookup)) is not None and field.required:
                    for row in self._rows_of(owned, lookup, str(before["Id"])):
                        self._write(owned, row, {**row, "IsDeleted": 1}, actor)
            self._write(owner, before, {**before, "IsDeleted": 1}, actor)
            if owner.name in self._config.tombstones_of:
                tombstone = self.schema.find(TOMBSTONE)
                assert tombstone is not None, "every org has it"
                self._insert(tombstone, {"Record_Id__c": before["Id"], "Object__c": owner.name}, actor)
            return RecordId(before["Id"])

    def undelete(self, owner: SObject, record: str, *, actor: str) -> None:
        """Take a record and its parts out of the recycle bin. No flow hears of it, as in a real org."""
        with self.transaction():
            for child, lookup in owner.children.values():
                owned = self.schema.find(child)
                for row in self._rows_of(owned, lookup, record, deleted=True) if owned else ():
                    self._put(child, row, {**row, "IsDeleted": 0})
            before = self._store.get(owner.name, _key(record))
            assert before is not None, "it lies in the recycle bin"
            self._write(owner, before, {**before, "IsDeleted": 0}, actor)

    def publish(self, event: SObject, body: Mapping[str, Any], *, actor: str) -> str:
        """Publish a platform event at the end of the transaction, or at once, as the event's publish behaviour says.

        Returns the EventUuid.
        """
        with self.transaction():
            payload: dict[str, Any] = {one.name: None for one in event.fields}
            for name, value in body.items():
                if name != "attributes":
                    one = _column(event, name)
                    payload[one.name] = "" if value == "" else to_json(one, to_stored(one, value))
            target = self._at_once if event.name in self._config.publish_immediately else self._after_commit
            event_uuid = str(uuid.uuid4())
            target.append(_Publication(event.name, event_uuid, payload, actor))
            return event_uuid

    def add_standard_row(self, owner: SObject, row: Row, actor: str) -> None:
        """Put a row that every org is born with (its users, the organization itself)."""
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

    def _disturb(self) -> None:
        if self._is_disturbed:
            self._faults.refuse_record()

    def _exists(self, object_name: str, record: str) -> bool:
        row = self._store.get(object_name, record)
        return row is not None and not row["IsDeleted"]

    def _existing(self, owner: SObject, record: str) -> Row:
        row = self._store.get(owner.name, _key(record))
        if row is None:
            raise not_found()
        if row["IsDeleted"]:
            raise ApiError("ENTITY_IS_DELETED", "entity is deleted", fields=())
        return row

    def _checked(self, owner: SObject, body: Mapping[str, Any]) -> Row:
        """The body's fields as stored values, or the refusal of the first bad one."""
        values: Row = {}
        for name, value in body.items():
            if name == "attributes":
                continue
            one = _column(owner, name)
            if not one.writable:
                raise ApiError(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {one.name}. Please check the security settings of this field "
                    "and verify that it is read/write for your profile or permission set.",
                    fields=(one.name,),
                )
            values[one.name] = to_stored(one, value)
            target = values[one.name]
            if one.refers_to and target is not None and not self._exists(one.refers_to, str(target)):
                raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=(one.name,))
        return values

    def _write(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Derive, stamp, store, check the rules, roll up, run the flows."""
        self._derive(owner, before, after)
        now = self._clock.now_ms()
        after |= {"LastModifiedDate": now, "LastModifiedById": actor, "SystemModstamp": now}
        if before is None:
            after["CreatedDate"] = now
        self._put(owner.name, before, after)
        self._check_rules(owner, RecordId(after["Id"]))
        if owner.name == "OpportunityLineItem":
            self._roll_up(str(after["OpportunityId"]), actor)
        self._speak(owner, before, after, actor)

    def _speak(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Run the flows and rules that a write triggers."""
        for flow in self._flows.triggered(owner, before, after):
            event = self.schema.find(flow.publishes)
            assert event is not None, "checked when the org started"
            self.publish(event, self._flows.payload(flow, str(after["Id"]), self._soql), actor=actor)
        self._outbox.fire(owner, before, after, actor)

    def _derive(self, owner: SObject, before: Row | None, after: Row) -> None:
        if owner.name == "Opportunity":
            after["IsWon"] = int(after["StageName"] in WON_STAGES)
            after["IsClosed"] = int(after["StageName"] in CLOSED_STAGES)
            total = self._lines_total(str(after["Id"])) if before else None
            if total is not None:  # with line items the amount is theirs; a written one is ignored
                after["Amount"] = total
        elif owner.name == "OpportunityLineItem":
            product = self._store.get("Product2", str(after["Product2Id"]))
            after["ProductCode"] = product["ProductCode"] if product else None
            after["TotalPrice"] = round(float(after["Quantity"] or 0) * float(after["UnitPrice"] or 0), 2)

    def _lines_total(self, opportunity: str) -> float | None:
        rows = self._store.select(
            'SELECT sum(TotalPrice) AS total FROM "OpportunityLineItem" WHERE OpportunityId = ? AND IsDeleted = 0',
            (opportunity,),
        )
        total = rows[0]["total"]
        return None if total is None else round(float(total), 2)

    def _roll_up(self, opportunity: str, actor: str) -> None:
        """Bring the Amount up to date, which runs the Opportunity's own automation.

        A system change: it moves SystemModstamp, not LastModifiedDate.
        """
        before = self._store.get("Opportunity", opportunity)
        total = self._lines_total(opportunity)
        if before is not None and total is not None and before["Amount"] != total:
            after = {**before, "Amount": total, "SystemModstamp": self._clock.now_ms()}
            self._put("Opportunity", before, after)
            owner = self.schema.find("Opportunity")
            assert owner is not None
            self._speak(owner, before, after, actor)

    def _put(self, object_name: str, before: Row | None, after: Row) -> None:
        if self._faults.read_lag_s > 0:
            self._before.append(_Before(self._clock.now_ms(), object_name, RecordId(after["Id"]), before))
        self._store.put(object_name, after)

    def _check_rules(self, owner: SObject, record: RecordId) -> None:
        for rule in self._config.validation_rules:
            if rule.on == owner.name and self._soql.matches(owner.name, rule.when, record):
                fields = (rule.field,) if rule.field else ()
                raise ApiError("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, fields=fields)

    def _rows_of(self, owner: SObject, lookup: str, parent: str, *, deleted: bool = False) -> list[Row]:
        sql = f'SELECT * FROM "{owner.name}" WHERE "{lookup}" = ? AND IsDeleted = ?'  # noqa: S608 - names of the schema
        return [dict(row) for row in self._store.select(sql, (parent, int(deleted)))]


def _key(record: str) -> RecordId:
    try:
        return RecordId(record)
    except InvalidIdError:
        raise ApiError("MALFORMED_ID", f"malformed id {record[:40]}", fields=("Id",)) from None


def _column(owner: SObject, name: str) -> SField:
    found = owner.find(name)
    if found is None:
        raise ApiError("INVALID_FIELD", f"No such column '{name[:80]}' on sobject of type {owner.name}")
    return found


def _missing(names: list[str]) -> ApiError:
    listed = ", ".join(names)
    return ApiError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{listed}]", fields=tuple(names))
