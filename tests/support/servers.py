"""Temporal servers for tests: the real dev server and the one that skips time."""

from __future__ import annotations

import socket
from pathlib import Path

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from closedwon import names, temporal
from closedwon.demo.parts import program


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start_time_skipping() -> WorkflowEnvironment:
    """Start a test server whose clock jumps over waiting times; it knows our search attributes."""
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=program("temporal-test-server"), data_converter=pydantic_data_converter
    )
    await environment.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=environment.client.namespace,
            search_attributes=dict.fromkeys(names.SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
        )
    )
    return environment


async def start_temporal(
    *,
    port: int | None = None,
    database: Path | None = None,
    ui_port: int | None = None,
    codec: str | None = None,
    **settings: int,
) -> WorkflowEnvironment:
    """Start a real Temporal dev server with our search attributes; `settings` are its dynamic configuration.

    On the `database` of one that is dead, and on its `port`, it is that one, back again. `codec` is the address of the
    codec server that the UI asks.
    """
    return await WorkflowEnvironment.start_local(
        port=port,
        dev_server_database_filename=None if database is None else str(database),
        ui=ui_port is not None,
        ui_port=ui_port,
        dev_server_existing_path=program("temporal"),
        data_converter=pydantic_data_converter,
        search_attributes=list(temporal.KEYS.values()),
        dev_server_extra_args=[
            *(word for key, value in settings.items() for word in ("--dynamic-config-value", f"{key}={value}")),
            *(("--ui-codec-endpoint", codec) if codec else ()),
        ],
    )
