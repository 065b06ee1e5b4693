"""Nothing of a customer can be read in Temporal, and no rotation, missing or wrong key loses an order."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import re
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

from closedwon import names
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.settings import Encryption
from closedwon.telemetry.logs import OUR_PACKAGES
from closedwon.temporal.key_checks import ensure_key_checks
from tests.support.command import closedwon, temporal
from tests.support.encryption import fresh_key, keyed, settings_file, with_keys
from tests.support.handoff import CHANNEL, PLAIN, Handoff, handoff, until
from tests.support.servers import start_temporal
from workers.sweeps import sync_schedules

_VALUES = {
    "deal's name": "Quittenernte",
    "customer's name": "Zebrafink",
    "street": "Geheimweg",
    "price": "1234.56",
    "total": "3703.68",
    "product": "GC1040",
    "text in a message that cannot be read": "Moosbeere",
    "an operator's words": "Sauerampfer",
}
"""What is in the deals of the run below, and must be nowhere in Temporal."""
_ORDER = {
    "name": "Name",
    "currency": "CurrencyIsoCode",
    "customer": {"id": "Account.Id", "name": "Account.Name", "street": "Account.BillingStreet"},
    "lines": {
        "each": "OpportunityLineItems.records",
        "product": "Product2.ProductCode",
        "quantity": "Quantity",
        "unit_price": "UnitPrice",
    },
}
_SELECT = (
    "Name, IsWon, CurrencyIsoCode, Account.Id, Account.Name, Account.BillingStreet, "
    "(SELECT Product2.ProductCode, Quantity, UnitPrice FROM OpportunityLineItems)"
)


def _deal(world: Handoff) -> RecordId:
    """An open deal whose values are found nowhere else."""
    org = world.org
    account = org.create("Account", Name="Zebrafink Handels GmbH", BillingStreet="Geheimweg 77")
    deal = org.create(
        "Opportunity",
        Name="Quittenernte 2026",
        AccountId=account,
        StageName="Prospecting",
        CloseDate="2026-11-30",
        CurrencyIsoCode="EUR",
    )
    (product,) = org.query("SELECT Id FROM Product2 WHERE ProductCode = 'GC1040'")
    org.create("OpportunityLineItem", OpportunityId=deal, Product2Id=product["Id"], Quantity=3, UnitPrice=1234.56)
    return deal


async def _everything_that_can_happen(world: Handoff) -> None:
    """One order done, one corrected by a person, one cancelled, and an unparseable message."""
    world.org.seed(1)
    done, refused, cancelled = (_deal(world) for _ in range(3))
    world.org.win(done)
    await world.until_stage(done, OrderStage.COMPLETED)

    world.erp.faults.unknown_products = frozenset({"GC1040"})
    for record in (refused, cancelled):
        world.org.win(record)
        await world.until_stage(record, OrderStage.ATTENTION)
    await world.order(cancelled).signal(names.SIGNAL_CANCEL, "Sauerampfer said so")
    await world.until_stage(cancelled, OrderStage.CANCELLED)
    world.erp.faults.unknown_products = frozenset()
    await world.order(refused).signal(names.SIGNAL_RETRY, "Sauerampfer corrected it")
    await world.until_stage(refused, OrderStage.COMPLETED)

    event = {"EventUuid": "00000000-0000-4000-8000-000000000001"}
    world.org.publish_raw(CHANNEL, {"payload": {"Note__c": "Moosbeere"}, "event": event})
    await until(lambda: _counts(world.client, f"WorkflowType = '{names.UNPARSEABLE_MESSAGE_WORKFLOW}'", 1))


async def _counts(client: Client, query: str, expected: int) -> bool:
    return expected == (await client.count_workflows(query)).count


async def _stored(client: Client, database: Path) -> bytes:
    """All that Temporal has: by its API (lists, states, histories), and on its disk."""
    service, where = client.workflow_service, client.namespace
    listing = await service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=where, page_size=1000))
    found = [listing.SerializeToString()]
    for each in listing.executions:
        one = WorkflowExecution(workflow_id=each.execution.workflow_id, run_id=each.execution.run_id)
        state = await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=where, execution=one)
        )
        history = await service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=where, execution=one)
        )
        found += [state.SerializeToString(), history.SerializeToString()]
    found += [file.read_bytes() for file in database.parent.glob(f"{database.name}*")]
    return b"\0".join(found)


@pytest.mark.parametrize(
    ("encryption", "readable"), [(keyed(), set()), (PLAIN, set(_VALUES))], ids=["encrypted", "and otherwise"]
)
async def test_nothing_of_a_customer_can_be_read_in_temporal(
    tmp_path: Path, encryption: Encryption, readable: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither over its API, nor on its disk, nor in our logs, whatever happened; unencrypted, Temporal has it all."""
    caplog.set_level(logging.INFO)
    for package in OUR_PACKAGES:
        caplog.set_level(logging.DEBUG, package)
    database = tmp_path / "temporal.db"
    async with (
        await start_temporal(database=database) as server,
        handoff(temporal_server=server, encryption=encryption, select=_SELECT, order=_ORDER) as world,
        world.working(),
    ):
        await _everything_that_can_happen(world)
        stored = await _stored(world.client, database)

    assert readable == {what for what, value in _VALUES.items() if value.encode() in stored}
    assert {"product"} >= {what for what, value in _VALUES.items() if value in caplog.text}  # to be created in the ERP
    keys = [key.key.get_secret_value() for key in encryption.keys if key.key]
    assert not [secret for secret in (world.org.client_secret, world.erp.token, *keys) if secret.encode() in stored]


