"""The administration of a Salesforce emulator under `/_admin`: faults, clock, counters, raw events.

Every request has the header `Authorization: Bearer <admin_token>` with the token of `connection.json`; requests and
responses are JSON.

    GET  /_admin/state                       org id, clock, counters, armed faults, CometD clients, replay position
    GET  /_admin/opportunities               every Opportunity with its write-back fields, for audits
    GET  /_admin/faults                      the names and descriptions of all faults
    POST /_admin/faults/<name> {arguments}   arm a fault, or cause it at once
    POST /_admin/clock {"advance_seconds": 3600}             advance the org's clock
    POST /_admin/seed {"opportunities": 100, "seed": 1}   add accounts, products and open Opportunities;
                                             with "varied": true some have discounts, or a customer's name with a tab
    POST /_admin/undelete {"object", "record"}   restore a record from the recycle bin, which REST cannot do
    POST /_admin/events {"channel", "data"}  publish an event of any form
    GET  /_admin/messages                    outbound messages and callouts that wait or have failed
    POST /_admin/messages {"id", "action"}   `retry` or `delete` one, like the links in Setup
    GET  /_admin/definitions                 the definitions: what the org sends, when, and to which endpoint
    POST /_admin/definitions {"kind": "message" or "callout", "name", "endpoint", ...}   store or replace a definition
    POST /_admin/endpoints {"definition", "endpoint"}   change and store the endpoint of a definition
    POST /_admin/callouts/page {"definition", "record"}      call now and return the answer, like a button on a page
    POST /_admin/callouts/trigger {"definition", "record"}   queue a call, which is repeated until it succeeds
    POST /_admin/callouts/batch {"definition"}               queue calls for all records that match the condition
"""

from __future__ import annotations

import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, validate_call

from closedwon.emulators.salesforce.api.oauth import bearer
from closedwon.emulators.salesforce.clock import rest_time
from closedwon.emulators.salesforce.config import Definition
from closedwon.emulators.salesforce.data.schema import without_unseen
from closedwon.emulators.salesforce.data.seed import seed
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.faults import OrgFaults
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.push.outbound import Outbox
from closedwon.ids import RecordId

_log = logging.getLogger(__name__)

_ARMED = (
    OrgFaults.lock_rows,
    OrgFaults.record_error,
    OrgFaults.fail_automation,
    OrgFaults.request_limit,
    OrgFaults.rest_error,
    OrgFaults.lose_answers,
    OrgFaults.lose_events,
    OrgFaults.drop_events,
    OrgFaults.double_events,
    OrgFaults.lose_acks,
    OrgFaults.double_messages,
    OrgFaults.reorder_messages,
    OrgFaults.stall_messages,
    OrgFaults.split_messages,
    OrgFaults.read_lag,
    OrgFaults.slow_writes,
    OrgFaults.down,
    OrgFaults.read_only,
    OrgFaults.small_pages,
    OrgFaults.lose_locators,
    OrgFaults.forget_positions,
    OrgFaults.unauthorized,
    OrgFaults.edge_page,
    OrgFaults.mute,
    OrgFaults.pubsub_unavailable,
    OrgFaults.schema_not_found,
    OrgFaults.stop_keepalives,
    OrgFaults.cometd_unauthorized,
    OrgFaults.cometd_error,
    OrgFaults.broken_json,
    OrgFaults.advice_interval,
    OrgFaults.clear,
)
_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
_AUDIT = (
    "SELECT Id, Name, StageName, IsWon, Amount, CurrencyIsoCode, ERP_Order_Number__c, ERP_Order_Status__c, "
    "ERP_Order_Link__c, ERP_Order_Error__c, SystemModstamp, LastModifiedById FROM Opportunity"
)


