"""What Closedwon uses of Temporal, on a cluster that has never seen it: each once, as an operator would see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey

from closedwon import names
from closedwon.demo import TemporalKind
from closedwon.names import OrderStage
from closedwon.temporal import visibility
from closedwon.temporal.search_attributes import missing_search_attributes
from tests.support.command import closedwon
from tests.support.encryption import as_environment, keyed
from tests.support.siege import Siege, siege

pytestmark = pytest.mark.slow

_BEGAN = datetime.now(UTC)
_ENCRYPTION = keyed()


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Siege]:
    """Six completed orders and three that the ERP refuses, encrypted, on a new cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    encrypted = {"CLOSEDWON_ENCRYPTION__ENABLED": "true", **as_environment(_ENCRYPTION)}
    async with siege(folder, temporal=TemporalKind.CLUSTER, environment=encrypted) as made:
        deals = await made.add_deals(9)
        await made.sell(deals[:6])
        await made.until_orders(6)
        await made.until(made.is_idle, "six completed orders")
        await made.refuse_orders(3)
        await made.sell(deals[6:])
        await made.until(lambda: _are_listed(made, visibility.at_stage(OrderStage.ATTENTION), 3), "three refused")
        yield made


async def _are_listed(world: Siege, query: str, number: int) -> bool:
    return (await (await world.client()).count_workflows(query)).count == number


async def test_a_cluster_learns_our_search_attributes_from_the_first_process(world: Siege) -> None:
    """The development server of the demo is started with them; a cluster is not."""
    assert () == await missing_search_attributes(await world.client())


def _attribute(one: WorkflowExecution, name: str) -> Any:
    return one.typed_search_attributes.get(SearchAttributeKey.for_keyword(name))


def _is_running(one: WorkflowExecution) -> bool:
    return one.status is WorkflowExecutionStatus.RUNNING


_LATER = _BEGAN + timedelta(days=1)
_FILTERS: dict[str, tuple[str, Callable[[WorkflowExecution], bool]]] = {
    "running": (visibility.RUNNING, _is_running),
    "newest runs": (visibility.NOT_CONTINUED, lambda one: one.status is not WorkflowExecutionStatus.CONTINUED_AS_NEW),
    "wedged": (visibility.WEDGED, lambda _: False),
    "completed": (
        visibility.has_status("Completed"),
        lambda one: one.status is WorkflowExecutionStatus.COMPLETED,
    ),
    "of one type": (
        visibility.of_type(names.ORDER_WORKFLOW),
        lambda one: one.workflow_type == names.ORDER_WORKFLOW,
    ),
    "of types": (
        visibility.of_type(names.SWEEP_WORKFLOW, names.AUDIT_WORKFLOW),
        lambda one: one.workflow_type in {names.SWEEP_WORKFLOW, names.AUDIT_WORKFLOW},
    ),
    "by prefix": (visibility.id_starts_with("order:"), lambda one: one.id.startswith("order:")),
    "started before": (visibility.started_before(_LATER), lambda _: True),
    "started since": (visibility.started_since(_LATER), lambda _: False),
    "closed since": (visibility.closed_since(_BEGAN), lambda one: one.close_time is not None),
    "equals": (
        visibility.equals(names.ORDER_STAGE, OrderStage.COMPLETED),
        lambda one: _attribute(one, names.ORDER_STAGE) == OrderStage.COMPLETED,
    ),
    "differs": (
        visibility.differs(names.ORDER_STAGE, OrderStage.COMPLETED),
        lambda one: _attribute(one, names.ORDER_STAGE) not in {None, OrderStage.COMPLETED},
    ),
    "one of": (
        visibility.one_of(names.ORDER_STAGE, [OrderStage.COMPLETED, OrderStage.ATTENTION]),
        lambda one: _attribute(one, names.ORDER_STAGE) in {OrderStage.COMPLETED, OrderStage.ATTENTION},
    ),
    "none of": (
        visibility.none_of(names.ATTENTION_REASON, ["erp-rejected"]),
        lambda one: _attribute(one, names.ATTENTION_REASON) != "erp-rejected",
    ),
    "at a stage": (
        visibility.at_stage(OrderStage.ATTENTION),
        lambda one: _is_running(one) and _attribute(one, names.ORDER_STAGE) == OrderStage.ATTENTION,
    ),
    "at stages": (
        visibility.all_of(visibility.at_stage(OrderStage.ATTENTION, OrderStage.ORDERING), visibility.RUNNING),
        lambda one: (
            _is_running(one) and _attribute(one, names.ORDER_STAGE) in {OrderStage.ATTENTION, OrderStage.ORDERING}
        ),
    ),
}
"""By name: a filter, and which workflows it must find."""


