"""Reading many records page by page from a real Salesforce emulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.salesforce.api import scan
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import ConfigurationError
from tests.integration.salesforce.test_org_records import org_and_client

_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


async def _ids(client: SalesforceClient, **more: object) -> list[str]:
    asked = {"where": "IsWon = true", "since": _SINCE, "until": _UNTIL} | more
    found = scan.pages(client, "Opportunity", "Name", **asked)  # type: ignore[arg-type]
    return [record["Id"] async for page in found for record in page.records]


def _at_one_moment(org: SalesforceEmulator, deals: list[RecordId], moment: str) -> None:
    """Give records the same stamp, as a mass update does."""
    marks = ", ".join("?" * len(deals))
    milliseconds = round(datetime.fromisoformat(moment).timestamp() * 1000)
    org.store.db.execute(
        f'UPDATE "Opportunity" SET SystemModstamp = {milliseconds} WHERE Id IN ({marks})',  # noqa: S608
        deals,
    )


async def test_every_record_comes_once_over_many_pages() -> None:
    """Fifty won deals, half of them with the very same stamp, in pages of seven: each comes once, in order."""
    async with org_and_client() as (org, client):
        org.seed(60)
        won = org.win_next(50)
        _at_one_moment(org, won[10:35], "2026-01-02T03:04:05.678Z")
        before = client.calls
        found = await _ids(client, size=7)

        assert sorted(won) == sorted(found)
        assert 8 == client.calls - before


async def test_a_reader_goes_on_from_its_position() -> None:
    """What comes after a page's position is just what that page and those before it did not hold."""
    async with org_and_client() as (org, client):
        org.seed(20)
        won = org.win_next(20)
        _at_one_moment(org, won, "2026-01-02T03:04:05Z")
        asked = {"where": "IsWon = true", "since": _SINCE, "until": _UNTIL, "size": 5}
        first = await anext(scan.pages(client, "Opportunity", "Id", **asked))  # type: ignore[arg-type]
        kept = scan.Position.model_validate_json(first.position.model_dump_json())
        rest = await _ids(client, after=kept, size=5)

        assert (5, False) == (len(first.records), first.is_last)
        assert sorted(won) == sorted([record["Id"] for record in first.records] + rest)


async def test_the_span_is_half_open() -> None:
    """A record changed just at `since` is within, one changed just at `until` is not; so spans can be put together."""
    async with org_and_client() as (org, client):
        org.seed(3)
        won = org.win_next(3)
        moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        for place, deal in enumerate(won):
            _at_one_moment(org, [deal], (moment + timedelta(milliseconds=place)).isoformat())
        since, until = moment + timedelta(milliseconds=1), moment + timedelta(milliseconds=2)

        assert [won[1]] == await _ids(client, since=since, until=until)


async def test_deleted_records_come_when_asked_for() -> None:
    """`deleted` yields records in the recycle bin, marked as deleted; without it they are omitted."""
    async with org_and_client() as (org, client):
        org.seed(2)
        gone, there = org.win_next(2)
        org.delete("Opportunity", gone)
        asked = {"where": "IsWon = true", "since": _SINCE, "until": _UNTIL}
        (page,) = [page async for page in scan.pages(client, "Opportunity", "Name", deleted=True, **asked)]  # type: ignore[arg-type]

        assert [there] == await _ids(client)
        assert {gone: True, there: False} == {one["Id"]: one["IsDeleted"] for one in page.records}


async def test_a_condition_with_or_stays_within_its_span() -> None:
    """The route's own condition is put in parentheses: its OR cannot break out of the span."""
    async with org_and_client() as (org, client):
        org.seed(4)
        org.win_next(2)
        later = {"since": _UNTIL, "until": _UNTIL + timedelta(days=1)}

        assert [] == await _ids(client, where="IsWon = true OR IsWon = false", **later)


async def test_a_condition_that_the_org_does_not_understand_is_named() -> None:
    """A wrong field in the condition needs a person: a configuration error, with the hint."""
    async with org_and_client() as (_, client):
        with pytest.raises(ConfigurationError, match=r"INVALID_FIELD.*Wonn"):
            await _ids(client, where="Wonn = true")
