"""How large a value is as Temporal stores it, and how large it may be."""

from __future__ import annotations

from typing import Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from closedwon.temporal.errors import LARGEST_VALUE


async def value_size(client: Client, value: Any) -> int:
    """Bytes of a value after conversion and encryption."""
    return sum(payload.ByteSize() for payload in await client.data_converter.encode([value]))


async def largest_value(client: Client) -> int:
    """Bytes that the namespace allows for one value; `LARGEST_VALUE` where it does not say. Raises `RPCError`."""
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return answer.namespace_info.limits.blob_size_limit_error or LARGEST_VALUE