async def _refused_order(world: Handoff) -> RecordId:
    """An order that needs attention; the ERP would take it now."""
    world.erp.faults.reject = 1
    (record,) = world.org.win_next(1)
    await world.until_stage(record, OrderStage.ATTENTION)
    return record


@pytest.mark.parametrize(
    ("how", "answer"),
    [(("signal",), "Signal workflow succeeded"), (("update", "execute"), "payload encoding is not supported")],
    ids=["signal", "update"],
)
async def test_a_plain_command_of_temporals_own_command_line_is_understood(how: tuple[str, ...], answer: str) -> None:
    """An operator needs no key to send `retry`; what was said is read. An update's answer needs the codec server."""
    async with handoff(encryption=keyed()) as world, world.working():
        world.org.seed(1)
        record = await _refused_order(world)
        order = names.order_workflow_id(world.org.org_id, record)
        words = ("-w", order, "--name", "retry", "--input", '"price list corrected"')
        assert answer in (await temporal(world.client, "workflow", *how, *words)).text
        await world.until_stage(record, OrderStage.COMPLETED)

        metadata = await world.order(record).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert "price list corrected" in metadata.current_details
        assert "Encoded failure" in (await temporal(world.client, "workflow", "show", "-w", order, "-o", "json")).text


async def _keys_in_history(world: Handoff, record: RecordId) -> list[str]:
    """The ids of the keys of an order's events, in the order of the events, each once in a row."""
    history = await world.order(record).fetch_history()
    found = re.findall(r'"encryption-key-id": "([^"]+)"', history.to_json())
    return [base64.b64decode(key_id).decode() for key_id, _ in itertools.groupby(found)]


async def test_an_order_goes_on_over_a_rotation_and_its_new_events_have_the_new_key() -> None:
    """As docs/operate/encryption.md says: add at the end, move to the front, restart; the order waits through both."""
    old, new = fresh_key("old"), fresh_key("new")
    async with handoff(encryption=keyed(old)) as world:
        await ensure_key_checks(world.client)
        async with world.working():
            world.org.seed(1)
            record = await _refused_order(world)
        for keys in ((old, new), (new, old)):
            world.client = with_keys(world.client, keyed(*keys))
            await ensure_key_checks(world.client)
            async with world.working():  # a worker that has the order not in its cache replays the history
                await world.order(record).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
                if keys[0] is new:
                    await world.order(record).signal(names.SIGNAL_RETRY)
                    await world.until_stage(record, OrderStage.COMPLETED)
        assert ["old", "new"] == await _keys_in_history(world, record)


async def test_a_schedule_takes_the_new_key_when_a_worker_starts() -> None:
    """A schedule lasts for years: what it holds must not need the old key for as long."""
    old, new = fresh_key("old"), fresh_key("new")
    async with handoff(encryption=keyed(old), sweep={}) as world:
        schedule = world.client.get_schedule_handle(names.sweep_schedule_id(world.org.org_id, "won-0"))
        for keys in ((old,), (new, old)):
            client = with_keys(world.client, keyed(*keys))
            await sync_schedules(client, world.settings)
            stored = (await schedule.describe()).raw_description.schedule.SerializeToString()
            assert [keys[0].id] == [key.id for key in (old, new) if key.id.encode() in stored]


async def _waits_for_its_key(key_id: str, expected: str, log: pytest.LogCaptureFixture) -> None:
    right = keyed(fresh_key("2026-11"))
    async with handoff(encryption=right) as world:
        async with world.working():
            world.org.seed(1)
            record = await _refused_order(world)

        world.client = with_keys(world.client, keyed(fresh_key(key_id)))
        async with world.working():
            operator = with_keys(world.client, right)
            await operator.get_workflow_handle(world.order(record).id).signal(names.SIGNAL_RETRY)
            await until(lambda: expected in log.text)
            assert OrderStage.ATTENTION == await world.stage(record)

        world.client = with_keys(world.client, right)
        async with world.working():
            await world.until_stage(record, OrderStage.COMPLETED)
        assert 1 == len(world.erp.orders())


async def test_an_order_waits_for_its_key_and_no_signal_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Workers without the right key say which one they lack, try again, and change nothing; with it all goes on."""
    missing = "key '2026-11', which `encryption.keys` does not list"
    wrong = "key '2026-11' of `encryption.keys` does not decrypt"
    await asyncio.gather(_waits_for_its_key("other", missing, caplog), _waits_for_its_key("2026-11", wrong, caplog))


async def test_a_command_with_the_wrong_key_says_so(tmp_path: Path) -> None:
    """Anyone who looks at an order with an outdated settings file sees which key to correct."""
    async with handoff(encryption=keyed(fresh_key("2026-11"))) as world, world.working():
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_written_back(record)
        config = settings_file(tmp_path, keyed(fresh_key("2026-11")))
        code, text = await closedwon(world.client, "orders", "show", record, CLOSEDWON_CONFIG=str(config))

    assert 1 == code
    assert "The key '2026-11' of `encryption.keys` does not decrypt" in text
    assert "Traceback" not in text
