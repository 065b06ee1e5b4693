"""Doctor, top, metrics, `/readyz`, audit and `orders show` say the same of each state, and it is true (R10, N3, N9)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from closedwon import names
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.erp.breaker import PROBE, Phase
from closedwon.facts import overview, readers
from closedwon.facts.queues import queues as facts_of_queues
from closedwon.facts.readers import ReaderState
from closedwon.facts.waits import waits
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.operations import doctor, erps, waiting
from closedwon.operations.troubles import Harm
from closedwon.temporal import queues
from closedwon.temporal.channels import ChannelState
from closedwon.temporal.key_checks import ensure_key_checks
from closedwon.temporal.queues import write_breaker_entry
from tests.support.breaker import until_phase
from tests.support.command import closedwon
from tests.support.encryption import fresh_key, keyed, settings_file, with_keys
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.metrics import Gauges, firing
from tests.support.witnesses import Witnesses, agreed, alerting, ask

_NOW = datetime.now(UTC)
_EVENTS = "events of org-0"
_BUS = f"org-0 {CHANNEL}"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[Handoff]:
    """One installation for all states, whose bus answers every second that there is nothing."""
    async with AsyncExitStack() as stack:
        org = await stack.enter_async_context(
            SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(seconds=1)))
        )
        world = await stack.enter_async_context(handoff(orgs=[org], follow=True, sweep={}))
        org.seed(12)
        yield world


@pytest.fixture(autouse=True)
def here(world: Handoff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let doctor find this Temporal; seconds for the minute that a reader may try to connect."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
    monkeypatch.setattr(readers, "_CONNECTING", timedelta(seconds=2))


@asynccontextmanager
async def _working(world: Handoff) -> AsyncIterator[None]:
    async with world.working():
        await _until(world, lambda seen: seen.gauge("reader_state", **_labels(ReaderState.READING)) == 1)
        yield


def _labels(state: ReaderState) -> dict[str, str]:
    return {"org": "org-0", "channel": CHANNEL, "state": state}


async def _until(world: Handoff, holds: Callable[[Witnesses], bool]) -> Witnesses:
    """Ask until something holds; return what was said then."""
    seen: list[Witnesses] = []

    async def is_so() -> bool:
        seen[:] = [await ask(world)]
        return holds(seen[0])

    await until(is_so, poll=0.2)
    return seen[0]


@pytest.mark.parametrize("alert", ["ClosedwonNoWorker", "ClosedwonCertificateExpires", "ClosedwonClock"])
def test_the_rules_that_are_evaluated_here_can_hold(alert: str) -> None:
    """A rule that the tests cannot read would never fire in them, and agree with nothing."""
    gauges = Gauges()
    gauges.metrics.pollers.set(0, {"queue": "orders", "kind": "workflow"})
    soon = (datetime.now(UTC) + timedelta(days=3)).timestamp()
    gauges.metrics.certificate_expires_at.set(soon, {"link": "intake", "side": "ours"})
    gauges.metrics.clock_ahead.set(31, {"org": "org-0"})
    assert alert in {name for name, _ in firing(gauges)}


async def _shows(world: Handoff, record: RecordId, *words: str) -> None:
    """`orders show` of an order says what the others count."""
    shown = await closedwon(world.client, "orders", "show", record, COLUMNS="300")
    assert 0 == shown.code, shown.text
    for word in words:
        assert word in shown.text, shown.text


async def _until_reader(world: Handoff, state: ReaderState) -> Witnesses:
    """Wait until the metrics and `top` show a state of the reader, one after the other; the others say the same."""
    await _until(
        world,
        lambda seen: seen.gauge("reader_state", **_labels(state)) == 1 and state.value in seen.line_of(_BUS),
    )
    seen = await agreed(world)
    assert 1 == sum(seen.gauge("reader_state", **_labels(one)) or 0 for one in ReaderState)
    assert state.is_well is (_EVENTS not in seen.doctor), seen.doctor
    assert state.is_well is (seen.not_ready == ""), seen.not_ready
    if not state.is_well:
        assert seen.doctor[_EVENTS].text.split(",")[0].split(":")[0] in seen.not_ready
    return seen


def test_n3_the_alert_fires_in_exactly_the_states_that_the_doctor_reports() -> None:
    """No state is a problem for one of them and none for the other."""
    assert {state.value for state in ReaderState if not state.is_well} == alerting("ClosedwonReaderSilent", "state")


async def test_r4_an_empty_temporal_has_no_subscription(world: Handoff) -> None:
    """Nothing reads, and no process may have noticed."""
    seen = await _until_reader(world, ReaderState.NO_SUBSCRIPTION)
    assert (Harm.LOSS, True) == (seen.doctor[_EVENTS].harm, "closedwon subscriber" in seen.doctor[_EVENTS].hint)
    assert Harm.STOPPED is seen.doctor["queue orders"].harm
    assert 0 == seen.gauge("pollers", queue="orders", kind="workflow")
    assert "none" in seen.line_of("stub")


async def test_n3_a_reader_is_connected_cut_off_and_connected_again(world: Handoff) -> None:
    """Its heartbeats go on while no part of the bus can be reached: they prove nothing."""
    async with _working(world):
        seen = await _until_reader(world, ReaderState.READING)
        assert 20 > (seen.gauge("reader_silence_seconds", org="org-0", channel=CHANNEL) or 99)
        world.org.faults.down()
        seen = await _until_reader(world, ReaderState.CUT_OFF)
        assert (Harm.LOSS, True) == (seen.doctor[_EVENTS].harm, "cannot reach" in seen.doctor[_EVENTS].text)
        world.org.faults.down(on=False)
        await _until_reader(world, ReaderState.READING)


async def test_r10_a_reader_that_was_stopped_counts_as_stopped_and_not_as_refused(world: Handoff) -> None:
    """Stopped gracefully, it leaves a subscription that waits for the next one."""
    async with _working(world):
        pass
    seen = await _until_reader(world, ReaderState.NO_READER)
    assert Harm.STOPPED is seen.doctor[_EVENTS].harm
    assert "no reader" in seen.doctor[_EVENTS].text
    assert "refuses" not in seen.doctor[_EVENTS].text


async def test_n3_a_channel_that_salesforce_refuses_says_why(world: Handoff) -> None:
    """It rests; that is neither a lack of readers nor of a connection."""
    world.org.faults.cometd_error("/meta/subscribe", "404::Unknown channel", times=1000)
    async with world.working():
        seen = await _until_reader(world, ReaderState.REFUSED)
        assert Harm.LOSS is seen.doctor[_EVENTS].harm
        assert seen.doctor[_EVENTS].text.startswith(f"Salesforce refuses {CHANNEL}: ")
        world.org.faults.clear()
        subscription = names.subscription_workflow_id(world.org.org_id, CHANNEL)
        await world.client.get_workflow_handle(subscription).signal(names.SIGNAL_RETRY)
        await _until_reader(world, ReaderState.READING)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ChannelState(is_started=True, is_deciding=True), ReaderState.CONNECTING),
        (ChannelState(is_started=True, unclaimed_since=_NOW - timedelta(seconds=1)), ReaderState.CONNECTING),
        (ChannelState(is_started=True, unclaimed_since=_NOW - timedelta(seconds=9)), ReaderState.NO_READER),
        (ChannelState(is_started=True), ReaderState.REFUSED),
    ],
)
def test_n3_a_hand_over_is_not_a_refusal(world: Handoff, state: ChannelState, expected: ReaderState) -> None:
    """Between two activities nothing reads, for a moment: no person is called for that."""
    assert expected is readers.reader(world.settings.orgs[0], CHANNEL, state, world.settings, now=_NOW).state


async def test_r10_a_poller_that_is_dead_is_not_a_worker(world: Handoff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal lists it for minutes after its last poll: that poll decides, for all of them."""
    async with _working(world):
        seen = await agreed(world)
        assert "queue orders" not in seen.doctor
        assert 1 == seen.gauge("pollers", queue="erp-stub", kind="activity")
    monkeypatch.setattr(queues, "_RECENTLY", timedelta(seconds=1))

    async def is_dead() -> bool:
        served = await facts_of_queues(world.client, world.settings)
        return any(queue.state.pollers for queue in served.values()) and not any(q.workers for q in served.values())

    await until(is_dead)
    seen = await agreed(world)
    for queue, kind in (("orders", "workflow"), ("erp-stub", "activity"), ("subscriber", "activity")):
        assert Harm.STOPPED is seen.doctor[f"queue {queue}"].harm
        assert 0 == seen.gauge("pollers", queue=queue, kind=kind)
    assert "none" in seen.line_of("stub")


