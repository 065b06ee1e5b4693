"""Cases P11 and P12: what refuses for a moment needs no person; what keeps refusing is one alert."""

from __future__ import annotations

from aiohttp import web

from closedwon import names
from closedwon.erp.refusals import Refusals
from closedwon.settings import RestErp
from closedwon.streaks import WHILE
from tests.support import checks as support
from tests.support.facade import Facade, facade
from tests.support.handoff import Handoff, handoff, until

_ORDERS = 14


class _Deployed:
    """A facade's hook: while it is deployed, it answers everything in one way."""

    def __init__(self) -> None:
        self.answer: web.Response | None = None
        self.refused = 0

    async def __call__(self, _facade: Facade, _request: web.Request, _body: bytes) -> web.Response | None:
        if self.answer is None:
            return None
        self.refused += 1
        return web.Response(status=self.answer.status, body=self.answer.body, content_type=self.answer.content_type)


def _behind(world: Handoff, there: Facade) -> None:
    (erp,) = world.settings.erps
    assert isinstance(erp, RestErp)
    behind = erp.model_copy(update={"url": there.url})
    world.settings = world.settings.model_copy(update={"erps": (behind,)})


async def test_p11_a_facade_that_is_deployed_needs_no_person() -> None:
    """401, 403, 404, a redirection, a page with 400 and an empty object: each for some orders, all go on."""
    answers = [
        *(web.Response(status=status, text="<html>", content_type="text/html") for status in (401, 403, 404, 302, 400)),
        web.Response(status=200, text="{}", content_type="application/json"),
    ]
    hook = _Deployed()
    async with handoff() as world, facade(world.erp, hook) as there, support.alerting(world) as alerts:
        _behind(world, there)
        async with support.checked(world, subscriber=False):
            world.org.seed(_ORDERS)
            won = await world.win(2)
            await world.until_written_back(*won)
            for answer in answers:
                hook.answer, hook.refused = answer, 0
                won += await world.win(2)
                await until(lambda: hook.refused >= 2, what=f"refusals with {answer.status}")
                hook.answer = None
            await world.until_written_back(*won)
            assert 0 == await support.needed_attention(world)
        assert not alerts.taken


async def test_p11_an_erp_that_keeps_refusing_is_held_with_one_alert() -> None:
    """When the while is over, the ERP is checked and held: no order needs a person, and all go on afterwards."""
    hook, now = _Deployed(), 0.0
    async with handoff() as world, facade(world.erp, hook) as there, support.alerting(world) as alerts:
        _behind(world, there)
        async with support.checked(world, subscriber=False) as checks:
            world.org.seed(9)
            world.connections.contacts["stub"].refusals = Refusals(lambda: now)
            won = await world.win(1)
            await world.until_written_back(*won)
            hook.answer = web.Response(status=401)
            won += await world.win(8)
            await until(lambda: hook.refused >= 8)
            now = WHILE.total_seconds()
            await support.until_held(world, names.hold_workflow_id("erp", "stub"))
            await until(lambda: alerts.taken)
            hook.answer = None
            await checks.round()
            await world.until_written_back(*won)
            assert 0 == await support.needed_attention(world)
        assert ["check"] == [alert["kind"] for alert in alerts.taken]


async def test_p12_a_worker_with_other_settings_needs_no_person() -> None:
    """It does not know the route: the order waits, says why, and goes on when another worker takes it."""
    async with handoff() as world:
        new = world.settings
        (erp,), (route,) = new.erps, new.routes
        old_erp, old_route = (
            erp.model_copy(update={"name": "old"}),
            route.model_copy(update={"name": "old", "erp": "old"}),
        )
        world.settings = new.model_copy(update={"erps": (old_erp,), "routes": (old_route,)})
        async with support.checked(world, subscriber=False):
            world.org.seed(1)
            world.settings = new
            (record,) = await world.win(1)
            workflow_id = names.order_workflow_id(world.org.org_id, record)

            async def is_not_known() -> bool:
                return "no route named 'won-0'" in await support.waits_for(world, workflow_id)

            await until(is_not_known)
        async with support.checked(world, subscriber=False):
            await world.until_written_back(record)
            assert 0 == await support.needed_attention(world)
