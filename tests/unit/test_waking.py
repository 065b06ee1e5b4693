"""The retry policy by which a waiting attempt is due now."""

from __future__ import annotations

from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon.operations.waking import Waker, policy_from_now


def _wait_after(attempt: int, *, woken_at: int) -> float:
    """Seconds after an attempt, as Temporal computes them."""
    policy = policy_from_now(woken_at)
    initial = policy.initial_interval.ToNanoseconds() / 1e9
    return float(initial * policy.backoff_coefficient ** (attempt - 1))


@pytest.mark.parametrize("attempt", [2, 3, 10, 31, 32, 130, 2880])
def test_an_attempt_is_due_a_second_after_the_one_before(attempt: int) -> None:
    """Whatever its number: that second is over when an order has waited."""
    assert pytest.approx(1, rel=0.01) == _wait_after(attempt, woken_at=attempt)


@pytest.mark.parametrize("attempt", [2, 10, 25])
def test_the_waits_after_it_double(attempt: int) -> None:
    """An ERP that is still away is not called every second."""
    waits = [_wait_after(attempt + later, woken_at=attempt) for later in range(4)]
    assert pytest.approx([1, 2, 4, 8], rel=0.05) == waits


def test_waits_grow_after_many_attempts_too() -> None:
    """After an outage of 30 hours: to a quarter of an hour within some 40 attempts."""
    assert _wait_after(130 + 45, woken_at=130) > 900


class _Without:
    """A server that answers each call with one error."""

    namespace = "default"

    def __init__(self, status: RPCStatusCode) -> None:
        self._status = status
        self.calls = 0
        self.workflow_service = self

    async def describe_workflow_execution(self, request: Any) -> None:
        del request
        self.calls += 1
        raise RPCError("no", self._status, b"")


@pytest.mark.parametrize(("status", "calls"), [(RPCStatusCode.UNIMPLEMENTED, 1), (RPCStatusCode.NOT_FOUND, 2)])
async def test_orders_that_cannot_be_woken_get_the_command(status: RPCStatusCode, calls: int) -> None:
    """A server that does not know how is asked once, not for each of ten thousand orders."""
    server = _Without(status)
    waker = Waker(cast("Client", server), {})
    assert [False, False] == [await waker.wake("order:1"), await waker.wake("order:2")]
    assert calls == server.calls
