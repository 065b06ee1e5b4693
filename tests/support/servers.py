"""Temporal servers for tests: the real dev server and the one that skips time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.demo.parts import program
from closedwon.emulators.ports import free_port
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.waiting import STALL

STARTUP: Final = timedelta(seconds=STALL)
"""The SDK's own patience with a server that starts is five seconds, which beside a load is too short."""


async def start_time_skipping() -> WorkflowEnvironment:
    """Start a test server whose clock jumps over waiting times; it knows our search attributes."""
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=program("temporal-test-server"),
        test_server_startup_timeout=STARTUP,
        data_converter=pydantic_data_converter,
    )
    await environment.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=environment.client.namespace,
            search_attributes=dict.fromkeys(names.SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
        )
    )
    return environment


async def pass_time(
    environment: WorkflowEnvironment, time: timedelta, *, step: timedelta = timedelta(hours=12)
) -> None:
    """Let the clock of a server that skips time run, a step at a time.

    One call of the server may take thirty seconds at most, whatever is done meanwhile.
    """
    passed = timedelta(0)
    while passed < time:
        await environment.sleep(min(step, time - passed))
        passed += step


async def start_temporal(
    *,
    port: int | None = None,
    database: Path | None = None,
    ui_port: int | None = None,
    codec: str | None = None,
    metrics_port: int | None = None,
    **settings: int,
) -> WorkflowEnvironment:
    """Start a real Temporal dev server with our search attributes; `settings` are its dynamic configuration.

    On the `database` of one that is dead, and on its `port`, it is that one, back again. `codec` is the address of the
    codec server that the UI asks; `metrics_port` is that of the server's own metrics (`tests.support.actions`).
    """
    return await WorkflowEnvironment.start_local(
        port=port or free_port(),
        dev_server_database_filename=None if database is None else str(database),
        ui=ui_port is not None,
        ui_port=ui_port,
        dev_server_existing_path=program("temporal"),
        dev_server_startup_timeout=STARTUP,
        data_converter=pydantic_data_converter,
        search_attributes=list(SEARCH_ATTRIBUTE_KEYS.values()),
        dev_server_extra_args=[
            *(word for key, value in settings.items() for word in ("--dynamic-config-value", f"{key}={value}")),
            *(("--ui-codec-endpoint", codec) if codec else ()),
            *(("--metrics-port", str(metrics_port)) if metrics_port else ()),
        ],
    )
