"""When the next batch may leave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from closedwon.salesforce.api.window import NORMAL, Pace, Window


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lengths(window: Window, clock: Clock, *sizes: int, apart: float = 0.0) -> list[float]:
    """Let batches leave, each at the end of the window of the one before, and at least so many seconds after it.

    Return the window that each one opens.
    """
    found = []
    for size in sizes:
        clock.now += max(window.delay(), apart)
        window.left(size)
        found.append(round(window.length, 3))
    return found


def test_the_first_caller_of_a_quiet_moment_leaves_at_once() -> None:
    """Before the first batch, and after the window of the last one, there is no delay, however long the window is."""
    clock = Clock()
    window = Window(clock=clock)

    assert 0.0 == window.delay()
    lengths(window, clock, *[10] * 8)
    assert 2.5 == window.delay()
    clock.now += 2.5
    assert 0.0 == window.delay()


def test_the_window_doubles_with_company() -> None:
    """Each batch of several callers doubles it, up to two and a half seconds."""
    clock = Clock()

    assert [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5] == lengths(Window(clock=clock), clock, 1, 2, 3, 100, 2, 2, 2)


def test_full_batches_do_not_lengthen_the_window() -> None:
    """They leave before it is over, so the rest of a burst does not wait longer for company."""
    clock = Clock()
    window = Window(clock=clock)
    for _ in range(10):
        window.left(100)

    assert 0.2 == window.delay()


def test_only_the_third_lone_caller_in_a_row_halves_the_window() -> None:
    """A flow has lone callers, too; they must not end its batches."""
    clock = Clock()
    window = Window(clock=clock)
    lengths(window, clock, *[2] * 6)

    assert [2.5, 2.5, 2.5, 2.5, 2.5] == lengths(window, clock, 1, 1, 5, 1, 1)
    assert [1.25, 0.625, 0.312, 0.156, 0.1, 0.1] == lengths(window, clock, *[1] * 6, apart=0.3)


def test_lone_callers_close_to_each_other_are_a_flow() -> None:
    """More than four a second, so evenly that no two of them meet in the shortest window."""
    clock = Clock()

    assert [0.1, 0.2, 0.4] == lengths(Window(clock=clock), clock, 1, 1, 1, apart=0.24)
    assert [0.1, 0.1, 0.1] == lengths(Window(clock=clock), clock, 1, 1, 1, apart=0.26)


def test_after_a_silence_it_starts_again() -> None:
    """Three windows without a caller: the next flow is another one."""
    clock = Clock()
    window = Window(clock=clock)
    lengths(window, clock, *[2] * 6)
    clock.now += 7.5
    window.left(1)

    assert NORMAL.first == window.length


def test_another_pace_counts_at_once() -> None:
    """The window keeps to the bounds that hold now, not to those of the time when the batch left."""
    clock, pace = Clock(), [Pace(0.1, 2.5)]
    window = Window(lambda: pace[0], clock)
    window.left(1)
    pace[0] = Pace(60.0, 60.0)
    clock.now += 20.0

    assert 40.0 == window.delay()
    clock.now += 40.0
    window.left(50)
    assert 60.0 == window.delay()
    pace[0] = Pace(0.1, 2.5)
    assert 2.5 == window.delay()


def test_full_batches_do_not_move_a_timetable() -> None:
    """Where the pace is fixed, those that did not fit into them leave when they were promised to."""
    clock = Clock()
    window = Window(lambda: Pace(60.0, 60.0), clock)
    window.left(1)
    clock.now += 57.0
    window.left(100)
    window.left(100)

    assert 3.0 == window.delay()
    clock.now += 3.0
    window.left(5)
    assert 60.0 == window.delay()


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 200)), max_size=60))
def test_no_caller_ever_waits_longer_than_the_longest_window(events: list[tuple[float, int]]) -> None:
    """Whatever happens: 0 <= delay <= length <= longest, and the length is never below the first."""
    clock = Clock()
    window = Window(clock=clock)
    for seconds, size in events:
        clock.now += seconds
        assert 0.0 <= window.delay() <= window.length
        window.left(size)
        assert NORMAL.first <= window.length <= NORMAL.longest
        assert window.length == window.delay()


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 200)), max_size=30))
def test_a_trickle_is_never_delayed_for_long(events: list[tuple[float, int]]) -> None:
    """After any history, at most eight lone callers come before the window is the first one again."""
    clock = Clock()
    window = Window(clock=clock)
    for seconds, size in events:
        clock.now += seconds
        window.left(size)

    assert NORMAL.first == lengths(window, clock, *[1] * 8, apart=1.0)[-1]


def test_a_window_begins_with_its_shortest_length() -> None:
    """The first caller of a process opens it."""
    assert NORMAL.first == Window().length
