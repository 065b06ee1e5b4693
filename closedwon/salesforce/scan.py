"""Reading many records in the order in which they were last changed: page by page, resumable, nothing skipped.

Keyset paging: each page asks for what comes after the last record read, by (SystemModstamp, Id). So no cursor lives in
Salesforce that could expire, a page may be asked for again, and a reader that dies goes on from its position. A record
that changes meanwhile moves to the end of the order: it may be seen twice, or be left to whoever reads the time after
`until`. Who reads again and again takes an overlap: a stamp is set before its transaction commits, so a record may
appear behind the position.

Source: SOQL and SOSL Reference, "Date Formats and Date Literals", "queryAll"; stamps are read with milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic import AwareDatetime

from closedwon.ids import RecordId
from closedwon.model import Frozen
from closedwon.salesforce.errors import TooLargeError
from closedwon.salesforce.rest import SalesforceClient, with_fields

PAGE: Final = 2000
"""Records in one query: what one answer of the REST API holds."""
_SMALLEST_PAGE: Final = 50


class Position(Frozen):
    """The last record that was read."""

    modified_at: AwareDatetime
    record: RecordId


class Page(NamedTuple):
    """Records in the order of their last change, and where they end."""

    records: list[dict[str, Any]]
    position: Position
    is_last: bool
    """Nothing was behind it when it was read."""


async def pages(
    client: SalesforceClient,
    object_name: str,
    select: str,
    *,
    where: str,
    since: datetime,
    until: datetime,
    deleted: bool = False,
    after: Position | None = None,
    size: int = PAGE,
) -> AsyncIterator[Page]:
    """Yield the records that meet `where` (a SOQL condition) and were last changed from `since` to before `until`.

    `select` is a SELECT list; `Id`, `SystemModstamp` and, with `deleted`, `IsDeleted` are added to it. `deleted` yields
    deleted records too, as long as they are in the recycle bin. `after` continues behind an earlier page. One API
    call a page, of at most `size` records; no empty page is yielded. Raises the errors of
    `closedwon.salesforce.errors`.
    """
    fields = with_fields(object_name, select, "Id", "SystemModstamp", *(("IsDeleted",) if deleted else ()))
    span = within(where, since, until)
    while True:
        condition = span if after is None else f"{span} AND {_behind(after)}"
        soql = (
            f"SELECT {fields} FROM {object_name} WHERE {condition} "  # noqa: S608 - from our settings, and times
            f"ORDER BY SystemModstamp, Id LIMIT {size}"
        )
        try:
            records = await client.query(soql, deleted=deleted)
        except TooLargeError:
            if size <= _SMALLEST_PAGE:
                raise
            size //= 2
            continue
        if not records:
            return
        after, is_last = position_of(records[-1]), len(records) < size
        yield Page(records, after, is_last)
        if is_last:
            return


def within(where: str, since: datetime, until: datetime) -> str:
    """The SOQL condition for records that meet `where` and were last changed from `since` to before `until`."""
    return f"({where}) AND SystemModstamp >= {soql_time(since)} AND SystemModstamp < {soql_time(until)}"


def position_of(record: dict[str, Any]) -> Position:
    """Where a record stands in the order of changes."""
    return Position(modified_at=datetime.fromisoformat(record["SystemModstamp"]), record=RecordId(record["Id"]))


def soql_time(moment: datetime) -> str:
    """Write a moment as SOQL does: UTC, milliseconds, `Z`, no quotes."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _behind(position: Position) -> str:
    at = soql_time(position.modified_at)
    return f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{position.record}'))"
