"""Which build of Closedwon a worker is, for Temporal's worker versioning. Without a build id nothing is versioned."""

from __future__ import annotations

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

from closedwon import names
from closedwon.settings import Settings


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Say it for one worker; every worker of a process must say the same.

    Orders are open for weeks and subscriptions indefinitely, so open workflows move to the current build, and
    go back to the former one after a rollback. Pinning them would keep every build alive that ever took an order.
    """
    if settings.workers.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(names.DEPLOYMENT, settings.workers.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )
