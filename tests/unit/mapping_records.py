"""The record under test and how the mapping tests change and read it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import (
    map_order,
)
from closedwon.model.orders import Order
from closedwon.settings import Route

ORG = OrgId("00D5g000004Kx1X")


RECORD = RecordId("0065g00000AbCdE")


Fields = dict[str, Any]


Change = Callable[[str, str], Route]


ANY_PACE = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def mapped(route: Route, record: Fields) -> Order:
    """Map the record under test."""
    return map_order(route, ORG, RECORD, record)


def put(record: Fields, path: str, value: Any) -> Fields:
    """Return the record with another value at a dotted path; a number is a list's index."""
    record = copy.deepcopy(record)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    here: Any = record
    for key in parents:
        here = here[key]
    here[last] = value
    return record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


LINE = "OpportunityLineItems.records.1"
