"""Worker versioning: which build of our workers Temporal gives the work to."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode


async def current_build(client: Client, deployment: str) -> str | None:
    """The build that is current in a worker deployment; an empty text while none is, None before any build has polled.

    Raises Temporal's `RPCError`.
    """
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
    try:
        answer = await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    return answer.worker_deployment_info.routing_config.current_deployment_version.build_id
