"""A record that a sweep cannot hand on waits for a person, and keeps no other record of its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.common import MetricMeter

from activities import sweep_starts
from activities.sweep_starts import SweepStarts
from closedwon.ids import RecordId
from closedwon.model.messages import UnparseableMessage
from closedwon.model.sweeps import SeenRecord, StartOrders
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import UnstorableError


async def test_a_record_that_cannot_be_stored_is_kept_for_a_person(
    example: str, load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is parked under an id of its own version, and counts as no order; the activity goes on."""
    parked: list[UnparseableMessage] = []

    async def refuse(*_: Any, **__: Any) -> None:
        raise UnstorableError

    async def park(_: Client, message: UnparseableMessage) -> None:
        parked.append(message)

    monkeypatch.setattr(sweep_starts, "accept", refuse)
    monkeypatch.setattr(sweep_starts, "park_unparseable", park)
    settings = load(example)
    route, org = settings.routes[0], settings.orgs[0].id
    seen = SeenRecord(
        record=RecordId("006000000000001AAA"), modified_at=datetime(2026, 11, 24, tzinfo=UTC), qualifies=True
    )
    starts = SweepStarts(settings, {}, cast("Client", None), Metrics(MetricMeter.noop))
    request = StartOrders(org=org, route=route.name, records=(seen,))

    assert [False, False] == [await starts._start(request, route, seen) for _ in range(2)]
    assert 1 == len({message.id for message in parked})
    assert "half a surrogate pair" in parked[0].problem
    assert seen.record in parked[0].problem
    assert {"payload": None} == json.loads(parked[0].raw)
