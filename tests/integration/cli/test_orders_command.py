"""`closedwon orders retry` and `cancel`: one order, or all that a filter names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.command import closedwon
from tests.support.handoff import Handoff, handoff


@asynccontextmanager
async def _refused(deals: int) -> AsyncIterator[tuple[Handoff, list[RecordId]]]:
    """Won deals that the ERP refuses, and all of them in attention; the ERP would take them now."""
    async with handoff() as world, world.working():
        world.org.seed(deals)
        world.erp.faults.reject = deals
        refused = world.org.win_next(deals)
        for record in refused:
            await world.until_stage(record, OrderStage.ATTENTION)
        yield world, refused


async def test_retry_by_reason_reaches_all_that_were_refused_and_says_how_many() -> None:
    """After the ERP was corrected, one command is enough; the timelines of the orders show its reason."""
    async with _refused(7) as (world, refused):
        dry = await closedwon(world.client, "orders", "retry", "--reason", "erp-rejected", "--dry-run")
        assert (0, True) == (dry.code, "7 orders: 7 erp-rejected" in dry.text)
        other = await closedwon(world.client, "orders", "retry", "--reason", "unknown-product", "--yes")
        assert (0, True) == (other.code, "No open order matches" in other.text)
        assert [] == world.erp.orders()

        sent = await closedwon(
            world.client, "orders", "retry", "--reason", "erp-rejected", "--why", "prices corrected", "--yes"
        )

        assert (0, True) == (sent.code, "retry: 7 accepted" in sent.text)
        await world.until_written_back(*refused)
        assert 7 == len(world.erp.orders())
        timeline = await closedwon(world.client, "orders", "show", refused[0])
        assert "prices corrected" in timeline.text


async def test_more_than_a_handful_is_asked_for_and_no_means_no() -> None:
    """Anyone who forgets a filter sees how many orders are selected, before anything happens."""
    async with _refused(6) as (world, refused):
        asked = await closedwon(world.client, "orders", "cancel", "--all", answer="n\n")
        assert 1 == asked.code
        assert "6 orders" in asked.text
        assert {OrderStage.ATTENTION} == {await world.stage(record) for record in refused}

        agreed = await closedwon(world.client, "orders", "cancel", "--all", answer="y\n")
        assert 0 == agreed.code
        for record in refused:
            await world.until_stage(record, OrderStage.CANCELLED)


async def test_retry_for_all_decides_nothing_about_reopened_deals() -> None:
    """There `retry` keeps the order, which is not intended after an outage unless the reason is named."""
    async with handoff(grace=timedelta(0)) as world, world.working():
        record = await world.reopened_deal()

        every = await closedwon(world.client, "orders", "retry", "--all", "--yes")
        assert (0, True) == (every.code, "No open order matches" in every.text)
        named = await closedwon(world.client, "orders", "retry", "--reason", "no-longer-qualifies", "--yes")
        assert (0, True) == (named.code, "1 accepted" in named.text)
        assert OrderStage.COMPLETED is (await world.order(record).result()).stage


async def test_one_order_is_named_by_its_record() -> None:
    """No question is asked; an order that is done gets no command."""
    async with _refused(2) as (world, (first, second)):
        sent = await closedwon(world.client, "orders", "retry", first.short)
        assert (0, True) == (sent.code, "1 accepted" in sent.text), sent.text
        assert OrderStage.COMPLETED is (await world.order(first).result()).stage
        assert OrderStage.ATTENTION == await world.stage(second)

        late = await closedwon(world.client, "orders", "cancel", first)
        assert (1, True) == (late.code, "No order" in late.text), late.text
        assert 1 == len(world.erp.orders())


async def test_an_order_that_is_watched_is_selected_by_record_or_stage_only() -> None:
    """It is done, but open: its record or stage selects it; a selection of orders that are not done does not."""
    async with handoff(follow=True) as world, world.working():
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.FOLLOWING)

        every = await closedwon(world.client, "orders", "cancel", "--all", "--yes")
        assert (0, True) == (every.code, "No open order matches" in every.text)
        watched = await closedwon(world.client, "orders", "retry", "--stage", "following", "--dry-run")
        assert (0, True) == (watched.code, "1 order: 1 following" in watched.text)

        named = await closedwon(world.client, "orders", "cancel", record, "--why", "the customer withdrew")
        assert (0, True) == (named.code, "1 accepted" in named.text), named.text
        assert OrderStage.CANCELLED is (await world.order(record).result()).stage
        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]


async def test_a_command_for_nothing_in_particular_is_refused() -> None:
    """A bare `cancel` must not mean everything."""
    async with handoff() as world:
        bare = await closedwon(world.client, "orders", "cancel")
        assert (2, True) == (bare.code, "--all" in bare.text)


async def test_an_order_made_by_hand_is_named_and_one_that_is_not_needed_is_closed() -> None:
    """`resolve` writes the number of the order that exists; `skip` closes the deal; each says what becomes of it."""
    async with _refused(2) as (world, (by_hand, unneeded)):
        named = await closedwon(world.client, "orders", "resolve", by_hand, "L000042", "--why", "by phone")
        skipped = await closedwon(world.client, "orders", "skip", unneeded, "--why", "a test deal")
        assert (0, True) == (named.code, "1 accepted" in named.text and "L000042" in named.text), named.text
        assert (0, True) == (skipped.code, "closed as not needed" in skipped.text), skipped.text
        assert OrderStage.NOT_NEEDED is (await world.order(unneeded).result()).stage
        assert [] == world.erp.orders()


async def test_without_a_worker_a_command_is_kept_and_done_when_one_runs() -> None:
    """An update without an answer becomes a signal, which need not be sent again."""
    async with handoff() as world:
        async with world.working():
            world.org.seed(2)
            world.erp.faults.reject = 2
            refused = world.org.win_next(2)
            for record in refused:
                await world.until_stage(record, OrderStage.ATTENTION)
        sent = await closedwon(world.client, "orders", "retry", "--all")
        assert (0, True) == (sent.code, "retry: 2 sent" in sent.text), sent.text
        async with world.working():
            await world.until_written_back(*refused)


async def test_what_is_refused_is_reported_with_the_reason() -> None:
    """An order that the ERP has cannot be skipped; the exit code says that not all went well."""
    async with handoff() as world, world.working():
        world.org.seed(1)
        world.org.faults.lock_rows(10_000)
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.WRITING_BACK)
        refused = await closedwon(world.client, "orders", "skip", record)
        assert 1 == refused.code
        assert "1 refused: The ERP has order L000001 of this record" in refused.text


async def test_what_temporal_refuses_is_a_sentence() -> None:
    """A namespace that is not there: no stack trace, and the names of the settings."""
    async with handoff() as world:
        refused = await closedwon(world.client, "orders", "retry", "--all", TEMPORAL_NAMESPACE="elsewhere")
        assert 1 == refused.code
        assert "TEMPORAL_NAMESPACE" in refused.text
        assert "Traceback" not in refused.text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"TEMPORAL_CONFIG_FILE": __file__}, "TOML parse error"),
        ({"TEMPORAL_PROFILE": "elsewhere"}, "Profile 'elsewhere' not found"),
        ({"TEMPORAL_TLS_CLIENT_CERT_PATH": "/nowhere/cert.pem"}, "/nowhere/cert.pem cannot be read"),
        ({"TEMPORAL_ADDRESS": "://nowhere"}, "'://nowhere' is not a valid address"),
    ],
)
async def test_temporals_own_settings_that_are_wrong_are_a_sentence(
    temporal_server: WorkflowEnvironment, setting: dict[str, str], said: str
) -> None:
    """A profile, a file or an address: the error says what is wrong, and quotes no file that may hold an API key."""
    refused = await closedwon(temporal_server.client, "orders", "list", **setting)

    assert 1 == refused.code
    assert said in refused.text
    assert "TEMPORAL_CONFIG_FILE" in refused.text
    assert not any(word in refused.text for word in ("Traceback", "from __future__"))
