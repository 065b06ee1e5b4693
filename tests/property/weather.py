"""Random faults that affect all histories of a world: kills, lost replies, late effects, wrong answers of the ERPs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from closedwon import names
from closedwon.errors import AttentionReason
from tests.property.routes import ERPS
from tests.property.world import Talk

_CALM: dict[str, Any] = {"lose_reply": 0, "late": 0, "busy": 0, "hold": 0, "hold_for": 0, "lie": None}
_WITHOUT_VERSIONS = "south"
"""The ERP that cannot refuse a change which was meant for an older version of an order."""
_LIES = (
    "find-other", "find-two", "find-no-key", "find-other-key", "create-other", "create-other-key", "create-cancelled",
    "confirm-other", "cancel-other", "cancel-unmoved", "amend-other", "number-other", "claim-other",
)  # fmt: skip
_A_LIE = 0.4
"""Seconds that an ERP answers wrongly at a time: it hits some, and not all."""
_HELD = 2.5
"""Seconds until a write takes effect that got no answer: less than `in_doubt_for` of the settings."""


ALL = ("kill", "late", "hold", "lie", "busy", "lose")
"""The faults that the product must survive. `hold-long` and `forget-filter` show what a removed rule prevents."""


class Weather:
    """Causes random faults of the given kinds until `over` is called."""

    def __init__(self, talk: Talk, chance: random.Random, ways: Sequence[str] = ALL) -> None:
        self._talk = talk
        self._chance = chance
        self._ways = ways
        self.strikes: Counter[str] = Counter()
        self._task = asyncio.create_task(self._blow())

    async def over(self) -> None:
        """End the faults: every process runs, and no reply is lost, late or wrong any more."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()
        world = self._talk.world
        for part in (*world.servers, *world.processes):
            if part.exit_code is not None:
                await part.start()
        for erp in ERPS:
            await self._arm(erp, _CALM)

    async def _blow(self) -> None:
        for erp in ERPS:
            await self._arm(erp, {})
        while self._ways:
            await asyncio.sleep(self._chance.uniform(0.1, 0.4) * len(self._ways))
            await self._strike(self._chance.choice(self._ways), self._chance.choice(ERPS))

    async def _strike(self, way: str, erp: str) -> None:
        chance = self._chance
        self.strikes[way] += 1
        match way:
            case "kill":
                await self._kill()
            case "late":
                await self._arm(erp, {"late": chance.choice((0, _HELD))})
            case "hold":
                only = chance.choice((None, "create", "confirm", "amend", "cancel", "claim"))
                await self._arm(erp, {"hold": 3, "hold_for": _HELD, "hold_only": only})
            case "lie":
                await self._arm(erp, {"lie": chance.choice(_LIES)})
                await asyncio.sleep(_A_LIE)
                await self._arm(erp, {"lie": None})
            case "busy":
                await self._arm(erp, {"busy": 5})
            case "lose":
                await self._arm(erp, {"lose_reply": 3})
            case "hold-long":  # until it is over: without a fence nothing would wait for that
                await self._arm(erp, {"hold": 2, "hold_for": 600, "hold_only": chance.choice(("amend", "cancel"))})
            case "forget-filter":
                await self._arm(erp, {"lie": "find-other"})
                await asyncio.sleep(_A_LIE)

    async def _kill(self) -> None:
        world = self._talk.world
        mortal = [*world.workers, *world.workers, world.intake, *world.erps.values(), world.subscriber]
        part = self._chance.choice(mortal)
        await part.kill()
        await part.start()
        if part.name in ERPS:
            await self._arm(part.name, {})

    async def _arm(self, erp: str, faults: dict[str, Any]) -> None:
        versions = {"no_versions": erp == _WITHOUT_VERSIONS}
        await self._talk.ask_erp(erp, "/_admin/faults", json=faults | versions)


async def heal(talk: Talk) -> int:
    """Send `retry` to the orders that wait because an ERP answered wrongly, as people do when it was corrected.

    Returns how many there were.
    """
    reason = AttentionReason.ERP_ANSWER_WRONG.value
    query = (
        f"WorkflowType = '{names.ORDER_WORKFLOW}' AND ExecutionStatus = 'Running' AND "
        f"{names.ATTENTION_REASON} = '{reason}' AND {names.ORDER_STAGE} = 'attention'"
    )
    waiting = [each.id async for each in talk.client.list_workflows(query)]
    for workflow in waiting:
        handle = talk.client.get_workflow_handle(workflow)
        await handle.signal(names.SIGNAL_RETRY, {"by": "the test", "reason": "the ERP answers rightly again"})
    return len(waiting)
