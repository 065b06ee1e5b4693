"""One cause is one alert, one line of `doctor`, one hint, however many orders have it."""

from __future__ import annotations

from aiohttp import web

from closedwon import names
from closedwon.facts import overview
from closedwon.operations.causes import needing_attention
from closedwon.settings import RestErp
from tests.support import checks as support
from tests.support.facade import Facade, facade
from tests.support.handoff import handoff, until

_MANY = 12


async def _refuse_all(_facade: Facade, request: web.Request, body: bytes) -> web.Response | None:
    """The period is closed; each refusal quotes the deal's own id and number."""
    if request.method != "POST":
        return None
    return web.json_response({"detail": f"Period 12/2026 is closed (request {hash(body) % 10_000})"}, status=422)


async def test_many_orders_with_one_cause_are_one_alert_and_one_line() -> None:
    """Also after a person has tried again, and the cause is still there: then it is one more."""
    async with handoff() as world, facade(world.erp, _refuse_all) as there, support.alerting(world) as hook:
        (erp,) = world.settings.erps
        assert isinstance(erp, RestErp)
        world.settings = world.settings.model_copy(update={"erps": (erp.model_copy(update={"url": there.url}),)})
        async with support.checked(world, subscriber=False):
            world.org.seed(_MANY)
            won = await world.win(_MANY)
            for record in won:
                await world.until_stage(record, names.OrderStage.ATTENTION)
            await until(lambda: hook.taken)
            counted = await overview.stages(world.client)
            (line,) = await needing_attention(world.client, await overview.reasons_of(world.client, counted))
            assert line.text.startswith(f"{_MANY} need attention. ")
            assert "Period 12/2026 is closed" in line.text
            assert "closedwon orders retry --reason erp-rejected" in line.hint
            for record in won:
                await world.order(record).signal(names.SIGNAL_RETRY)
            await until(lambda: len(hook.taken) >= 2)
            for record in won:
                await world.until_stage(record, names.OrderStage.ATTENTION)
        assert [("order", "stub", "erp-rejected")] * 2 == [
            (one["kind"], one["erp"], one["reason"]) for one in hook.taken
        ]
