"""Reads of many records with many fields: each request line stays below what proxies accept."""

from __future__ import annotations

import asyncio
from urllib.parse import quote_plus

from tests.unit.salesforce.resting import Rest, record_ids


async def test_p8_a_query_that_is_too_long_for_proxies_is_split_before_it_is_sent() -> None:
    """Each record is read once, and no refusal teaches it."""
    rest = Rest()
    select = ", ".join(["Id", *(f"Field_{number:04d}__c" for number in range(300))])
    async with rest.client() as client:
        read = await asyncio.gather(*(client.read("Opportunity", select, one) for one in record_ids(100)))
    assert record_ids(100) == [one["Id"] for one in read if one is not None]
    assert 7_500 > max(len(quote_plus(soql)) for soql in rest.soql)
