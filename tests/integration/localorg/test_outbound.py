"""The local org sends outbound messages as Salesforce does: until they are acknowledged, or for 24 hours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from closedwon.localorg import LocalOrg, OrgConfig
from closedwon.localorg.config import OutboundDefinition
from closedwon.localorg.outbound import Queued
from closedwon.salesforce import outbound
from tests.support.handoff import until


class Receiver:
    """Takes outbound messages and answers as it is told."""

    def __init__(self) -> None:
        self.messages: list[outbound.OutboundMessage] = []
        self.status, self.body = 200, outbound.ack(accepted=True)

    async def handle(self, request: web.Request) -> web.Response:
        """Read one."""
        self.messages.append(outbound.parse(await request.read()))
        return web.Response(body=self.body, status=self.status, content_type="text/xml")


@asynccontextmanager
async def receiving(path: Path | None = None, **config: object) -> AsyncIterator[tuple[LocalOrg, Receiver]]:
    """An org that sends to a receiver of our own."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://localhost:{runner.addresses[0][1]}/"
    definition = OutboundDefinition(name="won", endpoint=endpoint, fields=("Id", "Name", "Amount", "StageName"))
    settings = OrgConfig.model_validate({"outbound_messages": (definition,), **config})
    try:
        async with LocalOrg.running(config=settings, path=path) as org:
            yield org, receiver
    finally:
        await runner.cleanup()


async def test_a_won_deal_is_told_once_with_its_fields() -> None:
    """What arrives is read by the product's own parser, and nothing waits after the ack."""
    async with receiving() as (org, receiver):
        org.seed(1)
        (record,) = org.win_next(1)
        await until(lambda: not org.outbox.queued())

        (message,) = receiver.messages
        assert (org.org_id, "Opportunity") == (message.org, message.object)
        assert message.session is None
        (notification,) = message.notifications
        assert record == notification.record
        assert notification.fields is not None
        assert "Closed Won" == notification.fields["StageName"]


async def test_without_an_ack_it_is_sent_again_with_growing_intervals_and_fails_after_a_day() -> None:
    """15 s, doubling up to an hour; after 24 h it is on the failed list, from where it can be retried."""
    async with receiving() as (org, receiver):
        org.seed(1)
        receiver.body = outbound.ack(accepted=False)
        org.win_next(1)
        intervals = []

        def tried(times: int) -> bool:
            return len(receiver.messages) >= times and org.outbox.queued()[0].attempts >= times

        attempts = 0
        while not org.outbox.queued() or not org.outbox.queued()[0].failed:
            attempts += 1
            await until(lambda times=attempts: tried(times))  # type: ignore[misc]
            (waiting,) = org.outbox.queued()
            wait = timedelta(milliseconds=waiting.next_ms - org.clock.now_ms())
            intervals.append(round(wait.total_seconds()))
            if not waiting.failed:
                org.clock.advance(wait)
        ids = {message.notifications[0].id for message in receiver.messages}
        receiver.body = outbound.ack(accepted=True)
        org.outbox.retry(org.outbox.queued()[0].id)
        await until(lambda: not org.outbox.queued())

        assert [15, 30, 60, 120, 240, 480, 960, 1920, 3600] == intervals[:9]
        assert {3600} == set(intervals[8:])
        assert 28 <= attempts <= 33
        assert 1 == len(ids)


async def test_every_answer_but_a_good_ack_is_a_failure() -> None:
    """A nack, a fault, a wrong namespace, no SOAP at all, another status."""
    for status, body in (
        (200, outbound.ack(accepted=False)),
        (500, outbound.fault("Server", "later")),
        (200, outbound.ack(accepted=True).replace(b"sforce", b"other")),
        (200, b"OK"),
        (302, outbound.ack(accepted=True)),
    ):
        async with receiving() as (org, receiver):
            org.seed(1)
            receiver.status, receiver.body = status, body
            org.win_next(1)

            def has_failed_once(org: LocalOrg = org) -> bool:
                return [1] == [one.attempts for one in org.outbox.queued()]

            await until(has_failed_once)
            assert org.outbox.queued()[0].problem


async def test_many_are_merged_and_a_deleted_record_has_no_data() -> None:
    """Up to 100 notifications in a message; the payload is read when it is sent."""
    async with receiving() as (org, receiver):
        org.seed(150)
        org.faults.down()
        won = org.win_next(150)
        org.records.delete(org.object("Opportunity"), won[0], actor=org.sales_user)
        org.update("Opportunity", won[1], Name="Renamed since")
        org.faults.down(on=False)
        await until(lambda: not org.outbox.queued())
        notifications = [one for message in receiver.messages for one in message.notifications]

        assert [100, 50] == [len(message.notifications) for message in receiver.messages]
        assert 1 == sum(one.fields is None for one in notifications)
        names = {one.fields["Name"] for one in notifications if one.fields is not None}
        assert "Renamed since" in names


async def test_faults_split_double_and_lose_acks() -> None:
    """The same notification ids come again; nobody is told twice under another id."""
    async with receiving() as (org, receiver):
        org.seed(3)
        org.faults.split_messages()
        org.faults.double_messages(2)
        org.faults.lose_acks(1)
        org.win_next(3)
        await until(lambda: len(receiver.messages) >= 5 and len(org.outbox.queued()) == 1)
        org.clock.advance(timedelta(seconds=15))
        await until(lambda: not org.outbox.queued())

        assert {1} == {len(message.notifications) for message in receiver.messages}
        assert 3 == len({message.notifications[0].id for message in receiver.messages})
        assert 6 == len(receiver.messages)


async def test_the_queue_outlives_the_org(tmp_path: Path) -> None:
    """What waits is in the file."""
    file = tmp_path / "org.sqlite3"
    async with receiving(file) as (org, receiver):
        org.seed(1)
        receiver.body = outbound.ack(accepted=False)
        org.win_next(1)
        await until(lambda: [1] == [one.attempts for one in org.outbox.queued()])
        before: list[Queued] = org.outbox.queued()
    async with receiving(file) as (org, receiver):
        assert before == org.outbox.queued()
        org.clock.advance(timedelta(seconds=15))
        await until(lambda: not org.outbox.queued())

        assert [before[0].id] == [message.notifications[0].id for message in receiver.messages]
