"""The stub ERP's page without a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from closedwon.emulators.erp.stub import StubErp
from tests.integration.erp.worlds import new_order
from tests.support.forms import Forms


@pytest.fixture
async def stub() -> AsyncIterator[StubErp]:
    """A served stub ERP with one order."""
    async with StubErp.running() as running:
        async with aiohttp.request("POST", f"{running.url}/_admin/orders", json=_order()) as response:
            assert 201 == response.status
        yield running


@pytest.fixture
async def page(stub: StubErp) -> AsyncIterator[Forms]:
    """Its page without JavaScript."""
    async with aiohttp.ClientSession() as http:
        yield Forms(stub.url, http)


def _order() -> dict[str, object]:
    order = new_order().model_dump(mode="json")
    order["customer"]["name"] = "<b>Nordwind</b>"
    return order


async def test_orders_are_listed_and_each_link_leads_to_its_order(stub: StubErp, page: Forms) -> None:
    """The page shows number, customer and status; the link that is written to Salesforce opens the order."""
    (order,) = stub.orders()
    shown = await page.open()
    assert order["number"] in shown.words
    assert "<b>Nordwind</b>" in shown.words
    link = f"/_page/orders/{order['id']}"
    assert link in shown.links
    assert "Idempotency key" in (await page.open(link, Sec_Fetch_Site="same-site")).words  # from the deal
    assert 404 == (await page.open("/_page/orders/999")).status


async def test_a_person_changes_the_status_and_turns_faults_on_and_off(stub: StubErp, page: Forms) -> None:
    """As a user of the ERP does; also while the ERP refuses connections."""
    (order,) = stub.orders()
    assert "Faults on: down" in (await page.press("fault", fault="down")).words
    assert stub.faults.down
    changed = await page.press("status", id=str(order["id"]), status="done")
    assert "The order is now done" in changed.words
    assert "done" == stub.orders()[0]["status"]
    await page.press("off")
    assert not stub.faults.down
    for wrong in ({"id": "999", "status": "done"}, {"id": "x", "status": "done"}, {"id": "1", "status": "x"}, {}):
        assert "Not done" in (await page.press("status", **wrong)).words


async def test_other_sites_change_nothing(stub: StubErp, page: Forms) -> None:
    """Without the token, under another host's name, or by a browser that visits another site, also below `_admin`."""
    (order,) = stub.orders()
    done = {"id": str(order["id"]), "status": "done"}
    token = (await page.open()).token

    assert 403 == (await page.send("status", done)).status
    assert 421 == (await page.send("status", done | {"token": token}, Host="rebound.example.com")).status
    async with aiohttp.ClientSession(stub.url) as http:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example.com"}):
            for path, body in (("/_admin/orders/1", {"status": "done"}), ("/_admin/faults", {"down": True})):
                async with http.post(path, json=body, headers=headers) as response:
                    assert response.status in {403, 421}
    assert order["status"] == stub.orders()[0]["status"]
    assert not stub.faults.down