async def test_r10_an_order_that_waits_for_a_person_waits_and_is_not_lost(world: Handoff) -> None:
    """By doctor, top, metrics, `orders list` and the audit."""
    async with _working(world):
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        seen = await agreed(world)
        await _shows(world, record, "attention", "erp-rejected")
        counts = (await world.audit()).counts
        assert "1 need attention" in seen.doctor["erp-rejected"].text
        assert 1 == seen.gauge("attention_now", reason="erp-rejected")
        assert "1" in seen.line_of("erp-rejected")
        assert (1, 0) == (counts.waiting, counts.missing)
        await world.order(record).signal(names.SIGNAL_SKIP)
        await world.until_stage(record, OrderStage.NOT_NEEDED)


async def test_r10_an_order_that_waits_for_its_erp_shows_attempt_failure_and_next_attempt(world: Handoff) -> None:
    """`orders show` and doctor take them from the same function."""
    async with _working(world):
        world.erp.faults.down = True
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ORDERING)

        async def backs_off() -> bool:
            found = await waits(world.client, world.order(record).id)
            return any(wait.attempt > 1 and wait.next_at is not None for wait in found)

        await until(backs_off)
        shown = await closedwon(world.client, "orders", "show", record, COLUMNS="300")
        world.erp.faults.down = False
        await world.order(record).signal(names.SIGNAL_RETRY)
        await world.until_written_back(record)
    (line,) = [line for line in shown.text.splitlines() if line.startswith("waits for create-order, attempt ")]
    assert "no answer" in line
    assert "the next attempt is at" in line


