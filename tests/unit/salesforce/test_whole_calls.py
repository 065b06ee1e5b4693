"""A call that Salesforce refuses as a whole says nothing about its records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from closedwon.errors import AttentionReason, DoubtfulError
from closedwon.ids import RecordId
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.api.scan import pages
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
