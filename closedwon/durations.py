"""The one notation of durations: `"250ms"`, `"30s"`, `"15m"`, `"24h"`, `"30d"`, and combinations as in `"1h30m"`.

Settings, environment variables, the command line and the emulator's configuration all use it. No settings here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

NOTATION: Final = 'a number and a unit (ms, s, m, h, d), as in "250ms", "30s", "15m", "24h", "30d" or "1h30m"'
"""What a duration looks like, for error messages and help texts."""

_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
"""From the longest to the shortest: the order in which a combination must name them."""
_SHAPE: Final = re.compile(
    "".join(rf"(?:(\d+){unit}(?!s))?" if unit == "m" else rf"(?:(\d+){unit})?" for unit in _UNITS)
)
_SECONDS: Final = re.compile(r"\d+(?:\.\d+)?")
_ISO: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_ISO_UNITS: Final = (timedelta(weeks=1), *(_UNITS[unit] for unit in "dhms"))


def parse(text: str) -> timedelta:
    """Read a duration; `"0s"` is valid, a negative duration is not.

    Raises `ValueError` with one sentence that names the notation. For a bare number (read as seconds) and for ISO 8601
    text, which earlier versions accepted, the sentence gives the text to write instead.
    """
    found = _SHAPE.fullmatch(text) if text.isascii() else None
    if not text or found is None:
        raise ValueError(f"must be a duration: {_hint(text)}")
    try:
        return _sum(found, tuple(_UNITS.values()))
    except OverflowError:
        raise ValueError("must be a duration that is shorter than 2,700,000 years") from None


def text(duration: timedelta) -> str:
    """Write a duration so that `parse` returns it, rounded to milliseconds. Raises `ValueError` if it is negative."""
    if duration < timedelta(0):
        raise ValueError("a duration must not be negative")
    rest = round(duration / _UNITS["ms"]) * _UNITS["ms"]
    parts = []
    for unit, length in _UNITS.items():
        number, rest = divmod(rest, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _sum(found: re.Match[str], units: tuple[timedelta, ...]) -> timedelta:
    counts = zip(found.groups(), units, strict=True)
    return sum((_times(number, unit) for number, unit in counts if number is not None), timedelta(0))


def _times(number: str, unit: timedelta) -> timedelta:
    return float(number) * unit if "." in number else int(number) * unit


def _hint(wrong: str) -> str:
    """What to write instead: the very text if the intention is clear, else the notation."""
    meant = None
    try:
        if _SECONDS.fullmatch(wrong):
            meant = _times(wrong, _UNITS["s"])
        elif (found := _ISO.fullmatch(wrong)) and any(found.groups()):
            meant = _sum(found, _ISO_UNITS)
    except OverflowError:
        pass
    return NOTATION if meant is None else f'write "{text(meant)}" ({NOTATION})'
