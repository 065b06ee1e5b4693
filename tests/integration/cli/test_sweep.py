"""`closedwon sweep` and `closedwon gaps`, as an operator types them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from closedwon import names
from tests.support.command import closedwon
from tests.support.handoff import Handoff, handoff, until

_SETTINGS = """
[[orgs]]
name = "org-0"
id = "{org_id}"
url = "{org_url}"
auth = {{ flow = "client-credentials", client_id = "x", client_secret = {{ env = "SOME_SECRET" }} }}

[[erps]]
name = "stub"
kind = "rest"
url = "{erp_url}"
token = {{ env = "SOME_SECRET" }}

[[routes]]
name = "won-0"
org = "org-0"
select = "Id, IsWon, Name, CurrencyIsoCode, Account.Id, Account.Name, (SELECT Quantity FROM OpportunityLineItems)"
erp = "stub"
order.name = "Name"
order.currency = "CurrencyIsoCode"
order.customer = {{ id = "Account.Id", name = "Account.Name" }}
order.lines = {{ each = "OpportunityLineItems.records", product = "'P'", quantity = "Quantity", unit_price = "`1`" }}
write_back.status = "ERP_Order_Status__c"
{sweep}
[encryption]
enabled = false
"""


def _settings(folder: Path, world: Handoff, sweep: str = "[routes.sweep]\n") -> dict[str, str]:
    file = folder / "closedwon.toml"
    file.write_text(
        _SETTINGS.format(org_id=world.org.org_id, org_url=world.org.url, erp_url=world.erp.url, sweep=sweep)
    )
    return {"CLOSEDWON_CONFIG": str(file), "SOME_SECRET": "unused: the workers do the work"}


async def test_a_dry_run_a_sweep_and_a_second_look(tmp_path: Path) -> None:
    """The dry run says what is missing (exit code 1), the sweep starts it (0), and then all is right."""
    async with handoff(sweep={"lag": "0s"}) as world, world.working(subscriber=False):
        world.org.seed(3)
        won = world.org.win_next(2)
        there = _settings(tmp_path, world)
        dry = await closedwon(world.client, "sweep", "won-0", "--from", "2020-01-01", "--dry-run", **there)
        assert 1 == dry.code
        assert "2 would be started" in dry.text
        assert all(record in dry.text for record in won)
        assert 0 == len(world.erp.orders())

        real = await closedwon(world.client, "sweep", "won-0", "--from", "2020-01-01", **there)
        assert (0, True) == (real.code, "2 started" in real.text)
        await world.until_written_back(*won)
        again = await closedwon(world.client, "sweep", "won-0", "--from", "2020-01-01", "--to", "2100-01-01", **there)
        assert (0, True) == (again.code, "2 correct already" in again.text)


async def test_what_cannot_be_swept_is_reported_with_a_hint(tmp_path: Path) -> None:
    """A wrong route, a route without sweeps, a span that ends before it begins: one sentence each, exit code 2."""
    async with handoff() as world:
        there = _settings(tmp_path, world)
        unknown = await closedwon(world.client, "sweep", "won", "--from", "2020-01-01", **there)
        backwards = await closedwon(
            world.client, "sweep", "won-0", "--from", "2020-01-02", "--to", "2020-01-01", **there
        )
        unswept = await closedwon(
            world.client, "sweep", "won-0", "--from", "2020-01-01", **_settings(tmp_path, world, sweep="")
        )

        assert [2, 2, 2] == [unknown.code, backwards.code, unswept.code]
        assert "won-0" in unknown.text
        assert "before the end" in backwards.text
        assert "[routes.sweep]" in unswept.text


async def test_open_gaps_are_listed_until_they_are_covered(tmp_path: Path) -> None:
    """With an open gap the exit code is 1 and the table has its reason and state; without one it is 0."""
    async with handoff() as world:
        there = _settings(tmp_path, world)
        world.org.seed(1)
        async with world.working():
            await world.until_written_back(*world.org.win_next(1))
            none = await closedwon(world.client, "gaps", **there)
            world.org.move_bus()
            await until(lambda: _has_gap_in_attention(world))
        some = await closedwon(world.client, "gaps", **there)

        assert (0, True) == (none.code, "No gap is open" in none.text)
        assert 1 == some.code
        assert all(word in some.text for word in ("won-0", "bus-moved", "configuration"))


async def _has_gap_in_attention(world: Handoff) -> bool:
    query = f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}' AND {names.ATTENTION_REASON} = 'configuration'"
    return (await world.client.count_workflows(query)).count == 1


async def test_a_sweep_that_somebody_ends_ends_its_command_with_a_sentence(tmp_path: Path) -> None:
    """No worker has begun it; the command says that it was terminated in Temporal, and ends with exit code 1."""
    async with handoff(sweep={"lag": "0s"}) as world:
        there = _settings(tmp_path, world)
        sweeping = asyncio.create_task(closedwon(world.client, "sweep", "won-0", "--from", "2020-01-01", **there))
        await until(lambda: _sweeps(world))
        async for one in world.client.list_workflows("WorkflowId STARTS_WITH 'sweep:'"):
            await world.client.get_workflow_handle(one.id).terminate()
        ended = await sweeping

    assert 1 == ended.code
    assert "was ended before its end" in ended.text
    assert "Traceback" not in ended.text


async def _sweeps(world: Handoff) -> bool:
    return (await world.client.count_workflows("WorkflowId STARTS_WITH 'sweep:'")).count == 1
