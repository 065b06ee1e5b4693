"""One org: its parts on one store, and methods for tests without HTTP. `server` serves it."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from closedwon.emulators.salesforce.api.identity import Identity
from closedwon.emulators.salesforce.api.oauth import App, OAuth
from closedwon.emulators.salesforce.api.queries import Queries
from closedwon.emulators.salesforce.api.rest import RestApi
from closedwon.emulators.salesforce.api.soap import Soap
from closedwon.emulators.salesforce.bus.cometd import Cometd
from closedwon.emulators.salesforce.bus.eventbus import EventBus
from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.config import ORGANIZATION_ID, WHOLE_DEAL, OrgConfig, PermissionSet
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.rights import RightsOfUsers
from closedwon.emulators.salesforce.data.schema import FLOW_VIEW, Schema, SObject
from closedwon.emulators.salesforce.data.store import Row, Store, random_id, record_id
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.faults import OrgFaults
from closedwon.emulators.salesforce.metadata import with_metadata
from closedwon.emulators.salesforce.pubsub.service import PubSub
from closedwon.emulators.salesforce.push.courier import Courier
from closedwon.emulators.salesforce.push.outbound import Outbox
from closedwon.ids import OrgId, RecordId

_INTEGRATION, _SALES = 1, 2
_OFFSET = "clock_offset_ms"
_CONSUMER_KEY_REST = 80


@dataclass(frozen=True)
class Credentials:
    """Ids and secrets of an org's apps. Generated per org, never fixed in code."""

    client_id: str
    client_secret: str
    sales_client_id: str
    sales_client_secret: str
    admin_token: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    """Of the integration user."""
    refresh_token: str = field(default_factory=lambda: f"5Aep861{secrets.token_urlsafe(60)}")
    """Of the integration's app."""

    @classmethod
    def generate(cls) -> Credentials:
        """Generate new credentials."""
        return cls(
            _consumer_key(), secrets.token_hex(32), _consumer_key(), secrets.token_hex(32), secrets.token_hex(24)
        )


