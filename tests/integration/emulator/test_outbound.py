"""The Salesforce emulator sends outbound messages like Salesforce: until the ack, or for 24 hours."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.emulators.salesforce.data.schema import TOMBSTONE
from closedwon.emulators.salesforce.push.outbound import Queued
from closedwon.salesforce.push import outbound
from tests.integration.emulator.receiving import pushing, receiver_at, receiving, until_settled, until_tried, won
from tests.support.handoff import until
from tests.support.intake import Authority


async def test_a_won_deal_is_sent_once_with_its_fields() -> None:
    """The product's own parser reads it, and the queue is empty after the ack."""
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


async def test_without_an_ack_a_message_is_repeated_for_a_day() -> None:
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


async def test_every_response_but_a_positive_ack_is_a_failure() -> None:
    """A nack, a fault, a wrong namespace, a body that is not SOAP, another status."""
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

            def has_failed_once(org: SalesforceEmulator = org) -> bool:
                return [1] == [one.attempts for one in org.outbox.queued()]

            await until(has_failed_once)
            assert org.outbox.queued()[0].problem


async def test_many_are_merged_and_a_deleted_record_has_no_data() -> None:
    """Up to 100 notifications per message; the payload is read when it is sent."""
    async with receiving() as (org, receiver):
        org.seed(150)
        org.faults.down()
        records = org.win_next(150)
        org.delete("Opportunity", records[0])
        org.update("Opportunity", records[1], Name="Renamed since")
        org.faults.down(on=False)
        await until(lambda: not org.outbox.queued())
        notifications = [one for message in receiver.messages for one in message.notifications]

        assert [100, 50] == [len(message.notifications) for message in receiver.messages]
        assert 1 == sum(one.fields is None for one in notifications)
        names = {one.fields["Name"] for one in notifications if one.fields is not None}
        assert "Renamed since" in names


async def test_faults_split_double_and_lose_acks() -> None:
    """The same notification ids arrive again; no record is sent twice with another id."""
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


async def test_the_queue_survives_a_restart(tmp_path: Path) -> None:
    """The queue is in the file."""
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


async def test_a_deleted_record_sends_a_message_by_its_tombstone() -> None:
    """Deleting sends no message; the tombstone's creation does, with the record's id."""
    async with receiver_at() as receiver:
        fields = ("Record_Id__c", "Object__c")
        buried = won(receiver.url, name="buried", on=TOMBSTONE, trigger="onCreateOnly", field="", fields=fields)
        async with pushing(buried) as org:
            (record,) = org.win_next(1)
            org.delete("Opportunity", record)
            await until_settled(org)

            (message,) = receiver.messages
            (notification,) = message.notifications
            tombstone = org.query("SELECT Id FROM Deleted_Record__c")[0]["Id"]
            assert TOMBSTONE == message.object
            assert tombstone == notification.record
            assert notification.fields is not None
            assert (record, "Opportunity") == tuple(notification.fields[name] for name in fields)


async def test_an_overtaken_message_brings_an_older_state_later() -> None:
    """Salesforce guarantees no order: the older state arrives last."""
    async with receiver_at() as receiver:
        every = won(receiver.url, trigger="onAllChanges", fields=("Name", "SystemModstamp"))
        async with pushing(every) as org:
            (record,) = org.win_next(1)
            await until_settled(org)
            receiver.messages.clear()
            org.faults.reorder_messages()
            org.update("Opportunity", record, Name="Old")
            await until(lambda: not org.faults.armed()["overtaken_message"])
            org.clock.advance(timedelta(milliseconds=1))
            org.update("Opportunity", record, Name="New")
            await until_settled(org)

            sent = [one.fields or {} for message in receiver.messages for one in message.notifications]
            assert ["New", "Old"] == [fields["Name"] for fields in sent]
            assert (sent[0]["SystemModstamp"] or "") > (sent[1]["SystemModstamp"] or "")


async def test_a_stalled_message_fails_at_the_timeout_and_is_sent_again() -> None:
    """Half a message is not a message; the connection is closed after the time-out."""
    async with receiver_at() as receiver, pushing(won(receiver.url), outbound_timeout="300ms") as org:
        org.faults.stall_messages()
        org.win_next(1)
        await until_tried(org, [1])

        assert "no response in time" == org.outbox.queued()[0].problem
        assert [] == receiver.messages
        org.clock.advance(timedelta(seconds=15))
        await until_settled(org)
        assert 1 == len(receiver.messages)


