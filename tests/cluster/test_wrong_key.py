"""R5 of the recovery cases on a cluster: what a wrong key has written, and the check value that stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon.demo import TemporalKind
from tests.support.encryption import fresh_key, keyed
from tests.support.wrong_key import KEY_ID, recover_from_a_lost_key, until_well, written_with_a_wrong_key


@pytest.mark.slow
async def test_r5_what_a_lost_wrong_key_has_written_is_ordered_again_on_a_cluster(tmp_path: Path) -> None:
    """Processes with the right key are refused until an operator decides; then each deal gets its one order."""
    wrong, right = fresh_key(KEY_ID), fresh_key(KEY_ID)
    async with written_with_a_wrong_key(tmp_path, wrong, temporal=TemporalKind.CLUSTER) as world:
        await recover_from_a_lost_key(world, right)
        await until_well(world, keyed(right))
