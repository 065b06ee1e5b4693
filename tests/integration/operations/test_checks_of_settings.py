"""What running processes check of their own settings: the strength of secrets, and how far intake is open."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from activities.holds import Holds
from closedwon import names
from closedwon.ids import RecordId
from closedwon.intake import IntakeServer
from closedwon.settings import Intake, RestErp
from closedwon.telemetry.metrics import Metrics
from tests.support import checks as support
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import deliver, soap_message
from tests.support.visibility import exists
from workers.checks import Checks, checking
from workers.running_checks import of_settings

_STRONG = "Zx8Qm4Vt0Lr7Wy2Nc6Pd1Kb9Hs3Gf5Je"


def _key_in(folder: Path) -> Path:
    file = folder / "callout.key"
    file.write_text(_STRONG, encoding="utf-8")
    return file


async def test_a_secret_that_becomes_weak_holds_its_org_with_one_alert_until_it_is_strong(tmp_path: Path) -> None:
    """The file of a callout key is replaced under a running worker; the value that is in use stays what it was."""
    file = _key_in(tmp_path)
    async with handoff(callouts={"keys": [{"file": str(file)}]}) as world, support.alerting(world) as hook:
        world.org.seed(1)
        async with support.checked(world) as checks, support.another(world) as other:
            file.write_text("password", encoding="utf-8")
            await checks.round()
            await other.round()
            await support.until_held(world, names.hold_workflow_id("secrets", world.org.org_id))
            (record,) = await world.win(1)
            await until(lambda: _waits_for(world, record, "held: org org-0"))
            await until(lambda: hook.taken)
            await checks.round()
            file.write_text(_STRONG[::-1], encoding="utf-8")
            await checks.round()
            await other.round()
            await world.until_written_back(record)
            await support.until_held(world)
        (alert,) = hook.taken
        assert ("check", "configuration", world.org.org_id) == (alert["kind"], alert["reason"], alert["org"])
        assert "routes.callouts.keys of route 'won-0'" in alert["sentence"]
        assert "`closedwon secret callout`" in alert["hint"]
        assert "password" not in str(hook.raw)


async def _waits_for(world: Handoff, record: RecordId, text: str) -> bool:
    try:
        return text in await support.waits_for(world, names.order_workflow_id(world.org.org_id, record))
    except RPCError:  # its message has not arrived yet
        return False


async def test_a_webhook_key_that_becomes_weak_holds_its_erp(tmp_path: Path) -> None:
    """The other ERPs and the org go on."""
    file = _key_in(tmp_path)
    async with handoff() as world:
        (erp,) = world.settings.erps
        assert isinstance(erp, RestErp)
        hooked = RestErp.model_validate({**dict(erp), "webhook": {"keys": [{"file": str(file)}]}})
        world.settings = world.settings.model_copy(update={"erps": (hooked,)})
        async with support.checked(world) as checks:
            file.write_text("0" * 64, encoding="utf-8")
            await checks.round()
            await support.until_held(world, names.hold_workflow_id("secrets", "stub"))
            file.write_text(_STRONG, encoding="utf-8")
            await checks.round()
            await support.until_held(world)


async def test_a_secret_whose_file_is_away_is_logged_and_holds_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process goes on with the value that it has; the next start would be refused, so the log says it once."""
    file = _key_in(tmp_path)
    async with handoff(callouts={"keys": [{"file": str(file)}]}) as world, support.checked(world) as checks:
        file.unlink()
        with caplog.at_level(logging.WARNING, logger="workers.checks"):
            await checks.round()
            await checks.round()
        assert not await exists(world.client, names.hold_workflow_id("secrets", world.org.org_id))
        (line,) = [one for one in caplog.records if str(file) in one.getMessage()]
        assert "keeps the value it has" in line.getMessage()


async def test_a_route_that_any_sender_can_push_to_is_held_and_its_org_only() -> None:
    """Intake is open to other machines, and nothing proves where outbound messages come from."""
    async with handoff(outbound={}) as world, support.alerting(world) as hook:
        right = world.settings
        world.settings = right.model_copy(update={"intake": _open_intake()})
        world.org.seed(1)
        async with support.checked(world):
            (record,) = await world.win(1)
            await until(lambda: _waits_for(world, record, "held: org org-0"))
            await support.until_held(world, names.hold_workflow_id("intake", world.org.org_id))
            await until(lambda: hook.taken)
        world.settings = right.model_copy(update={"intake": Intake(port=0)})
        async with support.checked(world):
            await world.until_written_back(record)
            await support.until_held(world)
        (alert,) = hook.taken
        assert "route won-0" in alert["sentence"]
        assert "`closedwon secret path`" in alert["hint"]


def _open_intake(**more: Any) -> Intake:
    return Intake.model_validate({"host": "0.0.0.0", "insecure": True, "port": 0, **more})  # noqa: S104 - the danger


async def test_intake_takes_nothing_that_any_sender_could_have_sent() -> None:
    """What was accepted during a hold would count after it: Salesforce is asked to send again, for 24 hours."""
    async with handoff(outbound={}) as world:
        open_one = world.settings.model_copy(update={"intake": _open_intake()})
        holds, meter = Holds(), Metrics(MetricMeter.noop)
        server = IntakeServer(open_one, _open_intake(), world.client, meter, holds=holds)
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        body = soap_message(world.org.org_id, [record])
        async with checking(Checks(world.client, of_settings(open_one), holds, meter), wait=support.never):
            await server.start()
            try:
                address = server.address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where it listens
                status, answer = await deliver(address, body)
            finally:
                await server.stop()
        assert 503 == status
        assert "Fault" in answer
        assert not await world.has_begun(record)
