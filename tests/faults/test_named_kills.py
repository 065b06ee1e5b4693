"""Death at the worst moments: between what the ERP or Salesforce has committed and anything that remembers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from closedwon.names import ERP_QUEUE, ORDERS_QUEUE
from tests.faults import dying_worker
from tests.support.audit import assert_clean
from tests.support.siege import Siege, siege


@asynccontextmanager
async def _dying_worker(world: Siege, queue: str, folder: Path, *points: str) -> AsyncIterator[None]:
    """Have a worker on a queue that kills itself at these points, and another one after each death."""
    # One ERP call at a time: a bystander's death would let an order pass a point without being struck there itself.
    alone = {"CLOSEDWON_WORKERS__CONCURRENT_ERP_CALLS": "1"}
    async with world.dying(queue, dying_worker.__file__, queue, str(folder), *points, environment=alone):
        yield


def _folder(tmp_path: Path) -> Path:
    """A place for the marks of what has been struck."""
    folder = tmp_path / "struck"
    folder.mkdir()
    return folder


async def _assert_all_is_well(world: Siege) -> None:
    """One order each, its number on the record, no complaint; and no write-back, also no repeated one, started more."""
    await world.until_all_is_well(len(world.deals))
    await world.until(world.is_idle, "every order workflow at its end")
    assert [] == await world.complaints()
    assert Counter(map(world.workflow_id, world.deals)) == Counter(one.id for one in await world.order_workflows())


@pytest.mark.slow
async def test_death_between_the_erps_commit_and_its_completion_makes_no_second_order(tmp_path: Path) -> None:
    """Each of five orders loses its worker when the ERP has created it, and again when the ERP has confirmed it."""
    struck, points = _folder(tmp_path), ("after-create", "after-advance")
    async with (
        siege(tmp_path, workers=0) as world,
        _dying_worker(world, ERP_QUEUE, struck, *points),
        _dying_worker(world, ORDERS_QUEUE, struck),
    ):
        for deal in await world.add_deals(5):
            await world.win(deal)
        await _assert_all_is_well(world)

        expected = {f"{point} {world.workflow_id(deal)}" for point in points for deal in world.deals}
        assert expected == {path.name for path in struck.iterdir()}
        assert {ERP_QUEUE: 10} == world.kills


@pytest.mark.slow
async def test_death_between_a_write_back_and_its_completion_does_no_harm(tmp_path: Path) -> None:
    """Each of ten orders loses its worker, workflow and all, when Salesforce has its number; five workers die."""
    struck = _folder(tmp_path)
    async with (
        siege(tmp_path, workers=0) as world,
        _dying_worker(world, ERP_QUEUE, struck),
        _dying_worker(world, ORDERS_QUEUE, struck, "written"),
    ):
        deals = await world.add_deals(10)
        for sold in range(2, 12, 2):
            for deal in deals[sold - 2 : sold]:
                await world.win(deal)

            def dead(sold: int = sold) -> bool:
                return sold <= len(list(struck.iterdir())) and sold // 2 <= world.kills[ORDERS_QUEUE]

            await world.until(dead, f"the workers of {sold} orders dead")
        await _assert_all_is_well(world)

        assert {f"written {world.workflow_id(deal)}" for deal in deals} == {path.name for path in struck.iterdir()}
        assert 5 <= world.kills[ORDERS_QUEUE] <= 10


@pytest.mark.slow
async def test_death_between_the_erps_change_of_an_order_and_its_completion_changes_nothing_twice(
    tmp_path: Path,
) -> None:
    """Three deals are changed after they were ordered; each loses its worker when the ERP has changed its order."""
    struck = _folder(tmp_path)
    async with siege(tmp_path, workers=0) as world:
        config = world.stack.config
        settings = config.read_text(encoding="utf-8")
        config.write_text(settings.replace("[[routes]]", '[[routes]]\non_changed = "amend"'), encoding="utf-8")
        async with (
            _dying_worker(world, ERP_QUEUE, struck, "after-amend"),
            _dying_worker(world, ORDERS_QUEUE, struck),
        ):
            deals = await world.add_deals(3)
            for deal in deals:
                await world.win(deal)
            await _assert_all_is_well(world)
            for deal in deals:
                await world.people.change(deal, quantity=77)
            await world.until(lambda: len(list(struck.iterdir())) == len(deals), "three orders changed")
            await world.until(world.is_idle, "every order workflow at its end")

            assert {f"after-amend {world.workflow_id(deal)}" for deal in deals} == {
                one.name for one in struck.iterdir()
            }
            assert {ERP_QUEUE: 3} == world.kills
            assert_clean(await world.audit(), won=len(deals))
