"""Fixtures that tests of several packages share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker._workflow import _WorkflowWorker

from closedwon.telemetry.logs import OUR_PACKAGES
from tests.support.servers import start_temporal, start_time_skipping
from tests.support.waiting import STALL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that at the end of a parallel run no process works alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def no_clock_for_workflows() -> Iterator[None]:
    """Let only a hang count as a workflow that holds its thread.

    The SDK interrupts one that does so for two seconds, with an exception wherever it is just then. On a busy machine
    that strikes workflows that only wait for the processor, and finalizers, where it becomes a warning.
    """
    begin = _WorkflowWorker.__init__

    def begin_patiently(worker: _WorkflowWorker, **how: Any) -> None:
        begin(worker, **how)
        worker._deadlock_timeout_seconds = int(STALL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_WorkflowWorker, "__init__", begin_patiently)
        yield


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A test server whose clock jumps over waiting times, of this test alone.

    It may give a task to the worker of a test that has just ended, and then its clock stands still until the task
    times out.
    """
    async with await start_time_skipping() as environment:
        yield environment


@pytest.fixture(scope="session")
async def temporal_server() -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal dev server with our search attributes."""
    async with await start_temporal() as environment:
        yield environment


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(logging.NOTSET)
