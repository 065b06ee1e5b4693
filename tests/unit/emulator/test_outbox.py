"""What the org queues to send, when, and for how long; without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from closedwon.emulators.salesforce import ApiError, OrgConfig
from closedwon.emulators.salesforce.config import CalloutDefinition, OutboundDefinition, ValidationRule, read_config
from closedwon.emulators.salesforce.data.schema import TOMBSTONE
from closedwon.emulators.salesforce.data.seed import seed
from closedwon.emulators.salesforce.org import EmulatedOrg


def _definition(**changes: Any) -> OutboundDefinition:
    settings = {"name": "won", "endpoint": "http://localhost:9/", **changes}
    return OutboundDefinition.model_validate(settings)


@contextmanager
def _org(*definitions: OutboundDefinition, path: Path | None = None, **config: Any) -> Iterator[EmulatedOrg]:
    made = EmulatedOrg(config=OrgConfig.model_validate({"outbound_messages": definitions, **config}), path=path)
    yield made
    made.store.close()


@pytest.mark.parametrize(
    ("changes", "queued"),
    [
        ({}, 2),
        ({"field": "IsWon", "becomes": True}, 2),
        ({"field": "stagename"}, 2),
        ({"field": "IsWon", "becomes": True, "or_changes": ["IsWon"]}, 3),
        ({"field": "IsWon", "becomes": True, "or_changes": ["name"]}, 3),
        ({"or_changes": ["Nothing__c"]}, None),
        ({"trigger": "onAllChanges"}, 3),
        ({"trigger": "onAllChanges", "field": ""}, 6),
        ({"trigger": "onCreateOnly"}, 0),
        ({"trigger": "onCreateOnly", "field": "StageName", "becomes": "Prospecting"}, 1),
        ({"trigger": "onCreateOnly", "field": ""}, 1),
        ({"field": ""}, 1),
        ({"field": "IsDeleted", "becomes": True}, 0),
        ({"on": "Account"}, None),
        ({"on": "Account", "field": "Name", "becomes": "Somebody", "fields": ["Id"]}, 0),
    ],
)
def test_a_rule_is_triggered_by_its_kind_of_write(changes: dict[str, Any], queued: int | None) -> None:
    """Created, won, saved, reopened, won again, deleted: the life of one deal, with each kind of rule."""
    if queued is None:
        with pytest.raises(ValueError, match=r"won: (Account|Opportunity) has no field"), _org(_definition(**changes)):
            pass
        return
    with _org(_definition(**changes)) as org:
        record = org.create("Opportunity", Name="Tea", StageName="Prospecting", CloseDate="2026-01-31")
        org.win(record)
        org.update("Opportunity", record, Name="Green tea")
        org.update("Opportunity", record, StageName="Negotiation/Review")
        org.win(record)
        expected = [record] * queued
        if queued == 6:  # onAllChanges without a condition: also one more touch
            org.update("Opportunity", record, Name="Black tea")
        org.delete("Opportunity", record)

        assert expected == [one.record for one in org.outbox.queued()]


def test_a_write_that_is_rolled_back_sends_nothing() -> None:
    """A message is queued if and only if the change is committed."""
    rule = ValidationRule(on="Opportunity", when="StageName = 'Closed Won'", message="Not today")
    with _org(_definition(), validation_rules=(rule,)) as org:
        seed(org, opportunities=1)
        with pytest.raises(ApiError, match="Not today"):
            org.win_next(1)

        assert [] == org.outbox.queued()


def test_writes_of_the_integration_user_send_no_messages() -> None:
    """It lacks the permission, so that a write-back cannot loop."""
    with _org(_definition(trigger="onAllChanges")) as org:
        seed(org, opportunities=1)
        (record,) = org.win_next(1)
        written = {"ERP_Order_Number__c": "SO-1"}
        org.records.update(org.object("Opportunity"), record, written, actor=org.integration_user)

        assert 1 == len(org.outbox.queued())


def test_objects_without_a_delete_trigger_get_no_tombstone() -> None:
    """The configuration names those that have one."""
    with _org(tombstones_of=["Account"]) as org:
        record = org.create("Opportunity", Name="Tea", StageName="Prospecting", CloseDate="2026-01-31")
        account = org.create("Account", Name="Somebody")
        org.delete("Opportunity", record)
        org.delete("Account", account)

        (tombstone,) = org.query("SELECT Id, Record_Id__c, Object__c FROM Deleted_Record__c")
        assert (account, "Account") == (tombstone["Record_Id__c"], tombstone["Object__c"])


@pytest.mark.parametrize(("longest", "attempts"), [(3600, 31), (7200, 20)])
def test_intervals_double_up_to_the_maximum(longest: int, attempts: int) -> None:
    """15 s first; 60 minutes by one guide, 2 hours by another. After 24 h nothing is due."""
    with _org(_definition(), outbound_maximum_interval=f"{longest}s") as org:
        seed(org, opportunities=1)
        org.win_next(1)
        begun = org.clock.now_ms()
        waits = []
        while due := org.outbox.due("won", 100):
            org.outbox.record_result(due, "a nack")
            (waiting,) = org.outbox.queued()
            waits.append(round((waiting.next_ms - org.clock.now_ms()) / 1000))
            if not waiting.failed:
                org.clock.advance(timedelta(milliseconds=waiting.next_ms - org.clock.now_ms()))

        expected = [15 * 2**attempt for attempt in range(len(waits))]
        assert [min(wait, longest) for wait in expected] == waits
        assert attempts == len(waits)
        assert timedelta(hours=24) >= timedelta(milliseconds=org.clock.now_ms() - begun)
        assert [1] == [one.failed for one in org.outbox.queued()]


def test_callouts_have_the_intervals_of_our_apex() -> None:
    """One minute first, doubling, ten at most, for a day: like `ClosedwonCalloutJob`."""
    callout = CalloutDefinition(name="called", endpoint="http://localhost:9/", key="k" * 16)
    with _org(callouts=(callout,)) as org:
        seed(org, opportunities=1)
        org.win_next(1)
        waits = []
        while due := org.outbox.due("called", 100):
            org.outbox.record_result(due, "HTTP 503")
            (waiting,) = org.outbox.queued()
            waits.append(round((waiting.next_ms - org.clock.now_ms()) / 60_000))
            if not waiting.failed:
                org.clock.advance(timedelta(milliseconds=waiting.next_ms - org.clock.now_ms()))

        assert [1, 2, 4, 8, 10, 10] == waits[:6]
        assert {10} == set(waits[6:])
        assert [1] == [one.failed for one in org.outbox.queued()]


def test_a_notification_fails_after_a_day_and_can_be_retried() -> None:
    """It moves to the failed list with its last problem; `retry` gives it another day."""
    with _org(_definition()) as org:
        seed(org, opportunities=1)
        org.win_next(1)
        org.outbox.record_result(org.outbox.due("won", 100), "a nack")
        org.clock.advance(timedelta(hours=24, seconds=1))

        assert set() == org.outbox.due_names()
        (failed,) = org.outbox.queued()
        assert (1, "a nack") == (failed.failed, failed.problem)
        org.outbox.retry(failed.id)
        assert {"won"} == org.outbox.due_names()
        org.outbox.record_result(org.outbox.due("won", 100), "a nack")
        assert [0] == [one.failed for one in org.outbox.queued()]
        org.outbox.delete(failed.id)
        assert [] == org.outbox.queued()


def test_stored_definitions_survive_a_restart(tmp_path: Path) -> None:
    """So does a changed endpoint of one from the file: waiting notifications must be delivered after a restart."""
    file = tmp_path / "org.sqlite3"
    with _org(_definition(), path=file) as org:
        org.outbox.define(_definition(name="too", on=TOMBSTONE, field="", fields=["Record_Id__c"]))
        for port in (11, 10):
            org.outbox.set_endpoint("won", f"http://localhost:{port}/")
    with _org(_definition(), path=file) as org:
        known = {one.name: one for one in org.outbox.definitions()}

        assert {"won", "too"} == set(known)
        assert "http://localhost:10/" == known["won"].endpoint
        assert TOMBSTONE == known["too"].on


def test_certificate_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    """They are relative to `org.toml`; a file that is not a certificate stops the org with the setting's name."""
    (tmp_path / "org.toml").write_text('client_certificate = "both.pem"\n')
    config = read_config(tmp_path / "org.toml")
    (tmp_path / "both.pem").write_text("no certificate")

    assert tmp_path / "both.pem" == config.client_certificate
    with pytest.raises(ValueError, match="client_certificate"):
        EmulatedOrg(config=config)