class Admin:
    """Handles the requests below `/_admin`."""

    def __init__(self, org: EmulatedOrg) -> None:
        """Prepare the faults of `org`."""
        self._org = org
        armed: dict[str, Callable[..., Any]] = {one.__name__: getattr(org.faults, one.__name__) for one in _ARMED}
        actions: dict[str, Callable[..., Any]] = {
            "cut_polls": org.cometd.cut_polls,
            "reset_streams": org.pubsub.reset_streams,
            "end_streams": org.pubsub.end_streams,
            "change_schema": org.pubsub.change_schema,
            "unknown_client": org.cometd.forget_clients,
            "kick": org.cometd.kick,
            "expire_tokens": org.oauth.expire_all,
            "revoke_tokens": org.revoke_tokens,
            "move_bus": org.move_bus,
        }
        self._faults = {name.replace("_", "-"): validate_call(one) for name, one in (armed | actions).items()}

    @property
    def faults(self) -> Mapping[str, Callable[..., Any]]:
        """What arms each fault, by name. They raise `ValueError` for invalid arguments."""
        return self._faults

    async def handle(self, request: web.Request, path: str) -> web.Response:
        """Answer one request."""
        token = bearer(request.headers.get("Authorization")) or ""
        if not hmac.compare_digest(token.encode(), self._org.credentials.admin_token.encode()):
            return _error(401, "send the admin_token of connection.json as a bearer token")
        try:
            body = await request.json() if request.can_read_body else {}
            if not isinstance(body, dict):
                return _error(400, "the body must be a JSON object")
            return await self._answer(request.method, path.removeprefix("/_admin").strip("/"), body)
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            return _error(400, f"bad arguments: {error}")

    async def _answer(self, method: str, name: str, body: dict[str, Any]) -> web.Response:
        head, _, fault = name.partition("/")
        if head == "faults" and method == "POST" and fault in self._faults:
            _log.info("fault %s %s", fault, body or "")
            return web.json_response({"fault": fault, "result": self._faults[fault](**body)})
        answers: dict[tuple[str, str], Callable[[], Any]] = {
            ("GET", "state"): self.state,
            ("GET", "opportunities"): lambda: self._org.query(without_unseen(self._org.object("Opportunity"), _AUDIT)),
            ("GET", "faults"): lambda: {key: inspect.getdoc(one) for key, one in sorted(self._faults.items())},
            ("POST", "clock"): lambda: self._advance(float(body["advance_seconds"])),
            ("POST", "seed"): lambda: {"ids": self._seed(body)},
            ("POST", "undelete"): lambda: self._undelete(str(body["object"]), str(body["record"])),
            ("POST", "events"): lambda: self._org.publish_raw(str(body["channel"]), dict(body["data"])),
        }
        answers |= {
            ("GET", "messages"): lambda: [one._asdict() for one in self._org.outbox.queued()],
            ("POST", "messages"): lambda: _message_actions(self._org.outbox)[body["action"]](str(body["id"])),
            ("GET", "definitions"): self._definitions,
            ("POST", "definitions"): lambda: self._org.outbox.define(_ADAPTER.validate_python(body)),
            ("POST", "endpoints"): lambda: self._org.outbox.set_endpoint(body["definition"], body["endpoint"]),
            ("POST", "callouts/page"): lambda: self._call(body["definition"], RecordId(body["record"])),
            ("POST", "callouts/trigger"): lambda: self._queue(body["definition"], RecordId(body["record"])),
            ("POST", "callouts/batch"): lambda: {"queued": self._org.outbox.add_all(body["definition"])},
        }
        answer = answers.get((method, name))
        if answer is None:
            return _error(404, f"{method} /_admin/{name} does not exist")
        result = answer()
        return web.json_response(await result if isinstance(result, Awaitable) else result)

    def _definitions(self) -> list[dict[str, Any]]:
        """All definitions, without their keys."""
        return [one.model_dump(mode="json", exclude={"key"}) for one in self._org.outbox.definitions()]

    async def _call(self, definition: str, record: RecordId) -> dict[str, Any]:
        return (await self._org.courier.call(definition, record))._asdict()

    def _queue(self, definition: str, record: RecordId) -> dict[str, str]:
        return {"id": self._org.outbox.add(self._org.outbox.callout(definition).name, record)}

    def _advance(self, seconds: float) -> dict[str, str]:
        self._org.clock.advance(timedelta(seconds=seconds))
        return {"now": rest_time(self._org.clock.now_ms())}

    def _seed(self, body: dict[str, Any]) -> list[RecordId]:
        opportunities, number = int(body["opportunities"]), int(body.get("seed", 1))
        return seed(self._org, opportunities=opportunities, seed=number, varied=bool(body.get("varied")))

    def _undelete(self, object_name: str, record: str) -> dict[str, str]:
        try:
            self._org.undelete(object_name, record)
        except ApiError as error:
            raise ValueError(str(error)) from None
        return {"id": RecordId(record)}

    def state(self) -> dict[str, Any]:
        """The body of `/_admin/state`."""
        org = self._org
        return {
            "org_id": org.org_id,
            "now": rest_time(org.clock.now_ms()),
            "clock_ahead_seconds": org.clock.offset.total_seconds(),
            "api_calls": dict(org.api_calls),
            "api_calls_total": org.api_calls.total(),
            "lock_conflicts": org.records.locks.conflicts,
            "events_published": org.bus.published,
            "events_sent": org.cometd.events_sent,
            "last_replay_id": org.bus.last_replay_id(),
            "valid_tokens": org.oauth.valid_tokens,
            "cometd_clients": len(org.cometd.clients),
            "held_polls": org.cometd.held_polls,
            "outbound_waiting": len(org.outbox.queued()),
            "outbound_sent": org.outbox.sent,
            "faults": org.faults.armed(),
        }


def _message_actions(outbox: Outbox) -> dict[str, Callable[[str], None]]:
    return {"retry": outbox.retry, "delete": outbox.delete}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
