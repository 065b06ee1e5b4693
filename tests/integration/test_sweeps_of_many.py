"""Sweeps of many records: read by query jobs, over several runs, and nothing is missing or ordered twice."""

from __future__ import annotations

from typing import Any

import pytest

from closedwon.salesforce.api import bulk
from closedwon.salesforce.api.rest import SalesforceClient
from tests.support.handoff import handoff, until
from tests.support.histories import keep_history
from tests.support.servers import start_temporal
from tests.support.sweeps import AT_ONCE, begin, sweep, swept


async def test_many_records_are_read_by_a_query_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 10 000 records (here: 5) Salesforce is asked once, by the Bulk API, and all are found."""
    monkeypatch.setattr("activities.sweeps._MANY", 5)
    monkeypatch.setattr("activities.sweeps._BULK_PAGE", 4)
    monkeypatch.setattr("activities.sweeps._JOB_POLL", 0.01)
    async with swept() as world:
        world.org.seed(12)
        won = world.org.win_next(10)
        found = await sweep(world)
        await world.until_written_back(*won)
        jobs = world.org.api_calls["POST /jobs/query"]

        assert (10, 10, 10) == (found.total, found.found, found.started)
        assert 2 == jobs  # those that qualify, and those that do not and have a number
        assert 10 == len(world.erp.orders())


async def test_a_query_job_that_is_gone_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes the job between two pages: the scan starts again, and no record is missing or ordered twice."""
    monkeypatch.setattr("activities.sweeps._MANY", 5)
    monkeypatch.setattr("activities.sweeps._BULK_PAGE", 4)
    monkeypatch.setattr("activities.sweeps._JOB_POLL", 0.01)
    really_read, pages = bulk.results, iter(range(100))

    async def read(client: SalesforceClient, job: str, **how: Any) -> bulk.Results:
        if next(pages) == 1:
            await client.call(lambda salesforce: salesforce.restful(f"jobs/query/{job}", method="DELETE"))
        return await really_read(client, job, **how)

    monkeypatch.setattr(bulk, "results", read)
    async with swept() as world:
        world.org.seed(12)
        won = world.org.win_next(10)
        found = await sweep(world)
        await world.until_written_back(*won)

        assert 10 == found.total
        assert 10 <= found.found <= 14  # of the four that were read before, those without a number yet come again
        assert 10 == len(world.erp.orders())


async def test_a_query_job_that_fails_is_made_again_with_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job fails: the pending activity shows it, and the retries do not use up the org's API calls."""
    monkeypatch.setattr("activities.sweeps._MANY", 5)
    really_ask, works = bulk.is_complete, False

    async def ask(client: SalesforceClient, job: str) -> bool:
        if not works:
            raise bulk.JobFailedError("Failed", "QUERY_TIMEOUT")
        return await really_ask(client, job)

    monkeypatch.setattr(bulk, "is_complete", ask)
    async with swept() as world:
        world.org.seed(12)
        won = world.org.win_next(10)
        handle = await begin(world)

        async def waits() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return any("QUERY_TIMEOUT" in one.last_failure.message and one.attempt > 2 for one in pending)

        await until(waits)
        failed = world.org.api_calls["POST /jobs/query"]
        works = True
        found = await handle.result()
        await world.until_written_back(*won)

        assert failed <= 3
        assert 10 == found.found


async def test_a_long_sweep_begins_a_new_run_and_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Continue-as-new keeps the span, the position and the counts."""
    monkeypatch.setattr("activities.sweeps._PAGE", 4)
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 30}
    async with (
        await start_temporal(**limit) as server,
        handoff(temporal_server=server, sweep=AT_ONCE) as world,
        world.working(subscriber=False),
    ):
        world.org.seed(22)
        won = world.org.win_next(20)
        handle = await begin(world)
        first_run = (await handle.describe()).run_id
        result = await handle.result()
        await world.until_written_back(*won)
        last_run = (await handle.describe()).run_id
        await keep_history(world.client, handle.id)

        assert (20, 20, 20) == (result.total, result.found, result.started)
        assert first_run != last_run
        assert 20 == len(world.erp.orders())
