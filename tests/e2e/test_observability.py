"""The telemetry of real processes: one trace per order, and every metric of the dashboard and the alert rules."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from temporalio.worker import Replayer

from closedwon import names
from closedwon.demo import Via
from closedwon.encryption import codec
from tests.support.encryption import as_environment, keyed
from tests.support.intake import Authority
from tests.support.metrics import expressions, names_in
from tests.support.otlp import Collector, Span
from tests.support.siege import Siege, siege
from workflows.order import OrderWorkflow

_LATER = {"closedwon_swept_records_total", "closedwon_key_age_seconds"}
"""What an eventful minute does not show: a sweep leaves alone what is younger than five minutes, and this world has
neither an encryption key nor a secret in a file."""


def _path(trace: list[Span], name: str) -> list[str]:
    """The names from the root down to a span."""
    by_id = {span.id: span for span in trace}
    span: Span | None = next(span for span in trace if span.name == name)
    path: list[str] = []
    while span is not None:
        path.insert(0, span.name)
        span = by_id.get(span.parent)
    return path


@pytest.mark.parametrize("via", [Via.EVENT, Via.OUTBOUND])
async def test_one_trace_follows_an_order_through_all_processes(via: Via, tmp_path: Path) -> None:
    """One trace from the receiver of the message over the worker to the write-back; it names IDs and no customer."""
    encryption = keyed()
    start = ["accept", "SignalWithStartWorkflow:OrderWorkflow"]
    run = [*start, "RunWorkflow:OrderWorkflow"]
    expected = [[*start, "HandleSignal:notified"]]
    for activity in ("load_order", "create_order", "write_back"):
        expected += [[*run, f"StartActivity:{activity}", f"RunActivity:{activity}"]]
    async with Collector.running() as collector:
        environment = {
            "CLOSEDWON_TELEMETRY__TRACES": collector.address,
            "CLOSEDWON_TELEMETRY__LOG_FORMAT": "json",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **as_environment(encryption),
        }
        async with siege(tmp_path, via=via, subscribers=1, environment=environment) as world:
            await world.people.admin("POST", "seed", {"opportunities": 1})
            (deal,) = await world.people.open_deals(1)
            await world.win(deal.id)
            awaited = {name for path in expected for name in path}
            await world.until(lambda: awaited <= {span.name for span in collector.spans}, "the spans of an order")
            order = (await world.client()).get_workflow_handle(world.workflow_id(deal.id))
            history = await order.fetch_history()
            accounts = await world.people.query("SELECT Name FROM Account")
            logged = world.log("worker-1").read_text("utf-8")

    accepted = next(span for span in collector.spans if span.name == "accept")
    trace = [span for span in collector.spans if span.trace == accepted.trace]
    entrance = "closedwon-subscriber" if via is Via.EVENT else "closedwon-intake"
    assert expected == [_path(trace, path[-1]) for path in expected]
    assert {entrance, "closedwon-orders"} == {span.service for span in trace}
    assert deal.id == accepted.attributes["closedwon.record"]
    assert {"accept"} == {span.name for span in collector.spans if not span.parent}
    assert not [name for name in (deal.name, *(one["Name"] for one in accounts)) if name.encode() in collector.raw]
    entries = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    assert {accepted.trace} == {one["trace_id"] for one in entries if one.get("workflow_id") == order.id}
    await Replayer(workflows=[OrderWorkflow], data_converter=codec.data_converter(encryption)).replay_workflow(history)


async def _need_attention(world: Siege) -> None:
    url = f"{world.stack.erp.connection['url']}/_admin/faults"
    async with world.http.post(url, json={"reject": 1}) as answer:
        answer.raise_for_status()
    first, second = (await world.people.admin("POST", "seed", {"opportunities": 2}))["ids"]
    await world.win(first)

    async def has_reason() -> bool:
        return bool(await world.complaints())

    await world.until(has_reason, "an order that needs attention")
    await world.win(second)


async def _wedge(world: Siege) -> None:
    """Start a workflow whose input cannot be decoded."""
    client = await world.client()
    await client.start_workflow(names.ORDER_WORKFLOW, "no input", id="order:x@y", task_queue=names.ORDERS_QUEUE)


async def _speak_no_tls(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_every_metric_of_dashboard_and_rules_is_exported_by_a_real_process(tmp_path: Path) -> None:
    """Every metric that a panel or an alert rule names exists after an eventful minute."""
    wanted = set().union(*(names_in(expression) for _, expression in expressions())) - _LATER
    certificate, key, _ = Authority(tmp_path, "ours").issue("localhost")
    environment = {
        "CLOSEDWON_INTAKE__PORT": "0",
        "CLOSEDWON_INTAKE__TLS__CERTIFICATE": str(certificate),
        "CLOSEDWON_INTAKE__TLS__KEY": str(key),
        "CLOSEDWON_TELEMETRY__OBSERVE_EVERY": "1s",
    }
    async with siege(tmp_path / "world", subscribers=0, environment=environment) as world:
        (process,) = world.stack.workers

        def intake() -> re.Match[str] | None:
            return re.search(r"intake at https://127\.0\.0\.1:(\d+)", process.log.read_text("utf-8"))

        await world.until(lambda: intake() is not None, "intake")
        found = intake()
        assert found is not None
        port = int(found[1])
        await _wedge(world)
        await _speak_no_tls(port)
        async with world.http.post(f"https://127.0.0.1:{port}/outbound/no-such-route", ssl=False) as answer:
            assert 404 == answer.status
        await _need_attention(world)

        async def all_there() -> bool:
            async with aiohttp.request("GET", f"http://localhost:{process.port}/metrics") as response:
                lines = (await response.text()).splitlines()
            wanted.difference_update(re.sub(r"_(bucket|count|sum)(?={)|{.*", "", line) for line in lines)
            return not wanted

        await world.until(all_there, "every metric")
