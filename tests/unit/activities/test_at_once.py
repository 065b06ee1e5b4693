"""When the first attempt of a step, within a workflow task, gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities import at_once as limits
from activities.at_once import NotAtOnceError, Promptness, at_once, is_local
from activities.heartbeats import run_to_completion
from closedwon.salesforce.api.coalesce import Coalescer
from closedwon.salesforce.api.window import Window
from tests.support.waiting import STALL

_SOON = 0.01


class _Sender:
    """A remote system that answers when it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        await self.go_on.wait()
        return list(items)


def _coalescer(sender: _Sender) -> Coalescer[int, int]:
    return Coalescer(sender, limit=10, parallel=1, window=Window())


def _environment(*, is_local: bool = True) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, is_local=is_local)
    return env


async def test_a_call_gives_up_soon_after_it_was_sent() -> None:
    """The time in which it waited for others to share its request does not count."""
    sender = _Sender()
    with pytest.raises(NotAtOnceError):
        await at_once(_coalescer(sender).submit(1), longest=STALL, after_sent=_SOON)
    assert [[1]] == sender.batches
    sender.go_on.set()


async def test_a_call_that_cannot_be_sent_gives_up_and_is_not_sent_later() -> None:
    """Another batch is under way: the regular activity submits the item again, and it is sent once."""
    sender = _Sender()
    coalescer = _coalescer(sender)
    first = asyncio.ensure_future(coalescer.submit(1))
    await sender.begun.wait()
    with pytest.raises(NotAtOnceError):
        await at_once(coalescer.submit(2), longest=_SOON, after_sent=STALL)
    regular = asyncio.ensure_future(coalescer.submit(3))
    sender.go_on.set()

    assert [1, 3] == list(await asyncio.gather(first, regular))
    assert [[1], [3]] == sender.batches


async def test_a_call_that_answers_is_not_stopped() -> None:
    """Its result counts, and nothing strikes later."""
    sender = _Sender()
    sender.go_on.set()
    assert 1 == await at_once(_coalescer(sender).submit(1), longest=STALL, after_sent=STALL)


async def test_a_local_activity_sends_no_heartbeat() -> None:
    """Temporal does not know of it."""
    beaten = asyncio.Event()

    @activity.defn
    async def work() -> int:
        async def call() -> int:
            async with asyncio.timeout(20 * _SOON):
                await beaten.wait()
            return 1

        return await run_to_completion(call())

    for local in (False, True):
        beaten.clear()
        env = _environment(is_local=local)
        env.info = replace(env.info, heartbeat_timeout=timedelta(seconds=_SOON))
        env.on_heartbeat = lambda *_: beaten.set()
        if local:
            with pytest.raises(NotAtOnceError):
                await env.run(work)
        else:
            assert 1 == await env.run(work)


async def test_a_system_that_was_slow_gets_no_local_activities_for_a_while() -> None:
    """One that hangs must not hold every task of every workflow; others, and regular activities, go on."""
    promptness = Promptness()
    entered: list[str] = []

    @activity.defn
    async def slow(system: str) -> None:
        with promptness.expected(system):
            entered.append(system)
            raise NotAtOnceError("slow")

    @activity.defn
    async def prompt(system: str) -> None:
        with promptness.expected(system):
            entered.append(system)

    with pytest.raises(NotAtOnceError):
        await _environment().run(slow, "a")
    with pytest.raises(NotAtOnceError):
        await _environment().run(prompt, "a")
    await _environment().run(prompt, "b")
    await _environment(is_local=False).run(prompt, "a")

    assert ["a", "b", "a"] == entered


async def test_a_slow_system_is_tried_again_after_ten_seconds() -> None:
    """By the clock of the process, which may be young; no sooner, and no later."""
    now = 0.5
    promptness = Promptness(lambda: now)

    @activity.defn
    async def slow() -> None:
        with promptness.expected("a"):
            raise NotAtOnceError("slow")

    @activity.defn
    async def prompt() -> None:
        with promptness.expected("a"):
            pass

    await _environment().run(prompt)
    with pytest.raises(NotAtOnceError):
        await _environment().run(slow)
    now = 10.4
    with pytest.raises(NotAtOnceError):
        await _environment().run(prompt)
    now = 10.5
    await _environment().run(prompt)


def test_outside_an_activity_nothing_is_local() -> None:
    """Checks of a process use the same clients."""
    assert not is_local()


def test_a_call_gives_up_before_temporal_does_and_temporal_before_a_heartbeat() -> None:
    """The SDK sends a heartbeat for the workflow's task after 8 seconds: it would then be scheduled again and again."""
    assert limits._AFTER_SENT < limits._CALL < limits.LONGEST.total_seconds() < 8
