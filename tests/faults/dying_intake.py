"""An intake that kills itself between Temporal's acceptance of a request and its answer, once.

    python dying_intake.py MARK

MARK is the file that it creates before. Ends with its parent: when standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from temporalio.common import MetricMeter

from closedwon.intake import IntakeServer
from closedwon.settings import ENV_FILE, load_settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.client import connect


async def strike() -> None:
    """Die, unless that has happened before."""
    mark = Path(sys.argv[1])
    if not mark.exists():  # noqa: ASYNC240 - the process has nothing else to do
        mark.touch()  # noqa: ASYNC240
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    """Take requests until killed."""
    settings = load_settings(os.environ[ENV_FILE])
    assert settings.intake is not None

    client = await connect(settings.encryption)
    await IntakeServer(settings, settings.intake, client, Metrics(MetricMeter.noop), on_durable=strike).start()
    await asyncio.Event().wait()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main())