async def test_n9_orders_behind_an_erp_that_is_only_slow_are_reported(
    world: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call fails, so nothing but their age shows that they wait."""
    monkeypatch.setattr(waiting, "_SOON", timedelta(0))
    async with _working(world):
        world.erp.faults.slow = 3
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ORDERING)
        seen = await ask(world)  # not the audit, which would wait for the slow ERP
        world.erp.faults.slow = 0
        await world.until_written_back(record)
    assert "erp stub" not in seen.doctor
    assert (Harm.WAITING, True) == (seen.doctor["ordering"].harm, "create-order" in seen.doctor["ordering"].text)
    assert 1 == seen.gauge("open_orders", stage="ordering")


async def test_r5_a_workflow_that_cannot_continue_is_counted_by_all(world: Handoff) -> None:
    """Its code fails, or it lacks a key: doctor, `top` and metrics say so, and it is not lost."""
    record = RecordId("006000000000001")
    workflow_id = names.order_workflow_id(world.org.org_id, record)
    async with _working(world):
        await world.client.start_workflow(
            names.ORDER_WORKFLOW, "no input of ours", id=workflow_id, task_queue=names.ORDERS_QUEUE
        )
        await until(lambda: _wedged(world, 1), poll=1)  # Temporal marks it after five attempts
        seen = await agreed(world)
    assert 1 == seen.gauge("wedged_workflows")
    assert "1 cannot continue" in seen.doctor["wedged workflows"].text
    assert "1 cannot continue: closedwon doctor" in seen.top
    await world.client.get_workflow_handle(workflow_id).terminate()
    await until(lambda: _wedged(world, 0), poll=1)


async def _wedged(world: Handoff, number: int) -> bool:
    return await overview.wedged(world.client) == number


async def test_r5_a_wrong_key_is_reported_by_all(world: Handoff, tmp_path: Path) -> None:
    """Doctor names it with its fingerprint, and the commands refuse to work with it."""
    await ensure_key_checks(with_keys(world.client, keyed(fresh_key("2026-11"))))
    wrong = keyed(fresh_key("2026-11"))
    config = str(settings_file(tmp_path, wrong))
    found = await doctor.examine(world.settings.model_copy(update={"encryption": wrong}))
    (trouble,) = [one for one in found if one.subject == "key 2026-11"]
    assert (Harm.STOPPED, True) == (trouble.harm, "is a wrong key" in trouble.text)
    shown = await closedwon(world.client, "orders", "list", CLOSEDWON_CONFIG=config)
    assert (1, True) == (shown.code, "is not the one that Temporal knows" in shown.text)


async def test_r10_an_order_that_is_followed_is_at_its_stage_and_finished(world: Handoff) -> None:
    """`top` shows the stage; it is not unfinished, and no alert counts it."""
    async with _working(world):
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.FOLLOWING)
        await _until(world, lambda seen: (seen.gauge("open_orders", stage="following") or 0) >= 1)
        seen = await agreed(world)
        await _shows(world, record, "following")
    assert str(int(seen.gauge("open_orders", stage="following") or 0)) in seen.line_of("following")
    assert "0 unfinished" in seen.top
    assert seen.gauge("oldest_open_order_seconds", stage="following") is None


async def test_r10_a_paused_erp_and_one_that_is_not_reached_are_so_for_all(world: Handoff) -> None:
    """Both are limits of the queue, with a reason."""
    queue = names.erp_queue("stub")
    seen = []
    await erps.limit(world.client, "stub", 0, erps=["stub"], reason="closing", by="ada")
    seen.append(await agreed(world))
    await erps.limit(world.client, "stub", None, erps=["stub"], reason="", by="ada")
    await write_breaker_entry(world.client, queue, PROBE, reason="none connects", by="a test")
    await until_phase(world, Phase.PROBING)
    seen.append(await agreed(world))
    await write_breaker_entry(world.client, queue, None, reason="", by="a test")
    await until_phase(world, Phase.OPEN)
    seen.append(await agreed(world))

    assert [1, 0, 0] == [one.gauge("queue_paused", queue=queue) for one in seen]
    assert [0, 1, 0] == [one.gauge("queue_unreachable", queue=queue) for one in seen]
    assert [True, False, False] == ["paused" in one.line_of("stub") for one in seen]
    assert [False, True, False] == ["not reached" in one.line_of("stub") for one in seen]
    texts = [one.doctor["erp stub"].text if "erp stub" in one.doctor else "" for one in seen]
    assert ["paused" in texts[0], "not reached" in texts[1], texts[2]] == [True, True, ""]
