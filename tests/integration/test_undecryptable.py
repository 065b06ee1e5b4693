"""What a process with a wrong key has written is found, is not under way, and keeps no deal from its order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from closedwon import names
from closedwon.encryption.codec import KeyMissingError
from closedwon.ids import RecordId
from closedwon.model.sweeps import Gap, GapReason, SweepProgress, SweepStart
from closedwon.names import OrderStage
from closedwon.operations import doctor, undecryptable
from closedwon.operations.troubles import Harm
from closedwon.settings import Key
from closedwon.temporal.key_checks import WrongKeyError, ensure_key_checks
from closedwon.temporal.sweeps import open_gaps, start_sweep, sweep_attributes
from closedwon.temporal.visibility import WEDGED
from tests.support.command import closedwon
from tests.support.encryption import fresh_key, keyed, mistaken, settings_file, with_keys
from tests.support.handoff import Handoff, handoff, until
from workers.sweeps import sync_schedules


class _Keys:
    """The right key, and the wrong one that had its id."""

    def __init__(self) -> None:
        self.right, self.wrong = fresh_key("2026-11"), fresh_key("2026-11")


@asynccontextmanager
async def _world(keys: _Keys) -> AsyncIterator[Handoff]:
    async with handoff(encryption=keyed(keys.right), sweep={"lag": timedelta(0)}) as world:
        world.org.seed(3)
        await ensure_key_checks(world.client)
        yield world


def _having(world: Handoff, *keys: Key) -> Client:
    return with_keys(world.client, keyed(*keys))


async def _win_with(world: Handoff, key: Key) -> RecordId:
    """A deal whose notification was accepted by a process with this key."""
    right, world.client = world.client, _having(world, key)
    try:
        (record,) = await world.win(1)
    finally:
        world.client = right
    return record


async def _found(client: Client) -> set[str]:
    return {one.id async for one in undecryptable.undecryptable(client)}


async def _is_wedged(client: Client, number: int) -> bool:
    return (await client.count_workflows(WEDGED)).count == number


async def test_only_what_the_wrong_key_has_written_is_found() -> None:
    """An order that a process with the wrong key has tried in vain is not lost; one that it has signaled is."""
    keys = _Keys()
    async with _world(keys) as world:
        world.erp.faults.reject = 2
        async with world.working(subscriber=False):
            tried, signaled = await world.win(2)
            for record in (tried, signaled):
                await world.until_stage(record, OrderStage.ATTENTION)
        right, world.client = world.client, _having(world, keys.wrong)
        async with world.working(subscriber=False):
            await right.get_workflow_handle(world.order(tried).id).signal(names.SIGNAL_RETRY)

            async def has_failed() -> bool:
                history = await right.get_workflow_handle(world.order(tried).id).fetch_history()
                return any(event.HasField("workflow_task_failed_event_attributes") for event in history.events)

            await until(has_failed)
        await world.order(signaled).signal(names.SIGNAL_RETRY, "from a desk with the wrong key")
        world.client = right
        started = await _win_with(world, keys.wrong)
        await world.until_listed()

        lost = {world.order(record).id for record in (signaled, started)}
        assert lost == await _found(world.client)
        assert set() == await _found(_having(world, keys.right, mistaken(keys.wrong)))
        with pytest.raises(WrongKeyError):
            await _found(_having(world, keys.wrong))
        with pytest.raises(KeyMissingError):
            await _found(_having(world, fresh_key("2026-12")))


async def test_r5_what_cannot_continue_is_not_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit, sweep and doctor say that a person must do something, and what; nothing waits without end."""
    keys = _Keys()
    async with _world(keys) as world, world.working(subscriber=False):
        record = await _win_with(world, keys.wrong)
        await until(lambda: _is_wedged(world.client, 1))
        report = await world.audit()
        now = datetime.now(UTC)
        start = SweepStart(
            org=world.org.org_id, route="won-0", since=now - timedelta(hours=1), until=now + timedelta(hours=1)
        )
        await start_sweep(world.client, start, "sweep:by-hand")
        sweep = world.client.get_workflow_handle("sweep:by-hand", result_type=SweepProgress)
        progress: SweepProgress = await sweep.result()
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        (wedged,) = [one for one in await doctor.examine(world.settings) if one.subject == "wedged workflows"]

    assert () == report.under_way
    assert [(record, False)] == [(one.record, one.fixable) for one in report.findings]
    assert "cannot continue" in report.findings[0].workflow
    assert (0, 1) == (progress.under_way, progress.attention)
    assert "was written with a wrong encryption key" in wedged.text
    assert "closedwon codec undecryptable" in wedged.hint


async def test_doctor_names_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before all else, with both fingerprints."""
    keys = _Keys()
    async with _world(keys) as world:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        world.settings = world.settings.model_copy(update={"encryption": keyed(keys.wrong)})
        first = (await doctor.examine(world.settings))[0]
    assert (Harm.STOPPED, "key 2026-11") == (first.harm, first.subject)
    assert "is a wrong key: its fingerprint" in first.text


async def test_what_is_terminated_is_ordered_again_and_its_gaps_and_sweeps_go_on(tmp_path: Path) -> None:
    """The wrong key is lost: gaps are swept again, schedules are made again, a pause stays."""
    keys = _Keys()
    async with _world(keys) as world:
        org, client = world.org.org_id, _having(world, keys.wrong)
        first, second = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
        gap = Gap(since=first, until=second, reason=GapReason.BUS_MOVED)
        gap_id = names.gap_workflow_id(org, "won-0", first, second)
        await client.start_workflow(
            names.SWEEP_WORKFLOW,
            SweepStart(org=org, route="won-0", gap=gap),
            id=gap_id,
            task_queue=names.ORDERS_QUEUE,
            memo={names.MEMO_GAP: gap},
            search_attributes=sweep_attributes(org, "won-0"),
        )
        record = await _win_with(world, keys.wrong)
        settings = world.settings.model_copy(update={"encryption": keyed(keys.wrong)})
        await sync_schedules(client, settings)
        paused = world.client.get_schedule_handle(names.sweep_schedule_id(org, "won-0"))
        await paused.pause(note="closing")
        await world.until_listed(record)
        sweeps_and_audits = f"WorkflowType IN ('{names.SWEEP_WORKFLOW}', '{names.AUDIT_WORKFLOW}')"
        await until(lambda: _lists(world.client, sweeps_and_audits, 3))  # of the gap, and of two schedules
        (listed,) = [one async for one in open_gaps(world.client)]
        assert (gap_id, "unknown") == (listed.workflow_id, listed.gap.reason)

        found = [one async for one in undecryptable.undecryptable(world.client)]
        ended = await undecryptable.end(world.client, world.settings, found)
        assert {gap_id, world.order(record).id} < {one.id for one in found}
        assert (4, 1, 2) == ended
        assert "closing" == (await paused.describe()).schedule.state.note
        assert (await paused.describe()).schedule.state.paused

        async with world.working(subscriber=False):
            await until(lambda: _is_completed(world.client, gap_id))
            config = settings_file(tmp_path, keyed(keys.right))
            code, text = await closedwon(world.client, "codec", "undecryptable", CLOSEDWON_CONFIG=str(config))
        assert (0, "Every open workflow can be decrypted.\n") == (code, text)


async def _lists(client: Client, query: str, number: int) -> bool:
    return (await client.count_workflows(query)).count == number


async def _is_completed(client: Client, workflow_id: str) -> bool:
    described = await client.get_workflow_handle(workflow_id).describe()
    return described.status is WorkflowExecutionStatus.COMPLETED
