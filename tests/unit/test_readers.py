"""What a subscription's state means while its reader waits for the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from closedwon.facts.readers import Reader, ReaderState, reader
from closedwon.model.subscriptions import Cursor
from closedwon.settings import Settings
from closedwon.temporal.channels import ChannelState

_NOW = datetime.now(UTC)
_LONG_AGO = _NOW - timedelta(minutes=4)
_FAILED = ChannelState(
    is_started=True,
    is_reading=True,
    heartbeat=_LONG_AGO,
    cursor=Cursor(connecting_since=_LONG_AGO, sent_at=_LONG_AGO),
    problem="why it failed",
    attempt=3,
)


@pytest.fixture
def read(example: str, load: Callable[[str], Settings]) -> Callable[[ChannelState], Reader]:
    """Return a function that says what a state means."""
    settings = load(example)
    return lambda state: reader(settings.orgs[0], "/event/Won__e", state, settings, now=_NOW)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (_FAILED, ReaderState.NO_READER),
        (_FAILED._replace(backs_off=True), ReaderState.CUT_OFF),
        (_FAILED._replace(backs_off=True, is_refused=True), ReaderState.REFUSED),
        (_FAILED._replace(heartbeat=None, is_refused=True), ReaderState.REFUSED),
    ],
)
def test_a_reader_that_waits_for_its_next_attempt_is_not_a_dead_one(
    read: Callable[[ChannelState], Reader], state: ChannelState, expected: ReaderState
) -> None:
    """A pause may be longer than heartbeats may be missing: what counts is why the attempt before it failed."""
    found = read(state)
    assert expected is found.state
    assert ("why it failed" in found.text) is (expected is not ReaderState.NO_READER)


def test_a_refusal_before_the_reader_connected_again_is_over(read: Callable[[ChannelState], Reader]) -> None:
    """Temporal keeps the last failure of an activity while its next attempt works."""
    connected = Cursor(proved_at=_NOW, sent_at=_NOW)
    assert ReaderState.READING is read(_FAILED._replace(heartbeat=_NOW, cursor=connected, is_refused=True)).state
