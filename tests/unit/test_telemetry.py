"""One port per process serves metrics and health, and log lines name the workflow that they belong to."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from closedwon import settings
    from closedwon.demo.parts import program
    from closedwon.encryption.codec import KeyMissingError
    from closedwon.errors import AttentionReason, BenignError
    from closedwon.model.order_state import Problem
    from closedwon.telemetry.metrics import Metrics, Telemetry, TelemetryError
    from tests.support.servers import STARTUP

_log = logging.getLogger("activities.test")


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
async def telemetry(logging_as_before: None) -> AsyncIterator[Telemetry]:
    """Start telemetry on a free port."""
    del logging_as_before
    started = Telemetry.start(settings.TelemetrySettings(port=0, log_format="json"), service="orders")
    yield started
    await started.close()


async def get(telemetry: Telemetry, path: str) -> tuple[int, str]:
    """Ask the public port."""
    async with aiohttp.ClientSession() as session, session.get(f"{telemetry.address}{path}") as response:
        return response.status, await response.text()


async def ready() -> None:
    """Be ready."""


async def test_health_names_what_is_not_ready(telemetry: Telemetry) -> None:
    """Alive is not ready; an operator reads which part is missing, without its inner texts."""

    async def patient() -> None:
        raise BenignError("Temporal is starting, token=hunter2")

    async def broken() -> None:
        raise RuntimeError("customer-data")

    await telemetry.serve({"bus": ready, "temporal": patient, "erp": broken})
    assert (200, {"alive": True}) == _parsed(await get(telemetry, "/livez"))
    expected = {"bus": "ready", "temporal": "Temporal is starting, token=***", "erp": "failed with RuntimeError"}
    assert (503, {"ready": False, "checks": expected}) == _parsed(await get(telemetry, "/readyz"))


async def test_health_says_ready(telemetry: Telemetry) -> None:
    """A load balancer sends work."""
    await telemetry.serve({"temporal": ready})
    assert (200, {"ready": True, "checks": {"temporal": "ready"}}) == _parsed(await get(telemetry, "/readyz"))


async def test_a_check_that_hangs_is_not_ready(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe gets its answer in time."""
    monkeypatch.setattr("closedwon.telemetry.metrics._CHECK_SECONDS", 0.05)

    async def hanging() -> None:
        await asyncio.Event().wait()

    await telemetry.serve({"bus": hanging, "erp": ready})
    status, body = _parsed(await get(telemetry, "/readyz"))
    assert (503, {"bus": "no answer within 0.05 s", "erp": "ready"}) == (status, body["checks"])


async def test_our_metrics_are_exported_under_stable_names(telemetry: Telemetry) -> None:
    """Dashboards and alerts are built on these names."""
    metrics = telemetry.metrics
    metrics.messages.add(2, {"channel": "platform-event", "outcome": "started"})
    metrics.orders.add(1, {"stage": "completed"})
    metrics.attention.add(1, {"reason": "mapping-failed"})
    metrics.gaps.add(1, {"reason": "expired"})
    metrics.api_calls.add(7, {"org": "production"})
    metrics.api_used.set(14_000, {"org": "production"})
    metrics.api_limit.set(100_000, {"org": "production"})
    metrics.cursor_lag.set(1.5, {"org": "production", "channel": "/event/Order_Requested__e"})
    metrics.ack_latency.record(timedelta(milliseconds=30), {"channel": "callout", "outcome": "acknowledged"})
    metrics.open_orders.set(3, {"stage": "ordering"})
    metrics.backlog_age.set(2.5, {"queue": "orders", "kind": "workflow"})
    metrics.won_to_written_back.record(timedelta(seconds=3))
    metrics.erp_latency.record(timedelta(milliseconds=80), {"erp": "tryton", "outcome": "created"})
    await telemetry.serve({})
    status, text = await get(telemetry, "/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    expected = {
        'closedwon_messages_total{channel="platform-event",outcome="started",service="orders"}': "2",
        'closedwon_orders_total{stage="completed",service="orders"}': "1",
        'closedwon_attention_total{reason="mapping-failed",service="orders"}': "1",
        'closedwon_gaps_total{reason="expired",service="orders"}': "1",
        'closedwon_salesforce_api_calls_total{org="production",service="orders"}': "7",
        'closedwon_salesforce_api_used{org="production",service="orders"}': "14000",
        'closedwon_salesforce_api_limit{org="production",service="orders"}': "100000",
        'closedwon_cursor_lag_seconds{channel="/event/Order_Requested__e",org="production",service="orders"}': "1.5",
        'closedwon_ack_latency_seconds_count{channel="callout",outcome="acknowledged",service="orders"}': "1",
        'closedwon_open_orders{stage="ordering",service="orders"}': "3",
        'closedwon_backlog_age_seconds{kind="workflow",queue="orders",service="orders"}': "2.5",
        'closedwon_won_to_written_back_seconds_bucket{service="orders",le="5"}': "1",
        'closedwon_erp_latency_seconds_bucket{erp="tryton",outcome="created",service="orders",le="0.1"}': "1",
    }
    assert 200 == status
    assert expected.items() <= samples.items(), sorted(samples)


