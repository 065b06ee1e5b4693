"""The demo from start to end: start the world, win deals, watch them, optionally kill a worker, print the counts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
from temporalio.service import RPCError

from closedwon import names
from closedwon.demo import ErpKind, Stream, TemporalKind, Via, show
from closedwon.demo.cluster import programs
from closedwon.demo.deals import SalesforceRecords, Summary, summarise
from closedwon.demo.page import DemoPage
from closedwon.demo.parts import Part, State, together
from closedwon.demo.show import Screen, Track
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce.client import OrgClient, OrgRefusedError
from closedwon.emulators.salesforce.connection import Connection
from closedwon.errors import ClosedwonError
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.tasks import is_cancelled, pause, stopping_on_signals
from closedwon.temporal.visibility import RUNNING, all_of, differs, of_type, started_since

_TICK: Final = 0.2
"""Seconds between two looks at Temporal and Salesforce."""
_WINNING: Final = 8.0
"""Seconds in which all deals are won: slow enough to be watched."""
_FEWEST_WITH_RENEWAL: Final = 2
"""Deals of a run that has a renewal: it needs the deal that it renews."""
_BURST: Final = 3
"""Deals won at once before a worker is killed, so that some are half-way."""
_LEFT_OVER: Final = 60.0
"""Seconds without a change after which deals of an earlier run are waited for no longer."""
_PATIENCE: Final = 120.0
"""Seconds without a change at any deal after which those that are not done count as stuck."""
_YEAR: Final = timedelta(days=365)
_STAMP: Final = timedelta(seconds=1)
"""How exact the time is by which Salesforce is asked for what has changed."""
_MORE: Final = 12
"""Deals left open with `--keep`, to be won by hand."""
_HALF_WAY: Final = (OrderStage.ORDERING, OrderStage.WRITING_BACK)


class StuckError(ClosedwonError):
    """Deals are not completed. The text gives their stages and the logs to read."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    deals: int
    erp: ErpKind
    via: Via
    stream: Stream
    temporal: TemporalKind
    kill: bool
    keep: bool
    data_dir: Path


async def demo(options: Options) -> bool:
    """Run it; return whether all counts agree. Raises `PartError` when a part fails, `StoppedError` at a signal."""
    screen = Screen()
    with stopping_on_signals():
        if options.temporal is TemporalKind.CLUSTER:
            await programs.build(programs.find(), screen.say)
        stack = Stack(
            options.data_dir / _world(options),
            erp=options.erp,
            via=options.via,
            stream=options.stream,
            temporal=options.temporal,
            workers=1,
            subscribers=int(options.via is Via.EVENT),
            usual_ports=True,
        )
        try:
            await together(stack.start(), _draw_start(stack, screen))
            good = await _win_and_count(stack, screen, options)
            if options.keep:
                await _keep(stack, screen)
            screen.say(show.where_to_look(stack, stays=False, has_killed=options.kill))
        except Exception as error:
            if is_cancelled():  # the call that the signal has ended fails in its own way
                raise asyncio.CancelledError from None
            if isinstance(error, aiohttp.ClientError | OrgRefusedError | RPCError):
                await asyncio.sleep(1)  # a part that dies stops answering before it is gone
                stack.check()
            raise
        finally:
            await stack.stop()
    return good


async def _keep(stack: Stack, screen: Screen) -> None:
    """Serve the page until a signal comes. Raises `PartError` when a part ends."""
    async with DemoPage.served(stack) as page:
        screen.say(show.where_to_look(stack, stays=True))
        while True:
            stack.check()
            page.check()
            await pause(1)


def _world(options: Options) -> str:
    """A world for each ERP and each Temporal: an order that is under way in one must not be finished in another."""
    usual = {Via.EVENT, Stream.COMETD, TemporalKind.DEVELOPMENT}
    chosen = (options.via, options.stream, options.temporal)
    return "-".join([options.erp, *(one for one in chosen if one not in usual)])


async def _win_and_count(stack: Stack, screen: Screen, options: Options) -> bool:
    """Return whether all is well; say and write down what was counted in any case."""
    file = options.data_dir / "summary.json"
    file.unlink(missing_ok=True)
    org = Connection.model_validate(stack.org.connection)
    async with OrgClient.open(org) as people:
        run = _Run(stack, screen, options, people)
        problem = ""
        try:
            await run.go()
        except StuckError as error:
            problem = str(error)
        summary = await run.count()
    file.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    screen.say(show.result(summary, deals=options.deals, erp=options.erp.words, file=str(file)))
    if problem:
        screen.say(show.problem(problem))
    return show.good(summary, options.deals)


