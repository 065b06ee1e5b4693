"""Settings as lines of text, key by key with all defaults, to be read and compared. Never a secret: only where it is.

routes.won-deals.on_changed  "amend"
erps.tryton.key              { env = "TRYTON_KEY" }
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from closedwon import durations


class Difference(NamedTuple):
    """A key with two values; None where a side does not have it."""

    key: str
    left: str | None
    right: str | None


def lines(settings: BaseModel, raw: Mapping[str, Any]) -> dict[str, str]:
    """Return each key that has a value, in the order of the tables. `raw` is the file, which says where secrets are."""
    return dict(_lines("", settings, raw))


def differences(left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    """Yield what differs, in the order of the left side, then what only the right side has."""
    for key in (*left, *(key for key in right if key not in left)):
        if left.get(key) != right.get(key):
            yield Difference(key, left.get(key), right.get(key))


def _lines(key: str, value: Any, raw: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, SecretStr):
        yield key, _reference(raw)
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _lines(f"{key}.{field}".lstrip("."), getattr(value, field), _below(raw, field))
    elif isinstance(value, Sequence) and value and all(isinstance(one, BaseModel | SecretStr) for one in value):
        for place, one in enumerate(value):
            name = getattr(one, "name", None) or getattr(one, "id", None)
            yield from _lines(f"{key}.{name}" if name else f"{key}[{place}]", one, _below(raw, place))
    elif value is not None:
        yield key, _text(value)


def _below(raw: Any, key: str | int) -> Any:
    try:
        return raw[key]
    except (KeyError, IndexError, TypeError):
        return None


def _reference(raw: Any) -> str:
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((kind, where),) = raw.items()
        return f"{{ {kind} = {json.dumps(where)} }}"
    return "(a secret)"


def _text(value: Any) -> str:
    if isinstance(value, timedelta):
        return f'"{durations.text(value)}"'
    return json.dumps(value, default=str, ensure_ascii=False)