async def test_a_port_in_use_is_reported_with_the_setting(telemetry: Telemetry) -> None:
    """Two processes on one machine are the usual reason."""
    await telemetry.serve({})
    port = int(str(telemetry.address).rpartition(":")[2])
    second = Telemetry.start(settings.TelemetrySettings(port=port, log_format="json"), service="subscriber")
    with pytest.raises(
        TelemetryError, match=f"Port {port} on .* is in use already: set telemetry.port in the settings"
    ):
        await second.serve({})
    await second.close()


async def test_a_closed_port_is_free_again(telemetry: Telemetry) -> None:
    """A restart does not wait."""
    await telemetry.serve({})
    address = telemetry.address
    await telemetry.close()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{address}/livez")
    await telemetry.serve({})
    assert 200 == (await get(telemetry, "/livez"))[0]


@activity.defn
async def failing() -> None:
    """Log in every way that activities do, then fail."""
    _log.info("by the standard library, Bearer abcdef-secret")
    activity.logger.warning("by the SDK's logger", extra={"api_key": "secret"})
    Metrics(activity.metric_meter()).orders.add(1, {"stage": "completed"})
    raise ValueError("password=secret")


@workflow.defn
class Logging:
    """Logs from inside the sandbox."""

    @workflow.run
    async def run(self) -> None:
        """Log, measure, and survive the failing activity."""
        workflow.logger.info("by the workflow's logger")
        Metrics(workflow.metric_meter()).won_to_written_back.record(timedelta(seconds=1))
        try:
            await workflow.execute_activity(
                failing, start_to_close_timeout=timedelta(seconds=10), retry_policy=RetryPolicy(maximum_attempts=1)
            )
        except ActivityError:
            return


async def test_logs_and_metrics_know_their_workflow(telemetry: Telemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator finds all entries of one order by its workflow id; none of them holds a secret."""
    telemetry = Telemetry.start(
        settings.TelemetrySettings(port=0, log_format="json"), service="orders"
    )  # on capsys's stream
    async with (
        await WorkflowEnvironment.start_local(
            runtime=telemetry.runtime,
            dev_server_existing_path=program("temporal"),
            dev_server_startup_timeout=STARTUP,
            dev_server_log_level="error",
        ) as environment,
        Worker(environment.client, task_queue="q", workflows=[Logging], activities=[failing]),
    ):
        await environment.client.execute_workflow(Logging.run, id="order:x@y", task_queue="q")
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    ours = {entry["message"]: entry for entry in entries if entry.get("workflow_id") == "order:x@y"}
    assert {
        "by the workflow's logger",
        "by the standard library, Bearer ***",
        "by the SDK's logger",
        "Completing activity as failed",
    } == set(ours)
    assert "Logging" == ours["by the workflow's logger"]["workflow"]
    assert ("failing", 1) == tuple(ours["by the SDK's logger"][key] for key in ("activity", "attempt"))
    assert "secret" not in json.dumps(entries)
    await telemetry.serve({})
    _, metrics = await get(telemetry, "/metrics")
    await telemetry.close()
    assert 'closedwon_orders_total{activity_type="failing"' in metrics
    assert "closedwon_won_to_written_back_seconds_count{" in metrics
    assert "temporal_activity_execution_failed_total{" in metrics


async def test_an_attempt_that_lacks_a_key_says_which(telemetry: Telemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """The SDK says only that it could not decode; what to do about it is in the cause."""
    await telemetry.close()
    Telemetry.start(settings.TelemetrySettings(port=0, log_format="json"), service="orders")  # on capsys's stream
    failed = ApplicationError("Failed decoding arguments")
    failed.__cause__ = KeyMissingError("2026-10")
    activity.logger.warning("Completing activity as failed", exc_info=failed)
    (entry,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "decoding" in line]
    assert "the key '2026-10', which `encryption.keys` does not list" in entry["error"]


@pytest.mark.parametrize(
    ("reason", "logged"),
    [
        (AttentionReason.AMOUNT_DIFFERS, "OurError: amount-differs; see `closedwon orders show`"),
        (AttentionReason.ERP_REJECTED, "OurError: erp-rejected; see `closedwon orders show`"),
        (AttentionReason.MAPPING_FAILED, "OurError: 4711 EUR"),
    ],
)
async def test_what_may_quote_the_deal_is_not_logged(
    telemetry: Telemetry, capsys: pytest.CaptureFixture[str], reason: AttentionReason, logged: str
) -> None:
    """Amounts, and the words of ERP and Salesforce, are for the order's story, which is encrypted."""
    await telemetry.close()
    Telemetry.start(settings.TelemetrySettings(port=0, log_format="json"), service="orders")  # on capsys's stream
    failed = ApplicationError("4711 EUR", Problem(reason=reason, message="4711 EUR", hint=""), type="OurError")
    activity.logger.warning("Completing activity as failed", exc_info=failed)
    (entry,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "OurError" in line]
    assert logged == entry["error"]


def _parsed(answer: tuple[int, str]) -> tuple[int, Any]:
    status, text = answer
    return status, json.loads(text)
