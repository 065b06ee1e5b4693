"""A handoff world whose ERP is behind a facade that changes its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.settings import RestErp
from tests.support.deals import (
    QUICK,
    attention_reason,
)
from tests.support.facade import Hook, facade
from tests.support.handoff import Handoff, handoff


@asynccontextmanager
async def behind(hook: Hook, *, in_doubt_for: float = 6, **route: Any) -> AsyncIterator[Handoff]:
    """A world with a running worker, whose ERP is behind a facade; `in_doubt_for` is in seconds."""
    async with handoff(**QUICK, **route) as world, facade(world.erp, hook) as there:
        erp = RestErp(
            kind="rest",
            name="stub",
            url=there.url,
            token=SecretStr(there.token),
            in_doubt_for=timedelta(seconds=in_doubt_for),
        )
        world.settings = world.settings.model_copy(update={"erps": (erp,)})
        async with world.working():
            yield world


def is_creation(request: web.Request) -> bool:
    """Whether the request creates an order."""
    return request.method == "POST" and request.path == "/orders"


async def is_because(world: Handoff, record: RecordId, expected: AttentionReason) -> bool:
    """Whether the order needs attention for this reason."""
    return expected == await attention_reason(world, record)
