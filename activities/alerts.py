"""Telling people that they are needed: one alert for one need, delivered by a workflow of its own.

The order is not held up by the receiver of its alert, nor is an alert lost with the order's end. What is sent holds
ids, stable words and sentences of ours; nothing of a customer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import quote

import aiohttp
from pydantic import AwareDatetime, SecretStr
from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.failures import as_failures, to_its_end
from closedwon import names
from closedwon.errors import AttentionReason, RetryError
from closedwon.ids import OrgId, RecordId
from closedwon.model import Frozen
from closedwon.settings import Alerts, Settings

SIGNATURE: Final = "Closedwon-Signature"


NeedKind = Literal["order", "message", "subscription", "sweep", "check", "audit"]


class Need(Frozen):
    """One need of attention."""

    id: str
    """The same for all attempts to tell of it."""
    kind: NeedKind
    at: AwareDatetime
    reason: AttentionReason
    cure: str
    text: str | None = None
    """What is wrong, where it can be said without a customer's data; else the reason's own sentence is sent."""
    org: OrgId | None = None
    """None only for the check of an ERP."""
    erp: str | None = None
    """For checks of an ERP."""
    record: RecordId | None = None
    route: str | None = None
    channel: str | None = None
    """Of the event bus, or the path of a route's intake: for messages and subscriptions."""
    workflow_id: str
    run_id: str


class NotTakenError(RetryError):
    """The webhook did not take the alert."""


class AlertActivities:
    """Tells the webhook of `[alerts]`."""

    def __init__(self, settings: Settings, client: Client) -> None:
        """Take the client that starts the alerts' workflows."""
        self._settings = settings.alerts
        self._client = client

    @activity.defn
    async def raise_alert(self, need: Need) -> bool:
        """Let a workflow of its own tell of the need; return whether anybody wants to be told. Safe to repeat."""
        if self._settings is None:
            return False
        with suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                names.ALERT_WORKFLOW,
                need,
                id=names.alert_workflow_id(need.id),
                task_queue=names.ORDERS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{need.reason}: tell of {need.workflow_id}",
            )
        return True

    @activity.defn
    async def alert(self, need: Need) -> bool:
        """Post the alert; return whether it was sent: nobody wants to be told any more where `[alerts]` is gone."""
        if self._settings is None:
            return False
        with as_failures():
            await to_its_end(_post(self._settings, _body(need, self._settings, self._client.namespace)))
            return True


def _body(need: Need, settings: Alerts, namespace: str) -> dict[str, Any]:
    """What `docs/operating.md` tells of the body."""
    body = need.model_dump(mode="json", exclude={"text"})
    body |= {"sentence": need.text or need.reason.sentence, "url": None}
    if settings.ui is not None:
        path = f"/namespaces/{quote(namespace, safe='')}/workflows/{quote(need.workflow_id, safe='')}/{need.run_id}"
        body["url"] = f"{settings.ui}{path}"
    return body


async def _post(settings: Alerts, body: dict[str, Any]) -> None:
    content = json.dumps(body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json"}
    if settings.token is not None:
        headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
    if settings.key is not None:
        headers[SIGNATURE] = signature(settings.key, int(time.time()), content)
    timeout = aiohttp.ClientTimeout(total=settings.timeout.total_seconds())
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                settings.webhook.get_secret_value(), data=content, headers=headers, allow_redirects=False
            ) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:  # whose text may hold the address, which may be a secret
        raise NotTakenError(f"The webhook of [alerts] cannot be reached ({type(error).__name__})") from None
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotTakenError(f"The webhook of [alerts] answered {status}")


def signature(key: SecretStr, at: int, content: bytes) -> str:
    """`t=<Unix time>,v1=<hexadecimal HMAC-SHA256 of "<time>.<body>">`."""
    digest = hmac.new(key.get_secret_value().encode(), f"{at}.".encode() + content, hashlib.sha256)
    return f"t={at},v1={digest.hexdigest()}"