class _Run:
    """One run on a world that is up."""

    def __init__(self, stack: Stack, screen: Screen, options: Options, people: OrgClient) -> None:
        self._stack = stack
        self._screen = screen
        self._options = options
        self._people = people
        self._salesforce = SalesforceRecords(people)
        self._tracks: dict[RecordId, Track] = {}
        self._note = ""
        self._began = datetime.now(UTC)

    async def go(self) -> None:
        """Seed, win, watch. Raises `PartError` and `StuckError`.

        The last deal is a renewal: a clone of the first one, made when that has its order.
        """
        await self._end_earlier_runs()
        seeded_deals = self._options.deals - self._has_renewal
        wanted = {
            "opportunities": seeded_deals + (_MORE if self._options.keep else 0),
            "seed": secrets.randbelow(10**6),
            "varied": True,
        }
        seeded = await self._people.admin("POST", "seed", wanted)
        new = set(seeded["ids"][:seeded_deals])
        self._tracks = {deal.id: Track(deal) for deal in await self._salesforce.deals() if deal.id in new}
        self._began = datetime.now(UTC)
        with self._screen:
            await together(self._win_all(), self._watch())

    async def _end_earlier_runs(self) -> None:
        """Let through what a run that was broken off has left half-way: what changes later counts with this run."""
        end = time.monotonic() + _LEFT_OVER
        shown = 0
        while time.monotonic() < end and (left := await self._under_way()):
            self._stack.check()
            if left != shown:
                shown = left
                end = time.monotonic() + _LEFT_OVER
                self._screen.say(f"deals of an earlier run, which come through first: {shown}")
            await pause(_TICK)
        if stamps := [deal.modified_at for deal in await self._salesforce.deals()]:
            await asyncio.sleep((max(stamps) + _STAMP - datetime.now(UTC)).total_seconds())

    async def _under_way(self) -> int:
        """How many deals are won and have not come through: by their records, or by their workflows."""
        waiting = [deal for deal in await self._salesforce.deals() if deal.on_its_way]
        client = await self._stack.temporal.client()
        query = all_of(of_type(names.ORDER_WORKFLOW), RUNNING, differs(names.ORDER_STAGE, OrderStage.ATTENTION))
        running = await client.count_workflows(query)
        return max(len(waiting), running.count)

    async def count(self) -> Summary:
        """Let the audit count, this run and all."""
        won_at = {record: track.won_at for record, track in self._tracks.items() if track.won_at}
        run, all_runs = await asyncio.gather(self._stack.audit(self._began), self._stack.audit())
        return summarise(run, all_runs, await self._salesforce.deals(), won_at)

    @property
    def _has_renewal(self) -> bool:
        return self._options.deals >= _FEWEST_WITH_RENEWAL

    async def _win_all(self) -> None:
        tracks = list(self._tracks.values())
        between = _WINNING / len(tracks)
        first = tracks[: -(-len(tracks) // 3)] if self._options.kill else tracks
        rest: Sequence[Track] = tracks[len(first) :]
        for track in first:
            await self._win(track)
            await pause(between)
        if self._has_renewal:
            rest = [*rest, await self._renew(first[0])]
        if self._options.kill:
            while not all(track.written for track in first):
                await pause(_TICK)
            rest = await self._kill_worker(rest)
        for track in rest:
            await self._win(track)
            await pause(between)

    async def _renew(self, original: Track) -> Track:
        """Clone a deal that has its order, as a renewal is made of last year's deal: order number, status, key and all.

        What was copied must not keep the renewal from having an order of its own.
        """
        while not original.written:
            await pause(_TICK)
        deal = original.deal
        row = (await self._people.query(f"SELECT CloseDate FROM Opportunity WHERE Id = '{deal.id}'"))[0]  # noqa: S608 - SOQL with an id
        next_year = date.fromisoformat(row["CloseDate"]) + _YEAR
        clone = await self._people.clone(deal.id, Name=f"{deal.name}, renewal", CloseDate=next_year.isoformat())
        renewal = Track(next(one for one in await self._salesforce.deals() if one.id == clone))
        self._tracks[clone] = renewal
        return renewal

    async def _win(self, track: Track) -> None:
        await self._people.win(track.deal.id)
        track.won_at = datetime.now(UTC)
        if track.stage == "open":  # Temporal may have been quicker
            track.stage = "won"

    async def _kill_worker(self, tracks: Sequence[Track]) -> Sequence[Track]:
        """Win some deals at once and kill the worker when some are half-way; return the deals that are left.

        Half-way is proved after the kill. Should all have slipped through just before it, the next ones are taken.
        """
        worker = self._stack.workers[0]
        while tracks:
            burst, tracks = tracks[:_BURST], tracks[_BURST:]
            await together(*(self._win(track) for track in burst))
            while not any(track.stage in _HALF_WAY for track in burst) and not all(track.written for track in burst):
                await self._look()
            pid = worker.pid
            await worker.kill()
            await self._look()
            caught = [track for track in self._tracks.values() if track.stage in _HALF_WAY and not track.written]
            await worker.start()
            if caught:
                self._show_note(
                    f"{self._passed():.0f} s: {worker.name} (pid {pid}) got SIGKILL with {len(caught)} half-way; "
                    f"now pid {worker.pid}"
                )
                break
        return tracks

    async def _watch(self) -> None:
        """Draw until every deal is written back. Raises `PartError` and `StuckError`."""
        moved, seen = time.monotonic(), ""
        while True:
            self._stack.check()
            await self._look()
            self._draw()
            if (now := str([(track.stage, track.written) for track in self._tracks.values()])) != seen:
                moved, seen = time.monotonic(), now
            behind = [track for track in self._tracks.values() if not track.written]
            if not behind and len(self._tracks) == self._options.deals:
                return
            hopeless = behind and all(track.stage == OrderStage.ATTENTION for track in behind)
            if hopeless or time.monotonic() > moved + _PATIENCE:
                raise self._stuck(behind)
            await pause(_TICK)

    async def _look(self) -> None:
        """Ask Temporal for the stages and Salesforce for the numbers."""
        client = await self._stack.temporal.client()
        query = all_of(of_type(names.ORDER_WORKFLOW), started_since(self._began))
        async for execution in client.list_workflows(query):
            stage = execution.search_attributes.get(names.ORDER_STAGE)
            track = self._tracks.get(names.parse_order_workflow_id(execution.id).record)
            if track and stage:
                track.stage = str(stage[0])
        for deal in await self._salesforce.deals():
            if deal.id in self._tracks:
                self._tracks[deal.id].deal = deal

    def _draw(self) -> None:
        picture, line = show.journey(
            list(self._tracks.values()),
            erp=self._options.erp.words,
            passed=self._passed(),
            note=self._note,
            size=self._screen.console.size,
            now=datetime.now(UTC),
        )
        self._screen.draw(picture, line)

    def _show_note(self, note: str) -> None:
        """Show it in the picture, or print it where there is none."""
        self._note = note
        if not self._screen.console.is_terminal:
            self._screen.say(note)

    def _passed(self) -> float:
        return (datetime.now(UTC) - self._began).total_seconds()

    def _stuck(self, behind: Sequence[Track]) -> StuckError:
        stages = Counter(track.stage for track in behind)
        where = ", ".join(f"{stage} ({number})" for stage, number in stages.most_common())
        logs = ", ".join(str(part.log) for part in self._stack.parts)
        return StuckError(
            f"{len(behind)} of {len(self._tracks)} deals are not written back after {self._passed():.0f} s. They stand "
            f"at: {where}. Look at their workflows in Temporal's UI (--keep leaves it running), and into {logs}"
        )


async def _draw_start(stack: Stack, screen: Screen) -> None:
    """Draw until all parts are ready."""
    began: dict[Part, float] = {}
    took: dict[Part, float] = {}
    with screen:
        while len(took) < len(stack.parts):
            for part in stack.parts:
                if part.state is State.STARTING:
                    began.setdefault(part, time.monotonic())
                if part.state is State.READY and part not in took:
                    took[part] = time.monotonic() - began.get(part, time.monotonic())
                    if not screen.console.is_terminal:
                        screen.say(f"{part.name} is ready ({took[part]:.1f} s)")
            since = {part.name: took.get(part, time.monotonic() - start) for part, start in began.items()}
            screen.draw(*show.starting(stack.parts, since))
            await asyncio.sleep(0.1)
