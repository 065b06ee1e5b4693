"""Reads many records in the order of their last change: page by page, resumable, without gaps.

Keyset paging: each page requests the records after the last one read, by (SystemModstamp, Id). Three properties follow:

- No cursor lives in Salesforce that could expire. A position is two values of a record, and any process can continue
  from it.
- A page can be requested again. It may then differ: a record that changes meanwhile moves to the end of the order. So a
  reader may see a record twice, or not in this range but in the one after `until`. It never misses one for good.
- Records with the same stamp are ordered by Id, so a page may end between them.

A reader that runs again and again must let its ranges overlap. Salesforce sets a stamp before the transaction commits,
so a record may appear behind a position that the reader has already passed.

Source: SOQL and SOSL Reference, "Date Formats and Date Literals", "queryAll"; stamps are read with milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pydantic import AwareDatetime

from closedwon.ids import RecordId
from closedwon.model.base import Frozen
from closedwon.salesforce.api.rest import SalesforceClient, with_fields
from closedwon.salesforce.errors import TooLargeError, of_setting

PAGE: Final = 2000
"""Records per query: as many as one response of the REST API holds."""
_SMALLEST_PAGE: Final = 50


class Position(Frozen):
    """The last record that was read."""

    modified_at: AwareDatetime
    record: RecordId


class Page(NamedTuple):
    """Records in the order of their last change, and the position of the last one."""

    records: list[dict[str, Any]]
    position: Position
    is_last: bool
    """Whether no records followed when the page was read."""


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
    """Yield the records that match `where` (a SOQL condition) and changed last at or after `since` and before `until`.

    `select` is a SELECT list; `Id`, `SystemModstamp` and, with `deleted`, `IsDeleted` are added to it. `deleted` yields
    deleted records too, as long as they are in the recycle bin. `after` continues behind an earlier page. Makes one
    API call per page of at most `size` records, and never yields an empty page. Raises the errors of
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
        except TooLargeError as error:
            if size <= _SMALLEST_PAGE:
                raise of_setting(error, hint="Let the route's `select` or `where` ask for less.") from None
            size //= 2
            continue
        if not records:
            return
        after, is_last = position_of(records[-1]), len(records) < size
        yield Page(records, after, is_last)
        if is_last:
            return


def within(where: str, since: datetime, until: datetime) -> str:
    """The SOQL condition for records that match `where` and changed last at or after `since` and before `until`."""
    return f"({where}) AND SystemModstamp >= {soql_time(since)} AND SystemModstamp < {soql_time(until)}"


def position_of(record: dict[str, Any]) -> Position:
    """The position of a record in the order of changes."""
    return Position(modified_at=datetime.fromisoformat(record["SystemModstamp"]), record=RecordId(record["Id"]))


def soql_time(moment: datetime) -> str:
    """Format a moment for SOQL: UTC, milliseconds, `Z`, no quotes."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _behind(position: Position) -> str:
    at = soql_time(position.modified_at)
    return f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{position.record}'))"
