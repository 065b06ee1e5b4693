"""Alerts to people: one alert for each need, delivered by a workflow of its own.

The receiver of an alert does not delay the order, and the end of the order does not lose the alert. An alert contains
ids, reasons and our own sentences, and no customer's data.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr
from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import errors_as_failures
from activities.heartbeats import run_to_completion
from closedwon import names
from closedwon.errors import RetryError
from closedwon.model.alerts import Need
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.safe_text import chat
from closedwon.settings import AlertSettings, Settings
from closedwon.settings.values import current_value

SIGNATURE: Final = "Closedwon-Signature"


class NotTakenError(RetryError):
    """The webhook did not take the alert."""


class AlertActivities:
    """Posts to the webhook of `[alerts]`."""

    def __init__(self, settings: Settings, client: Client) -> None:
        """Take the client that starts the alerts' workflows."""
        self._settings = settings.alerts
        self._client = client

    @activity.defn
    async def raise_alert(self, need: Need) -> bool:
        """Start the workflow that delivers the alert; return whether one is sent. Safe to repeat.

        None is sent without `[alerts]`, and for a cause that was alerted within the hour.
        """
        if self._settings is None:
            return False
        name = need.id if need.cause is None else await self._first_within_the_hour(need, need.cause)
        if name is None:
            return False
        with suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                names.ALERT_WORKFLOW,
                need,
                id=names.alert_workflow_id(name),
                task_queue=names.ORDERS_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{need.reason}: alert about {need.workflow_id}",
            )
        return True

    async def _first_within_the_hour(self, need: Need, cause: str) -> str | None:
        """Name the alert of a cause and of this hour, so that Temporal refuses a second one; None: of the hour before.

        Orders that fail at the same moment ask at the same moment: only a name makes one of them the first.
        """
        place = need.erp or need.org or ""
        digest = hashlib.sha256(f"{place} {cause}".encode()).hexdigest()[:32]
        hour = int(need.at.timestamp() // 3600)
        before = self._client.get_workflow_handle(names.alert_workflow_id(f"{digest}-{hour - 1}"))
        try:
            if (await before.describe()).start_time > need.at - timedelta(hours=1):
                return None
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return f"{digest}-{hour}"

    @activity.defn
    async def alert(self, need: Need) -> bool:
        """Post the alert; return whether it was sent: it is not if `[alerts]` was removed meanwhile."""
        if self._settings is None:
            return False
        with errors_as_failures():
            await run_to_completion(_post(self._settings, _body(need, self._settings, self._client.namespace)))
            return True


def _body(need: Need, settings: AlertSettings, namespace: str) -> dict[str, Any]:
    """The JSON body, as `docs/operate/alert-webhook.md` describes it."""
    body = need.model_dump(mode="json", exclude={"text", "cause"})
    body |= {"sentence": chat(need.text or need.reason.sentence), "hint": chat(need.hint), "url": None}
    if settings.ui is not None:
        path = f"/namespaces/{quote(namespace, safe='')}/workflows/{quote(need.workflow_id, safe='')}/{need.run_id}"
        body["url"] = f"{settings.ui}{path}"
    return body


async def _post(settings: AlertSettings, body: dict[str, Any]) -> None:
    content = json.dumps(body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json"}
    if settings.token is not None:
        headers["Authorization"] = f"Bearer {current_value(settings.token)}"
    if settings.key is not None:
        headers[SIGNATURE] = signature(settings.key, int(time.time()), content)
    address = current_value(settings.webhook)
    try:
        async with Http(timeout=settings.timeout) as http:
            status = (await http.call("POST", address, data=content, headers=headers)).status
    except NetworkError as error:  # its text names the host only: the rest of the address may be a secret
        raise NotTakenError(f"The webhook of [alerts] cannot be reached: {error}") from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotTakenError(f"The webhook of [alerts] answered {status}")


def signature(key: SecretStr, at: int, content: bytes) -> str:
    """`t=<Unix time>,v1=<hexadecimal HMAC-SHA256 of "<time>.<body>">`."""
    digest = hmac.new(current_value(key).encode(), f"{at}.".encode() + content, hashlib.sha256)
    return f"t={at},v1={digest.hexdigest()}"
