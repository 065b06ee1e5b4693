"""The stub ERP: its faults on demand, seen through the rest adapter, and what survives its death."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from closedwon.demo.parts import program
from closedwon.emulators.erp import connection
from closedwon.emulators.erp.stub import ErpFaults, StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import BusyError, Erp, RejectedError, UnknownError, find_or_create
from closedwon.erp.http import ORDERS_PER_PAGE
from closedwon.erp.rest import RestAdapter
from tests.integration.erp.worlds import new_order, new_org, rest_settings, until_done


class StubProcess:
    """`closedwon test-erp stub` as a user runs it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> dict[str, Any]:
        """Start it and wait until it serves."""
        command = [program("closedwon"), "test-erp", "stub", "--data-dir", str(self.data_dir)]
        self.process = await asyncio.create_subprocess_exec(*command, *arguments)
        while connection.read(self.data_dir).get("pid") != self.process.pid:
            assert self.process.returncode is None, "the stub ERP did not start"
            await asyncio.sleep(0.02)
        return connection.read(self.data_dir)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[StubProcess]:
    """A stub ERP in a process of its own, to be killed."""
    stub = StubProcess(tmp_path / "stub")
    yield stub
    if stub.process is not None and stub.process.returncode is None:
        stub.process.kill()
        await stub.process.wait()


async def test_a_lost_answer_is_found_at_once(stub: StubErp, rest: Erp) -> None:
    """Committed, answer lost: the same attempt looks and finds it, and the order is there once."""
    stub.faults.lose_reply = 1

    handoff = await find_or_create(rest, new_order())

    assert handoff.adopted
    assert 1 == len(stub.orders())


async def test_no_order_is_duplicated_when_half_of_the_answers_are_lost(stub: StubErp, rest: Erp) -> None:
    """A hundred deals, each delivered twice at the same time, half of all answers lost: a hundred confirmed orders."""
    stub.faults.lose_reply_probability = 0.5
    orders = [new_order() for _ in range(100)]

    await asyncio.gather(*(until_done(rest, order) for order in orders for _ in range(2)))

    assert Counter(order.idempotency_key for order in orders) == Counter(
        stored["idempotency_key"] for stored in stub.orders()
    )
    assert {"confirmed"} == {stored["status"] for stored in stub.orders()}


@pytest.mark.parametrize(("seconds", "expected"), [(7, timedelta(seconds=7)), (None, None)])
async def test_busy_passes_on_how_long_to_wait(
    stub: StubErp, rest: Erp, seconds: int | None, expected: timedelta | None
) -> None:
    """An ERP that asks for patience is called again when it said, and nothing happened meanwhile."""
    stub.faults = ErpFaults(busy=1, retry_after=seconds)

    with pytest.raises(BusyError) as caught:
        await find_or_create(rest, new_order())

    assert expected == caught.value.retry_after
    assert not stub.orders()


async def test_a_refusal_reaches_a_person(stub: StubErp, rest: Erp) -> None:
    """A refused order is not retried into the ERP, and is accepted once the reason is gone."""
    stub.faults.reject = 1
    order = new_order()

    with pytest.raises(RejectedError, match="The order is refused"):
        await find_or_create(rest, order)

    assert (await find_or_create(rest, order)).order.status.exists_as_order


async def test_down_and_up_again(stub: StubErp, rest: Erp) -> None:
    """While it is down every call is retried; up again, the order is made once."""
    stub.faults.down = True
    order = new_order()
    with pytest.raises(UnknownError):
        await find_or_create(rest, order)

    stub.faults.down = False

    assert not (await find_or_create(rest, order)).adopted
    assert 1 == len(stub.orders())


async def test_an_answer_that_comes_too_late_is_unknown(stub: StubErp) -> None:
    """A call that takes longer than the timeout may have taken effect: nothing is concluded from it."""
    settings = rest_settings(stub.url, stub.token).model_copy(update={"timeout": timedelta(milliseconds=50)})
    erp = RestAdapter(settings)
    stub.faults.slow = 0.5

    with pytest.raises(UnknownError):
        await erp.create(new_order())
    await erp.close()


async def test_faults_are_armed_and_orders_audited_over_http(stub: StubErp, rest: Erp) -> None:
    """A test in another process arms faults and counts orders with two plain requests; a typing mistake is reported."""
    async with aiohttp.ClientSession(stub.url) as http:
        async with http.post("/_admin/faults", json={"lose_reply": 1}) as armed:
            assert 1 == (await armed.json())["lose_reply"]
        async with http.post("/_admin/faults", json={"loose_reply": 1}) as refused:
            assert 400 == refused.status
        order = new_order()
        found = (await find_or_create(rest, order)).order
        async with http.get("/_admin/orders") as audit:
            (stored,) = (await audit.json())["orders"]
        async with http.get(found.url or "") as link:
            assert order.name in await link.text()

    assert (order.idempotency_key, found.number) == (stored["idempotency_key"], stored["number"])


async def test_a_listing_is_read_page_by_page(stub: StubErp, rest: Erp) -> None:
    """Of more orders than a page takes, each is listed once, also while some are changed."""
    org = new_org()
    orders = [new_order(org=org) for _ in range(2 * ORDERS_PER_PAGE)]
    drafts = {order.idempotency_key: await rest.create(order) for order in orders}
    before = stub.calls

    listed: list[str] = []
    async for key, _ in rest.orders_since(org, datetime.now(UTC) - timedelta(hours=1)):
        if len(listed) == 1:
            await rest.advance(drafts[key])
        listed.append(key)

    assert [order.idempotency_key for order in orders] == listed
    assert 3 == stub.calls - before - 1


async def test_a_killed_process_has_lost_nothing(process: StubProcess) -> None:
    """After SIGKILL it serves the same orders at the same address with the same token; SIGTERM ends it with code 0."""
    facts = await process.start("--port", "0")
    erp = open_erp(rest_settings(facts["url"], facts["token"]))
    orders = [new_order() for _ in range(20)]
    before = [(await find_or_create(erp, order)).order for order in orders]
    assert process.process is not None
    process.process.kill()
    await process.process.wait()

    again = await process.start()

    assert {**facts, "pid": None} == {**again, "pid": None}
    assert before == [(await find_or_create(erp, order)).order for order in orders]
    await erp.close()
    process.process.terminate()
    assert 0 == await process.process.wait()


async def test_a_taken_port_is_reported(stub: StubErp, process: StubProcess) -> None:
    """A port that somebody else serves on ends the command with a sentence that says what to do."""
    port = stub.url.rpartition(":")[2]
    command = [program("closedwon"), "test-erp", "stub", "--data-dir", str(process.data_dir), "--port", port]
    second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)

    _, said = await second.communicate()

    assert 1 == second.returncode
    assert b"--port 0" in said
    assert b"Traceback" not in said
