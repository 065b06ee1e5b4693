"""The one notation of durations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon import durations


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("24h", timedelta(hours=24)),
        ("30d", timedelta(days=30)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
        ("0s", timedelta(0)),
    ],
)
def test_each_unit_and_any_combination_is_parsed(text: str, duration: timedelta) -> None:
    """A duration is a number and a unit, or several of them from the longest to the shortest."""
    assert duration == durations.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "1",
        "30 s",
        "30S",
        "-5s",
        "1.5h",
        "30m1h",
        "1m1m",
        "1y",
        "1h ",
        "PT",
        "P",
        "٣s",
        "1e3s",
        "9" * 12 + "d",
    ],
)
def test_any_other_text_is_an_error_in_one_sentence(text: str) -> None:
    """The error says that a duration is expected."""
    with pytest.raises(ValueError, match=r"^must be a duration[^\n]+$"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("30", "30s"),
        ("0.5", "500ms"),
        ("900", "15m"),
        ("PT15M", "15m"),
        ("P30D", "30d"),
        ("PT1H30M", "1h30m"),
        ("PT0.5S", "500ms"),
        ("P1W", "7d"),
    ],
)
def test_a_bare_number_and_iso_8601_are_errors_that_give_the_right_text(wrong: str, right: str) -> None:
    """The error names the notation and what to write instead."""
    with pytest.raises(ValueError, match="must be a duration: write ") as error:
        durations.parse(wrong)
    assert f'write "{right}"' in str(error.value)
    assert durations.NOTATION in str(error.value)


@pytest.mark.parametrize("text", ["0s", "250ms", "30s", "15m", "1h30m", "1d", "30d", "1d2h3m4s5ms"])
def test_a_written_duration_is_parsed_to_the_same(text: str) -> None:
    """`text` is the inverse of `parse`, and uses the longest units."""
    assert text == durations.text(durations.parse(text))


def test_a_negative_duration_cannot_be_written() -> None:
    """The notation has no sign."""
    with pytest.raises(ValueError, match="negative"):
        durations.text(timedelta(seconds=-1))
