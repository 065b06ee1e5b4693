"""Which build of Closedwon a worker is, for Temporal's worker versioning. Without a build id nothing is versioned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from temporalio.api.deployment.v1 import WorkerDeploymentVersion as Version
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from closedwon.settings import Settings

_log = logging.getLogger(__name__)

_PAUSE: Final = 0.5
"""Seconds between two looks whether Temporal knows the build."""
_WAIT: Final = 60.0
"""Seconds after which a process is ready though Temporal does not know its build: it can work already."""


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Say it for one worker; every worker of a process must say the same.

    Orders are open for weeks and subscriptions indefinitely, so open workflows move to the current build, and
    go back to the former one after a rollback. Pinning them would keep every build alive that ever took an order.
    """
    if settings.workers.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.workers.deployment, settings.workers.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def until_known(client: Client, settings: Settings, queues: Collection[str]) -> None:
    """Wait until Temporal knows that this build polls these task queues; return at once without a build id.

    Before that, `temporal worker deployment set-current-version` refuses the build, though its process runs.
    """
    build = settings.workers.build_id
    if build is None:
        return
    missing = set(queues)
    try:
        async with asyncio.timeout(_WAIT):
            while missing := missing - await _polled(client, settings.workers.deployment, build):  # noqa: ASYNC110 - no event exists for this
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        _log.warning("Temporal does not know yet that build %s polls %s", build, ", ".join(sorted(missing)))
    except RPCError as error:
        _log.warning("whether Temporal knows build %s cannot be read: %s", build, error)


async def _polled(client: Client, deployment: str, build: str) -> set[str]:
    """Return the task queues that a build has polled, as far as Temporal has registered them."""
    request = DescribeWorkerDeploymentVersionRequest(
        namespace=client.namespace,
        deployment_version=Version(deployment_name=deployment, build_id=build),
    )
    try:
        found = await client.workflow_service.describe_worker_deployment_version(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return set()
        raise
    return {queue.name for queue in found.version_task_queues}
