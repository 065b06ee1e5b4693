"""The administration of a local org under `/_admin`: faults, the clock, counters, raw events. No Salesforce has this.

Every request carries `Authorization: Bearer <admin_token>` of `connection.json`; bodies and answers are JSON.

    GET  /_admin/state                       org id, clock, counters, armed faults, CometD clients, replay position
    GET  /_admin/opportunities               every Opportunity with its write-back fields, for audits
    GET  /_admin/faults                      the names of all faults with what each does
    POST /_admin/faults/<name> {arguments}   arm a fault, or strike at once
    POST /_admin/clock {"advance_s": 3600}   move the org's clock
    POST /_admin/seed {"opportunities": 100, "seed": 1}   add accounts, products and open Opportunities;
                                             with "varied": true some have discounts and a customer with a tab
    POST /_admin/undelete {"object", "record"}   take a record out of the recycle bin, which REST cannot do
    POST /_admin/events {"channel", "data"}  put anything on the bus
    GET  /_admin/messages                    outbound messages and callouts that wait or have failed
    POST /_admin/messages {"id", "action"}   `retry` or `delete` one, as the links in Setup do
    GET  /_admin/definitions                 what the org sends, on what occasion, and where to
    POST /_admin/definitions {"kind": "message" or "callout", "name", "endpoint", ...}   add or replace one, for good
    POST /_admin/endpoints {"definition", "endpoint"}   send a definition's messages elsewhere, for good
    POST /_admin/callouts/page {"definition", "record"}      call now and tell the answer, as a button on a page does
    POST /_admin/callouts/trigger {"definition", "record"}   queue a call, which is repeated until it is answered well
    POST /_admin/callouts/batch {"definition"}               queue calls about all records that meet the condition
"""

from __future__ import annotations

import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, validate_call

from closedwon.ids import RecordId
from closedwon.localorg.clock import rest_time
from closedwon.localorg.config import Definition
from closedwon.localorg.errors import ApiError
from closedwon.localorg.faults import Faults
from closedwon.localorg.oauth import bearer
from closedwon.localorg.org import Org
from closedwon.localorg.outbound import Outbox
from closedwon.localorg.seed import seed

_log = logging.getLogger(__name__)

_ARMED = (
    Faults.lock_rows,
    Faults.record_error,
    Faults.request_limit,
    Faults.rest_error,
    Faults.lose_answers,
    Faults.lose_events,
    Faults.drop_events,
    Faults.double_events,
    Faults.lose_acks,
    Faults.double_messages,
    Faults.reorder_messages,
    Faults.stall_messages,
    Faults.split_messages,
    Faults.read_lag,
    Faults.down,
    Faults.mute,
    Faults.cometd_unauthorized,
    Faults.cometd_error,
    Faults.broken_json,
    Faults.advice_interval,
    Faults.clear,
)
_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Definition)
_AUDIT = (
    "SELECT Id, Name, StageName, Amount, CurrencyIsoCode, ERP_Order_Number__c, ERP_Order_Status__c, ERP_Order_Link__c, "
    "ERP_Order_Error__c, SystemModstamp, LastModifiedById FROM Opportunity"
)


class Admin:
    """Answers `/_admin`."""

    def __init__(self, org: Org) -> None:
        """Administrate `org`."""
        self._org = org
        armed: dict[str, Callable[..., Any]] = {one.__name__: getattr(org.faults, one.__name__) for one in _ARMED}
        actions: dict[str, Callable[..., Any]] = {
            "cut_polls": org.cometd.cut_polls,
            "unknown_client": org.cometd.forget_clients,
            "kick": org.cometd.kick,
            "expire_tokens": org.oauth.expire_all,
            "revoke_tokens": org.revoke_tokens,
            "move_bus": org.move_bus,
        }
        self._faults = {name.replace("_", "-"): validate_call(one) for name, one in (armed | actions).items()}

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
            ("GET", "opportunities"): lambda: self._org.query(_AUDIT),
            ("GET", "faults"): lambda: {key: inspect.getdoc(one) for key, one in sorted(self._faults.items())},
            ("POST", "clock"): lambda: self._advance(float(body["advance_s"])),
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
            return _error(404, f"there is no {method} /_admin/{name}")
        result = answer()
        return web.json_response(await result if isinstance(result, Awaitable) else result)

    def _definitions(self) -> list[dict[str, Any]]:
        """All of them, without their keys."""
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
            "clock_ahead_s": org.clock.offset.total_seconds(),
            "api_calls": dict(org.api_calls),
            "api_calls_total": org.api_calls.total(),
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
