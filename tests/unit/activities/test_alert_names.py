"""One cause is one alert within an hour: of one ERP, or of one org."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.alerts import AlertActivities
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.alerts import Need
from closedwon.settings import AlertSettings, Settings

ONE, OTHER = OrgId("00D000000000001EAA"), OrgId("00D000000000002EAA")


class _Temporal:
    """Notes which workflows are started, and has none of the hour before."""

    def __init__(self) -> None:
        self.started: list[str] = []

    async def start_workflow(self, *_arguments: Any, id: str, **_options: Any) -> None:  # noqa: A002 - the SDK's name
        self.started.append(id)

    def get_workflow_handle(self, _workflow_id: str) -> _Temporal:
        return self

    async def describe(self) -> None:
        raise RPCError("none", RPCStatusCode.NOT_FOUND, b"")


def _need(org: OrgId, erp: str | None) -> Need:
    return Need(
        id="need",
        at=datetime(2026, 12, 1, 9, 30, tzinfo=UTC),
        kind="order",
        org=org,
        erp=erp,
        reason=AttentionReason.CONFIGURATION,
        hint="Correct it.",
        cause="1: configuration: No such field",
        workflow_id="order:1",
        run_id="run",
    )


@pytest.mark.parametrize(("erp", "alerts"), [(None, 2), ("stub", 1)], ids=["orgs", "one-erp-of-both"])
async def test_one_cause_is_one_alert_of_its_org_or_erp(erp: str | None, alerts: int) -> None:
    """Two orgs may lack the same field; one ERP that serves both has one fault."""
    temporal = _Temporal()
    settings = Settings.model_construct(alerts=AlertSettings(webhook=SecretStr("https://alerts.example.com")))
    activities = AlertActivities(settings, cast("Client", temporal))

    for org in (ONE, OTHER, ONE):
        await activities.raise_alert(_need(org, erp))

    assert alerts == len(set(temporal.started))
