"""Hostile traffic of every kind beside honest deals, from the same address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.besieged_intake import attacked, besieged, honest
from tests.support.intake import memory

_SECONDS: Final = 60.0
_GROWTH: Final = 1.2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_honest_deals_do_not_notice_hostile_traffic(tmp_path: Path) -> None:
    """In a minute all are written back, none is refused, and the memory of intake stays."""
    async with besieged(tmp_path) as world:
        await honest(world, 5)  # what is only loaded once
        quiet = await honest(world, 2)
        async with attacked(world, _SECONDS) as sent:
            beside = await honest(world, _SECONDS)
        (intake,) = world.stack.intakes
        after = memory(intake.pid)
        log = intake.log.read_text(encoding="utf-8")

        assert [] == beside.refusals
        assert 0 < min(sent.values())
        assert after < _GROWTH * quiet.memory
        assert "Too many open files" not in log
        assert 500 > len(log.splitlines())
