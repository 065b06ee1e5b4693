"""Kills a worker as a crash would, starts it again, and says afterwards what became of its orders."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from closedwon.demo.page.three import ThreeSystems
from closedwon.demo.parts import PartError, State
from closedwon.demo.stack import Closedwon, Stack
from closedwon.tasks import pause

_DEAD: Final = 5.0
"""Seconds for which the worker is dead: a person can read what waits, and win more deals meanwhile."""
_POLL: Final = 0.3


class Killer:
    """The workers of one stack, and what the last kill has shown."""

    def __init__(self, stack: Stack, three: ThreeSystems) -> None:
        """Nothing is killed yet."""
        self._stack = stack
        self._three = three
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self.story: tuple[str, ...] = ()
        """What has happened since the last kill, in sentences."""
        self.is_proved = False
        """Whether the audit after the last kill has found nothing wrong."""

    @property
    def is_busy(self) -> bool:
        """Whether the last kill is not over: the worker is dead, or its orders are under way."""
        return self._task is not None and not self._task.done()

    def kill(self) -> bool:
        """Begin; return False while the worker is dead."""
        worker = self._stack.workers[0]
        if self._error is not None or worker.state is not State.READY:
            return False
        if self._task is not None:  # the orders of the kill before may be still under way
            self._task.cancel()
        self._task = asyncio.create_task(self._run(worker))
        return True

    def check(self) -> None:
        """Raise the `PartError` of a worker that did not start again."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """End what is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, worker: Closedwon) -> None:
        self.is_proved = False
        pid, began = worker.pid, time.monotonic()
        await worker.kill()
        caught = await self._under_way()
        halfway = f"{caught} of the deals half-way" if caught else "no deal half-way"
        self.story = (f"{worker.name} (pid {pid}) got SIGKILL, with {halfway}. It is dead for {_DEAD:.0f} seconds.",)
        await asyncio.sleep(_DEAD)
        waiting = await self._under_way()
        try:
            await worker.start()
        except PartError as error:
            self._error = error
            return
        self.story += (f"It runs again as pid {worker.pid}; {waiting} of the deals waited for it.",)
        while await self._under_way() and worker.state is State.READY:
            await pause(_POLL)
        self.story += (f"{time.monotonic() - began:.0f} seconds after the kill all of them are written back.",)
        await self._prove()

    async def _under_way(self) -> int:
        return (await self._three.picture(is_shared=False)).under_way

    async def _prove(self) -> None:
        """Let the audit count: it compares the three systems record by record."""
        try:
            report = await self._stack.audit()
        except PartError as error:
            self.story += (f"closedwon audit has failed: {str(error).splitlines()[0]}",)
            return
        counts = report.counts
        self.is_proved = report.clean and not counts.missing and not counts.duplicates
        counted = f"won {counts.won}, ordered {counts.ordered}, written back {counts.written_back}"
        rest = f"duplicates {counts.duplicates}, missing {counts.missing}"
        self.story += (f"closedwon audit: {counted}, {rest}.",)
