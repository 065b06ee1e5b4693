"""The whole world as child processes, under attack: how it is struck, how truth is counted, what is shown on failure.

Truth is what the audit finds in Salesforce, the ERP and Temporal; how far a run is, is counted by SOQL and in the ERP's
list of orders. Strikes are counted when they have happened: a kill when the process is gone, a lost reply when the
server has dropped it. Randomness comes from one seed, which a failure shows; CLOSEDWON_FAULT_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import aiohttp
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from closedwon import names
from closedwon.audit.compare import AuditReport
from closedwon.demo import ErpKind, Stream, TemporalKind, Via
from closedwon.demo.deals import SalesforceRecords
from closedwon.demo.parts import Part, State
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.connection import Connection
from closedwon.errors import RetryError
from closedwon.ids import RecordId
from closedwon.model.subscriptions import Cursor
from closedwon.settings import load_settings
from tests.support.audit import assert_clean, look, story
from tests.support.encryption import with_keys
from tests.support.waiting import STALL, until
from workers.connections import Connections

_ROOT = Path(__file__).parents[2]
SEED = "CLOSEDWON_FAULT_SEED"
CHANNEL = "/event/Order_Requested__e"
_POLL = 0.1
_MAXIMUM_LINE = 240
_IMPATIENT = {"CLOSEDWON_RETRY__MAXIMUM_INTERVAL": "3s"}
"""Seconds. An outage of a test lasts seconds too."""
_AWAY = (aiohttp.ClientError, TimeoutError, RetryError, RPCError)
"""What a server that was just killed makes of a call."""

_WITH_EXTERNAL_ID = base64.urlsafe_b64encode(b'[["external_id", "!=", null]]').decode()
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Siege:
    """One world. Make it with `siege`."""

    def __init__(self, stack: Stack, people: OrgClient, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.people = people
        self.http = http
        self.seed = int(os.environ.get(SEED) or random.randrange(2**32))  # noqa: S311 - no secret
        self.chance = random.Random(self.seed)  # noqa: S311 - no secret
        self.kills: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        """Replies that were dropped after their commit, by server."""
        self.deals: list[RecordId] = []
        self._org_id = Connection.model_validate(stack.org.connection).org_id
        self._salesforce = SalesforceRecords(people)
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._selling = asyncio.Lock()
        self._alongside: set[asyncio.Task[Any]] = set()
        self._began = time.monotonic()
        self._journal: list[str] = []

    # Truth

    async def audit(self) -> AuditReport:
        """What the audit says of everything."""
        with patch.dict(os.environ, self.stack.child_environment()):
            settings = load_settings(self.stack.config)
        async with Connections(settings) as connections:
            return await look(settings, connections, with_keys(await self.client(), settings.encryption))

    async def complaints(self) -> list[dict[str, Any]]:
        """Records that show a problem. Kills and lost replies must not lead to one: no person can fix them."""
        rows = await self.people.query("SELECT Id, ERP_Order_Error__c FROM Opportunity")
        return [row for row in rows if row["ERP_Order_Error__c"]]

    async def order_workflows(self) -> list[WorkflowExecution]:
        """Every run of every order workflow, as Temporal lists them."""
        client = await self.client()
        return [one async for one in client.list_workflows(f"WorkflowType = '{names.ORDER_WORKFLOW}'")]

    async def started(self) -> int:
        """How many order workflows there are."""
        client = await self.client()
        return (await client.count_workflows(f"WorkflowType = '{names.ORDER_WORKFLOW}'")).count

    async def is_idle(self) -> bool:
        """Whether no order workflow is under way."""
        return not any(one.status is WorkflowExecutionStatus.RUNNING for one in await self.order_workflows())

    def workflow_id(self, record: RecordId) -> str:
        """The id of a record's workflow."""
        return names.order_workflow_id(self._org_id, record)

    @property
    def subscription_id(self) -> str:
        """The id of the subscription workflow."""
        return names.subscription_workflow_id(self._org_id, CHANNEL)

    async def cursor(self) -> Cursor:
        """The live cursor of the subscription, as the server has it."""
        client = await self.client()
        description = await client.get_workflow_handle(self.subscription_id).describe()
        for pending in description.raw_description.pending_activities:
            if pending.HasField("heartbeat_details"):
                (found,) = await client.data_converter.decode(pending.heartbeat_details.payloads, [Cursor])
                return Cursor.model_validate(found)
        return Cursor()

    async def client(self) -> Client:
        """The Temporal client."""
        return await self.stack.temporal.client()

    # Waiting

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait for a condition; a server that does not answer has not met it.

        Fails when nothing moves any more, when a process has ended by itself, and with what runs alongside.
        """

        async def holds() -> bool:
            self.stack.check()
            for task in (*self._starting.values(), *self._alongside):
                if task.done():
                    task.result()
            with suppress(*_AWAY):
                now = condition()
                return bool(await now if inspect.isawaitable(now) else now)
            return False

        await until(holds, progress=self._progress, what=what, poll=_POLL)

    async def _progress(self) -> object:
        """What changes while this world moves, as far as it answers."""
        moved: list[object] = [dict(self.kills), dict(self.lost), len(self._journal)]
        for count in (self.orders, self.started, self.written_back):
            with suppress(*_AWAY):
                moved.append(await count())
        return moved

    @asynccontextmanager
    async def alongside(self, work: Coroutine[Any, Any, _T]) -> AsyncIterator[asyncio.Task[_T]]:
        """Do something during a block, to be ended with it. It is to go on, or to end well."""
        task = asyncio.create_task(work)
        self._alongside.add(task)
        try:
            yield task
            if task.done():
                task.result()
        finally:
            self._alongside.discard(task)
            task.cancel()
            await asyncio.wait({task})

    async def until_orders(self, number: int) -> None:
        """Wait until the ERP has so many orders."""
        await self._until_there_are(number, self.orders, "orders in the ERP")

    async def until_started(self, number: int) -> None:
        """Wait until there are so many order workflows."""
        await self._until_there_are(number, self.started, "order workflows")

    async def _until_there_are(self, number: int, count: Callable[[], Awaitable[int]], what: str) -> None:
        async def so_many() -> bool:
            return await count() >= number

        await self.until(so_many, f"{number} {what}")

    async def until_all_is_well(self, deals: int) -> None:
        """Wait until so many deals are won, each has one order and its number; fail with what is not so."""
        report: AuditReport | None = None

        async def agree() -> bool:
            nonlocal report
            if await self.written_back() < deals:
                return False
            report = await self.audit()
            return report.clean and not report.under_way

        try:
            await self.until(agree, f"{deals} orders, one for each deal, with its number on it")
        finally:
            self.note(f"at the end: {story(report or await self.audit())}")
        assert report is not None
        assert_clean(report, won=deals)

    # Selling

    async def add_deals(self, number: int) -> Sequence[RecordId]:
        """Add open Opportunities."""
        added = await self.people.admin("POST", "seed", {"opportunities": number})
        new = [RecordId(record) for record in added["ids"]]
        self.deals += new
        return new

    async def win(self, record: RecordId) -> None:
        """Win a deal as a sales person does: try again until Salesforce says yes."""
        async with self._selling:
            while True:
                try:
                    await self.people.win(record)
                except _AWAY:
                    await asyncio.sleep(_POLL)
                else:
                    return

    async def sell(self, deals: Sequence[RecordId], *, in_flight: int | None = None) -> None:
        """Win deals one after the other, so that not more than so many (within ten) are on their way."""

        async def few() -> bool:
            return in_flight is None or await self.on_their_way() < in_flight

        for sold, record in enumerate(deals):
            if sold % 10 == 0:
                await self.until(few, f"fewer than {in_flight} deals on their way")
            await self.win(record)

    async def orders(self) -> int:
        """How many orders the ERP has."""
        erp = self.stack.erp.connection
        if self.stack.erp_kind is ErpKind.STUB:
            async with self.http.get(f"{erp['url']}/_admin/orders") as answer:
                return len((await answer.json())["orders"])
        headers = {"Authorization": f"Bearer {erp['key']}"}
        query = f"{erp['url']}/rest/model/sale.sale?f=id&d={_WITH_EXTERNAL_ID}"
        async with self.http.get(query, headers=headers) as answer:
            return len(await answer.json())

    async def written_back(self) -> int:
        """How many records have a number."""
        return sum(bool(deal.number) for deal in await self._salesforce.deals())

    async def on_their_way(self) -> int:
        """How many won records have no number yet."""
        return sum(deal.won and not deal.number for deal in await self._salesforce.deals())

    # Striking

    async def kill(self, part: Part) -> None:
        """Kill a process, and start it again in the background."""
        await self.standing(part)
        await part.kill()
        assert part.exit_code == -9
        self.kills[part.name] += 1
        self.note(f"killed {part.name}")
        self._starting[part.name] = asyncio.create_task(part.start())

    @asynccontextmanager
    async def dying(
        self, name: str, script: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[None]:
        """Run a process of Closedwon that kills itself at a point of danger, and another one after each death."""
        whole = os.environ | self.stack.child_environment() | {"PYTHONPATH": str(_ROOT)} | dict(environment or {})

        async def work_and_die() -> None:
            while True:
                with self.log(f"dying-{name}").open("ab") as log:
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, script, *arguments,
                        env=whole, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                    )  # fmt: skip
                try:
                    assert -9 == await process.wait()
                finally:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
                self.kills[name] += 1
                self.note(f"a dying {name} has killed itself")

        async with self.alongside(work_and_die()):
            yield

    async def standing(self, part: Part) -> None:
        """Wait until a part that was killed is up again."""
        if (start := self._starting.pop(part.name, None)) is not None:
            await start
        assert part.state is State.READY

    async def all_standing(self) -> None:
        """Wait until every part is up again."""
        for part in self.stack.parts:
            await self.standing(part)

    async def lose_erp_replies(self, times: int) -> None:
        """Let the stub ERP drop replies to the next writes after their commit, and wait until it has."""
        await self.standing(self.stack.erp)
        await self._erp_faults({"lose_reply": times})

        async def lost() -> bool:
            return not (await self._erp_faults({}))["lose_reply"]

        await self.until(lost, f"{times} replies of the ERP lost")
        self.lost["erp"] += times
        self.note(f"the ERP lost {times} replies")

    async def refuse_orders(self, times: int) -> None:
        """Let the stub ERP refuse the next orders."""
        await self._erp_faults({"reject": times})

    async def lose_salesforce_answers(self, times: int) -> None:
        """Let Salesforce drop answers to the next writes after their commit. Win no deals meanwhile."""
        await self.standing(self.stack.org)

        async def spent() -> bool:
            return await self._answers_to_lose() == 0 or await self.on_their_way() == 0

        left = times
        while left:
            async with self._selling:
                await self.people.admin("POST", "faults/lose-answers", {"times": left})
                await self.until(spent, f"{left} answers to write-backs lost")
                left = await self._answers_to_lose()
                await self.people.admin("POST", "faults/lose-answers", {"times": 0})
            await asyncio.sleep(_POLL)  # let somebody win a deal, if none was left
        self.lost["org"] += times
        self.note(f"Salesforce lost {times} answers")

    async def _answers_to_lose(self) -> int:
        return int((await self.people.admin("GET", "state"))["faults"]["lost_answer"])

    async def _erp_faults(self, faults: Mapping[str, Any]) -> dict[str, Any]:
        async with self.http.post(f"{self.stack.erp.connection['url']}/_admin/faults", json=dict(faults)) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    # What is shown on failure

    def log(self, name: str) -> Path:
        """The log file of a process that a test runs beside the stack's."""
        return self.stack.data_dir / "logs" / f"{name}.log"

    def note(self, text: str) -> None:
        """Add to what is shown on failure."""
        self._journal.append(f"{time.monotonic() - self._began:6.1f} s  {text}")

    def evidence(self) -> str:
        """What happened, and the last log lines of every process."""
        words = [
            f"{part.name} ({part.state}, {part.log}):\n{_shortened(part.last_lines())}" for part in self.stack.parts
        ]
        return "\n\n".join([self.story(), *words])

    def story(self) -> str:
        """What was done to this world, and when."""
        head = f"repeat with {SEED}={self.seed}; kills {dict(self.kills)}, lost replies {dict(self.lost)}"
        return "\n".join([head, *self._journal])


def _shortened(lines: str) -> str:
    return "\n".join(line[:_MAXIMUM_LINE] for line in lines.splitlines())


@asynccontextmanager
async def siege(
    data_dir: Path,
    *,
    erp: ErpKind = ErpKind.STUB,
    via: Via = Via.EVENT,
    stream: Stream = Stream.COMETD,
    temporal: TemporalKind = TemporalKind.DEVELOPMENT,
    workers: int = 1,
    subscribers: int = 1,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[Stack], None] = lambda _stack: None,
) -> AsyncIterator[Siege]:
    """A started world. `prepare` may change a part before it is started."""
    stack = Stack(
        data_dir,
        erp=erp,
        via=via,
        stream=stream,
        temporal=temporal,
        workers=workers,
        subscribers=subscribers if via is Via.EVENT else 0,
        environment=_IMPATIENT | dict(environment or {}),
    )
    for part in stack.parts:
        part.patience = part.grace = STALL
    prepare(stack)
    async with (
        stack,
        OrgClient.open(Connection.model_validate(stack.org.connection)) as people,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        world = Siege(stack, people, http)
        try:
            yield world
            await world.all_standing()
            _log.info("%s", world.story())
        except BaseException as error:
            error.add_note(world.evidence())
            raise