class EmulatedOrg:
    """The parts of one org. `path` is its SQLite file; without one, the data is in memory."""

    def __init__(
        self,
        *,
        config: OrgConfig | None = None,
        credentials: Credentials | None = None,
        path: Path | None = None,
        org_id: str | None = None,
        public_key: str | None = None,
    ) -> None:
        """Open or create the org. Raises `ValueError` for a wrong configuration, and for the file of another org."""
        given = config or OrgConfig()
        self.config = with_metadata(given, given.metadata) if given.metadata is not None else given
        self.credentials = credentials or Credentials.generate()
        self.faults = OrgFaults(on_down=self._cut_polls)
        self.schema = Schema(self.config)
        self.store = Store(self.schema, path)
        try:
            self._assemble(org_id)
            self._add_users(public_key)
            self._check_config()
        except ValueError:
            self.store.close()
            raise

    def _assemble(self, org_id: str | None) -> None:
        self.org_id = _org_id(self.store, org_id)
        self.clock = Clock(int(self.store.meta(_OFFSET) or 0), lambda ms: self.store.set_meta(_OFFSET, str(ms)))
        self.bus = EventBus(self.store, self.clock, retention_s=self.config.retention.total_seconds())
        self.outbox = Outbox(self.schema, self.store, self.clock, self.config)
        self.courier = Courier(self.outbox, self.faults, self.config, self.org_id, self._session_id)
        self.records = Records(self.schema, self.store, self.clock, self.bus, self.outbox, self.faults, self.config)
        self.oauth = OAuth(
            self.store,
            self.clock,
            self.org_id,
            idle_s=self.config.token_idle.total_seconds(),
            allows_passwords=self.config.password_flow,
        )
        self.identity = Identity(self.oauth, self.store, self.org_id)
        self.soap = Soap(self.oauth, self.org_id, allows_login=self.config.soap_login)
        self.cometd = Cometd(
            schema=self.schema,
            bus=self.bus,
            oauth=self.oauth,
            clock=self.clock,
            faults=self.faults,
            may_subscribe=self._may_subscribe,
            poll_timeout_s=self.config.poll_timeout.total_seconds(),
            session_idle_s=self.config.session_idle.total_seconds(),
        )
        self.pubsub = PubSub(
            schema=self.schema,
            store=self.store,
            bus=self.bus,
            oauth=self.oauth,
            faults=self.faults,
            config=self.config.pubsub,
            org_id=self.org_id,
        )
        self.rest = RestApi(
            self.records,
            Queries(self.records, self.clock, self.faults, self.config.largest_page),
            self.limits,
            self.identity.url,
        )
        self.api_calls: Counter[str] = Counter()
        self._session = ""

    def _add_users(self, public_key: str | None) -> None:
        domain = f"{self.org_id.short.lower()}.example.com"
        self.username = f"integration@{domain}"
        self.integration_user = record_id("005", _INTEGRATION)
        self.sales_user = record_id("005", _SALES)
        self.outbox.sends_no_messages = self.integration_user
        self.records.rights = RightsOfUsers(
            self.config.rights, self.integration_user, self.sales_user, _granted(self.config)
        )
        users = {
            self.integration_user: ("Closedwon Integration", self.username),
            self.sales_user: ("Sam Sales", f"sales@{domain}"),
        }
        for user_id, (name, username) in users.items():
            if self.store.get("User", user_id) is None:
                row: Row = {"Id": user_id, "Name": name, "Username": username, "Email": username, "IsActive": 1}
                self.records.add_standard_row(self.object("User"), row, user_id)
        if self.store.get("Organization", self.org_id) is None:
            born: Row = {"Id": self.org_id, "Name": "Salesforce Emulator", "OrganizationType": "Developer Edition"}
            born |= {"IsSandbox": 1, "InstanceName": "LOC1"}
            self.records.add_standard_row(self.object("Organization"), born, self.integration_user)
        for number, flow in enumerate(self.config.flows, 1):
            about: Row = {"Id": record_id("2aF", number), "ApiName": flow.name, "IsActive": int(flow.active)}
            self.records.add_standard_row(self.object(FLOW_VIEW), about, self.integration_user)
        ours, theirs = self.credentials.client_id, self.credentials.sales_client_id
        self.oauth.apps = {
            ours: App(
                ours,
                self.credentials.client_secret,
                self.integration_user,
                self.username,
                public_key,
                password=self.credentials.password,
                refresh_token=self.credentials.refresh_token,
            ),
            theirs: App(theirs, self.credentials.sales_client_secret, self.sales_user, f"sales@{domain}"),
        }

    def _may_subscribe(self, event: SObject, user: str) -> bool:
        return self.records.rights.may_read(event, user)

    def _check_config(self) -> None:
        """Raise `ValueError` for a flow or a rule with an unknown name."""
        for flow in self.config.flows:
            event = self.schema.find(flow.publishes)
            unknown = [name for name in flow.assignments if event is None or event.find(name) is None]
            if event is None or not event.is_event or unknown:
                raise ValueError(f"flow on {flow.on}: there is no event {flow.publishes}, or it lacks {unknown}")
            paths = {"Id", flow.field, *flow.assignments.values()} - {"", WHOLE_DEAL, ORGANIZATION_ID}
            self._try(f"flow on {flow.on}", f"SELECT {', '.join(sorted(paths))} FROM {flow.on} LIMIT 0")  # noqa: S608 - SOQL
        for rule in self.config.validation_rules:
            self._try(f"validation rule on {rule.on}", f"SELECT Id FROM {rule.on} WHERE {rule.when} LIMIT 0")  # noqa: S608 - SOQL

    def _try(self, what: str, soql: str) -> None:
        try:
            self.records.query(soql)
        except ApiError as error:
            raise ValueError(f"{what}: {error.message.strip()}") from None

    def set_public_key(self, public_key: str) -> None:
        """Register the key that verifies the integration's assertions."""
        app = self.oauth.apps[self.credentials.client_id]
        self.oauth.apps[app.client_id] = replace(app, public_key=public_key)

    def object(self, name: str) -> SObject:
        """An object or event of the schema. Raises `KeyError` for an unknown name."""
        found = self.schema.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def limits(self) -> dict[str, Any]:
        """The body of `/limits`."""
        delivered = self.cometd.events_sent + self.pubsub.events_sent
        used = {
            "DailyApiRequests": (self.config.daily_api_requests, self.api_calls.total()),
            "HourlyPublishedPlatformEvents": (self.config.hourly_published_events, self.bus.published),
            "DailyDeliveredPlatformEvents": (self.config.daily_delivered_events, delivered),
            "MonthlyPlatformEventsUsageEntitlement": (self.config.monthly_delivered_events, delivered),
        }
        return {name: {"Max": most, "Remaining": max(most - now, 0)} for name, (most, now) in used.items()}

    # Without HTTP, for tests: what a salesperson or an administrator does in the browser. No fault applies here.

    def create(self, object_name: str, **fields: Any) -> RecordId:
        """Create a record. Raises `ApiError`."""
        with self.records.without_faults():
            return self.records.create(self.object(object_name), fields, actor=self.sales_user)

    def update(self, object_name: str, record: str, **fields: Any) -> None:
        """Change fields of a record. Raises `ApiError`.

        For a line item, the sales price is sent along, like in the browser's form, so that the total changes.
        """
        with self.records.without_faults():
            if object_name == "OpportunityLineItem" and "Quantity" in fields and "TotalPrice" not in fields:
                fields = {"UnitPrice": self.get(object_name, record)["UnitPrice"], **fields}
        with self.records.without_faults():
            self.records.update(self.object(object_name), record, fields, actor=self.sales_user)

    def delete(self, object_name: str, record: str) -> None:
        """Delete a record, and insert a tombstone if configured. Raises `ApiError`."""
        with self.records.without_faults():
            self.records.delete(self.object(object_name), record, actor=self.sales_user)

    def undelete(self, object_name: str, record: str) -> None:
        """Restore a record from the recycle bin."""
        with self.records.without_faults():
            self.records.undelete(self.object(object_name), record, actor=self.sales_user)

    def get(self, object_name: str, record: str) -> dict[str, Any]:
        """A record with all its fields. Raises `ApiError` if it does not exist."""
        with self.records.without_faults():
            return self.records.retrieve(self.object(object_name), record)

    def query(self, soql: str) -> list[dict[str, Any]]:
        """The records of a SOQL query. Raises `ApiError`."""
        with self.records.without_faults():
            found = self.records.query(soql)
        assert isinstance(found, list), "use get() or the REST API for COUNT()"
        return found

    def win(self, record: str) -> None:
        """Close an Opportunity as won."""
        self.update("Opportunity", record, StageName="Closed Won")

    def win_next(self, count: int) -> list[RecordId]:
        """Win the `count` oldest open Opportunities and return their ids."""
        found = self.query(f"SELECT Id FROM Opportunity WHERE IsClosed = false ORDER BY Id LIMIT {count}")  # noqa: S608 - SOQL
        ids = [RecordId(one["Id"]) for one in found]
        for one in ids:
            self.win(one)
        return ids

    def publish(self, event: str, **fields: Any) -> str:
        """Publish a platform event and return its EventUuid. Raises `ApiError`."""
        return self.records.publish(self.object(event), fields, actor=self.sales_user)

    def publish_raw(self, channel: str, data: dict[str, Any]) -> int:
        """Publish data of any form, even malformed data. Returns the replay id."""
        with self.store.transaction():
            replay_id = self.bus.publish_raw(channel, data)
        self.bus.wake()
        return replay_id

    # Faults that touch several parts

    def revoke_tokens(self) -> None:
        """Revoke every token. Held polls and streams end at once."""
        self.oauth.expire_all()
        self.cometd.recheck_polls()
        self.pubsub.recheck_tokens()

    def _session_id(self) -> str:
        """A session id of the user who sends outbound messages; the same one while it is valid."""
        if self.oauth.user_of(self._session) is None:
            self._session = self.oauth.issue(self.integration_user)
        return self._session

    def _cut_polls(self) -> None:
        self.cometd.cut_polls()
        self.pubsub.reset_streams()

    def move_bus(self) -> None:
        """Move the org: every replay id becomes invalid, and every session and stream ends."""
        self.bus.move()
        self.cometd.forget_clients()
        self.pubsub.reset_streams()


def _granted(config: OrgConfig) -> tuple[PermissionSet, ...]:
    """The permission sets of the integration user. Raises `ValueError` for an unknown name."""
    known = {one.name: one for one in config.permission_sets}
    unknown = [name for name in config.rights.permission_sets if name not in known]
    if unknown:
        raise ValueError(f"rights.permission_sets: unknown permission set {unknown[0]}; known: {sorted(known)}")
    return tuple(known[name] for name in config.rights.permission_sets)


def _org_id(store: Store, wanted: str | None) -> OrgId:
    """The id of the org in `store`, fixed at its first start."""
    present = store.meta("org_id")
    if present is None:
        chosen = OrgId(wanted) if wanted else OrgId(random_id("00D"))
        store.set_meta("org_id", chosen)
        return chosen
    if wanted and OrgId(wanted) != present:
        raise ValueError(
            f"this data directory belongs to the org {present}, not {OrgId(wanted)}; use another --data-dir"
        )
    return OrgId(present)


def _consumer_key() -> str:
    letters = string.ascii_letters + string.digits
    return "3MVG9" + "".join(secrets.choice(letters) for _ in range(_CONSUMER_KEY_REST))
