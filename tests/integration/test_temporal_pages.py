"""What the page about Temporal says to type has the effect that Closedwon needs."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from pathlib import Path
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.demo.parts import program
from closedwon.temporal.search_attributes import missing_search_attributes
from tests.support.servers import STARTUP
from tests.support.waiting import until

PAGE: Final = Path(__file__).parents[2] / "deploy" / "temporal" / "README.md"
WEEK: Final = 7 * 24 * 3600


async def type_in(address: str, commands: str) -> None:
    """Run the commands of one block in a shell, each of which must succeed."""
    path = f"{Path(program('temporal')).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "sh", "-e", "-c", commands, env={**os.environ, "PATH": path, "TEMPORAL_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert 0 == process.returncode, output.decode()


async def retention(client: Client) -> int | None:
    """The retention of the client's namespace in seconds; None while it is not known."""
    try:
        answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError:
        return None
    return answer.config.workflow_execution_retention_ttl.seconds


async def test_the_commands_of_the_page_prepare_a_namespace() -> None:
    """A server without any of it then has the namespace, its retention, and each search attribute as a keyword."""
    blocks = re.findall(r"^```sh\n(temporal operator .*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=program("temporal"), dev_server_startup_timeout=STARTUP
    ) as server:
        address = server.client.service_client.config.target_host
        client = Client(server.client.service_client, namespace="closedwon")
        for block in blocks:
            await type_in(address, block)
            await until(partial(retention, client))

        assert WEEK == await retention(client)
        await until(partial(_knows_some, client))
        assert () == await missing_search_attributes(client)


async def _knows_some(client: Client) -> bool:
    return len(await missing_search_attributes(client)) < len(names.SEARCH_ATTRIBUTES)
