"""One Tryton for all cases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from closedwon.erp.tryton import TrytonAdapter
from tests.integration.erp.worlds import TrytonProcess


@pytest.fixture(scope="session")
async def tryton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TrytonProcess]:
    """A real Tryton for the whole session."""
    process = TrytonProcess(tmp_path_factory.mktemp("tryton"))
    await process.start()
    yield process
    assert 0 == await process.stop()


@pytest.fixture
async def tryton_erp(tryton: TrytonProcess) -> AsyncIterator[TrytonAdapter]:
    """A new adapter before the shared Tryton, with empty caches."""
    adapter = TrytonAdapter(tryton.settings)
    yield adapter
    await adapter.close()
