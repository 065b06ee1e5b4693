"""A call that Salesforce refuses as a whole says nothing about its records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from aiohttp import web

from closedwon.errors import AttentionReason, DoubtfulError
from closedwon.ids import RecordId
from closedwon.salesforce.api.rest import NO_RECORD, SalesforceClient
from closedwon.salesforce.api.scan import pages
from closedwon.salesforce.errors import CallRefusedError
from tests.unit.salesforce.resting import Rest, record_ids, refused


async def _read(client: SalesforceClient, record_id: RecordId) -> None:
    await client.read("Opportunity", "Name", record_id)


async def _update(client: SalesforceClient, record_id: RecordId) -> None:
    await client.update("Opportunity", record_id, {"Name": "x"})


@pytest.mark.parametrize("call", [_read, _update])
@pytest.mark.parametrize(
    ("status", "code"), [(404, "NOT_FOUND"), (403, "INSUFFICIENT_ACCESS"), (400, "SOMETHING_NEW"), (413, "")]
)
async def test_a_refused_call_is_a_doubt_about_the_settings(
    call: Callable[[SalesforceClient, RecordId], Awaitable[None]], status: int, code: str
) -> None:
    """No record counts as gone or refused, and an unknown code of all calls is not split to single records."""
    rest = Rest(on_query=lambda _: refused(status, code), on_collection=lambda _: refused(status, code))
    async with rest.client() as client:
        ids = record_ids(200 if status != 413 else 1)
        raised = await asyncio.gather(*(call(client, one) for one in ids), return_exceptions=True)

    doubts = [error.attention for error in raised if isinstance(error, DoubtfulError)]
    assert len(ids) == len(doubts)
    expected = AttentionReason.SALESFORCE_REJECTED if code == "SOMETHING_NEW" else AttentionReason.CONFIGURATION
    assert {expected} == {attention.reason for attention in doubts}
    assert 30 > len(rest.soql) + len(rest.collections)


async def test_a_page_that_cannot_be_smaller_is_a_doubt_about_the_settings() -> None:
    """A sweep ends with a question instead of the same query for a month."""
    rest = Rest(on_query=lambda _: refused(400, "QUERY_TIMEOUT"))
    now = datetime.now(UTC)
    async with rest.client() as client:
        with pytest.raises(DoubtfulError) as raised:
            _ = [page async for page in pages(client, "Opportunity", "Name", where="X = 1", since=now, until=now)]

    assert AttentionReason.CONFIGURATION is raised.value.attention.reason
    assert "`where`" in raised.value.attention.hint


async def test_an_object_whose_updates_are_refused_as_a_whole_is_remembered_until_a_call_is_taken() -> None:
    """No read shows it, so the running checks ask for an update of no record: its own refusal is a success."""
    is_refusing = True
    nothing_there = [{"success": False, "errors": [{"statusCode": "INVALID_CROSS_REFERENCE_KEY", "message": "x"}]}]
    rest = Rest(on_collection=lambda _: refused(404, "NOT_FOUND") if is_refusing else web.json_response(nothing_there))
    async with rest.client() as client:
        with pytest.raises(CallRefusedError):
            await _update(client, *record_ids(1))
        assert {"Opportunity"} == client.refused_updates
        with pytest.raises(CallRefusedError):
            await client.update_nothing("Opportunity")
        is_refusing = False
        await client.update_nothing("Opportunity")

    assert set() == client.refused_updates
    assert {"attributes": {"type": "Opportunity"}, "id": NO_RECORD} == rest.collections[-1][0]


async def test_a_refused_query_of_many_records_is_a_doubt_about_the_settings() -> None:
    """A sweep does not need a person because a proxy has answered for some seconds."""
    rest = Rest(on_query=lambda _: refused(403, "INSUFFICIENT_ACCESS"))
    async with rest.client() as client:
        with pytest.raises(CallRefusedError):
            await client.query("SELECT Id FROM Opportunity")
        with pytest.raises(CallRefusedError):
            await client.count("SELECT COUNT() FROM Opportunity")
