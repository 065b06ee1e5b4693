"""Servers that tests of several rooms share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.support.servers import start_temporal, start_time_skipping


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A test server whose clock jumps over waiting times; one per module, for its clock is shared."""
    async with await start_time_skipping() as environment:
        yield environment


@pytest.fixture(scope="session")
async def temporal_server() -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal dev server with our search attributes."""
    async with await start_temporal() as environment:
        yield environment