async def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    """An endpoint that has moved must be configured again."""
    async with receiver_at() as receiver, pushing(won(f"{receiver.url}moved")) as org:
        org.win_next(1)
        await until_tried(org, [1])

        assert "HTTP 307" == org.outbox.queued()[0].problem
        assert [] == receiver.messages


async def test_a_late_response_is_a_failure() -> None:
    """The receiver has the message, and gets it again."""
    async with receiver_at() as receiver, pushing(won(receiver.url), outbound_timeout="300ms") as org:
        receiver.open.clear()
        org.win_next(1)
        await until_tried(org, [1])
        receiver.open.set()
        org.clock.advance(timedelta(seconds=15))
        await until_settled(org)

        first, second = receiver.messages
        assert first.notifications[0].id == second.notifications[0].id


async def test_a_slow_endpoint_does_not_delay_other_messages() -> None:
    """Two definitions for one deal: one is delivered while the other waits for its ack."""
    async with receiver_at() as slow, receiver_at() as quick:
        slow.open.clear()
        async with pushing(won(slow.url), won(quick.url, name="too")) as org:
            org.win_next(1)
            await until(lambda: ["won"] == [one.definition for one in org.outbox.queued()])

            assert 1 == len(quick.messages)
            slow.open.set()
            await until_settled(org)


async def test_messages_of_a_removed_definition_fail(tmp_path: Path) -> None:
    """A user removed it from `org.toml` while its messages waited. Other messages are delivered."""
    file = tmp_path / "org.sqlite3"
    async with receiver_at() as receiver:
        async with pushing(won("http://localhost:9/", name="old"), path=file) as org:
            org.win_next(1)
            await until_tried(org, [1])
        async with pushing(won(receiver.url), path=file) as org:
            org.clock.advance(timedelta(seconds=15))
            org.win_next(1)
            await until(lambda: ["its definition was removed"] == [one.problem for one in org.outbox.queued()])

            assert 1 == len(receiver.messages)


async def test_a_refused_connection_is_a_failure_until_the_endpoint_changes() -> None:
    """A refused connection is a recorded problem; the endpoint can be set later."""
    async with receiver_at() as receiver, pushing(won("http://localhost:9/")) as org:
        org.win_next(1)
        await until_tried(org, [1])
        assert "ClientConnectorError" == org.outbox.queued()[0].problem

        org.outbox.set_endpoint("won", receiver.url)
        org.outbox.retry(org.outbox.queued()[0].id)
        await until_settled(org)
        assert 1 == len(receiver.messages)


async def test_the_endpoint_sees_the_orgs_client_certificate(tmp_path: Path) -> None:
    """An endpoint that requests it gets it; an endpoint with an untrusted certificate gets no message."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    certificate, key, _ = ours.issue("localhost")
    client_certificate, client_key, _ = ours.issue("salesforce")
    both = tmp_path / "both.pem"
    both.write_bytes(client_certificate.read_bytes() + client_key.read_bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.file))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(certificate, key)
    shown = {"client_certificate": both, "trusted_certificates": ours.file}
    problems = []
    async with receiver_at(tls) as receiver:
        async with pushing(won(receiver.url), **shown) as org:
            org.win_next(1)
            await until_settled(org)
        for bad in ({"trusted_certificates": ours.file}, {**shown, "trusted_certificates": theirs.file}):
            async with pushing(won(receiver.url), **bad) as org:
                org.win_next(1)
                await until_tried(org, [1])
                problems.append(org.outbox.queued()[0].problem)

        assert ["salesforce"] == receiver.peers
        assert "ClientConnectorCertificateError" == problems[1]


async def test_an_old_org_sends_a_valid_session_id() -> None:
    """As before February 2026: a session of the user who sends the message."""
    async with receiver_at() as receiver, pushing(won(receiver.url, include_session_id=True)) as org:
        org.win_next(2)
        await until_settled(org)
        session = receiver.messages[0].session

        assert session is not None
        assert org.integration_user == org.oauth.user_of(session.get_secret_value())
        assert 1 == org.oauth.valid_tokens