@pytest.mark.parametrize("name", _FILTERS)
async def test_every_filter_finds_what_it_says(world: Siege, name: str) -> None:
    """The filter's workflows are those that Python picks from the whole list, on PostgreSQL as on SQLite."""
    client = await world.client()
    query, picks = _FILTERS[name]

    async def agree() -> bool:  # a scheduled sweep may begin or end between the two lists
        found = {(one.id, one.run_id) async for one in client.list_workflows(query)}
        wanted = {(one.id, one.run_id) async for one in client.list_workflows() if picks(one)}
        return found == wanted

    await world.until(agree, f"the filter {query!r} and the whole list agree")


async def test_schedules_are_made_and_run(world: Siege) -> None:
    """The sweep of the route and the audit of the org have a schedule, and the sweep has run."""
    client = await world.client()
    schedules = {one.id.partition(":")[0] async for one in await client.list_schedules()}

    assert {"sweep", "audit"} == schedules
    swept = visibility.all_of(visibility.of_type(names.SWEEP_WORKFLOW), visibility.has_status("Completed"))
    await world.until(lambda: _is_any(client, swept), "a scheduled sweep that has ended")


async def _is_any(client: Client, query: str) -> bool:
    return (await client.count_workflows(query)).count > 0


async def test_an_erp_that_is_paused_gets_nothing_until_it_is_resumed(world: Siege) -> None:
    """The limit of the task queue is what pauses an ERP: three retried orders wait, and go on."""
    client, before = await world.client(), await world.orders()
    settings = world.stack.child_environment()
    paused = await closedwon(client, "erp", "pause", world.stack.erp_kind, "--why", "maintenance", **settings)
    assert paused.code == 0, paused.text
    retried = await closedwon(client, "orders", "retry", "--all", "--yes", **settings)
    assert retried.code == 0, retried.text
    await world.until(lambda: _are_listed(world, visibility.at_stage(OrderStage.ORDERING), 3), "three that wait")
    status = await closedwon(client, "erp", "status", **settings)
    assert "maintenance" in status.text
    assert before == await world.orders()

    resumed = await closedwon(client, "erp", "resume", world.stack.erp_kind, **settings)
    assert resumed.code == 0, resumed.text
    await world.until_orders(9)
    await world.until(world.is_idle, "nine completed orders")


async def test_a_customers_data_is_stored_encrypted_and_read_with_the_key(world: Siege) -> None:
    """PostgreSQL holds no name of a deal; `orders list`, which has the key, shows it."""
    client = await world.client()
    (deal, *_) = await world.people.query("SELECT Id, Name FROM Opportunity WHERE IsWon = true")
    history = await client.get_workflow_handle(world.workflow_id(deal["Id"])).fetch_history()
    listed = await closedwon(client, "orders", "show", deal["Id"], **world.stack.child_environment())

    assert deal["Name"] not in history.to_json()
    assert "binary/encrypted" in {
        part.metadata["encoding"].decode()
        for event in history.events
        for part in event.workflow_execution_started_event_attributes.input.payloads
    }
    assert listed.code == 0, listed.text


async def test_doctor_and_overview_work_on_a_cluster(world: Siege) -> None:
    """Nothing that `doctor` asks is missing there."""
    client = await world.client()
    said = await closedwon(client, "doctor", **world.stack.child_environment())

    assert said.code == 0, said.text
