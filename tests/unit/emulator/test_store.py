"""Ids, transactions and files."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from closedwon.emulators.salesforce.config import CustomField, OrgConfig
from closedwon.emulators.salesforce.data.schema import Schema
from closedwon.emulators.salesforce.data.store import Store, record_id
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import RecordId

SCHEMA = Schema(OrgConfig())


def test_new_ids_are_valid_and_unique() -> None:
    """Every id has its object's prefix and a valid checksum, and is issued once."""
    store = Store(SCHEMA)
    made = [store.new_id("006") for _ in range(500)]
    assert 500 == len(set(made)) == len({one.lower() for one in made})
    assert all(one.startswith("006") and RecordId(str(one)) == one for one in made)
    store.close()


def test_ids_that_differ_in_case_only() -> None:
    """15-character ids may differ in case alone, as in Salesforce; their 18-character forms do not collide."""
    upper, lower = record_id("006", 10), record_id("006", 36)
    assert upper.short.lower() == lower.short.lower()
    assert upper.lower() != lower.lower()


def test_orgs_have_equal_record_ids() -> None:
    """Two orgs have equal record ids, like a sandbox and its production org, but org ids of their own."""
    one, other = EmulatedOrg(), EmulatedOrg()
    assert one.create("Account", Name="A") == other.create("Account", Name="B")
    assert one.org_id != other.org_id
    one.store.close()
    other.store.close()


def test_transactions_nest() -> None:
    """An inner failure rolls back the inner part, an outer one everything."""
    store = Store(SCHEMA)
    with store.transaction():
        store.set_meta("kept", "1")
        with pytest.raises(RuntimeError), store.transaction():  # noqa: PT012 - the block is the transaction
            store.set_meta("inner", "1")
            raise RuntimeError
    with pytest.raises(RuntimeError), store.transaction():  # noqa: PT012 - likewise
        store.set_meta("kept", "2")
        raise RuntimeError
    assert ("1", None) == (store.meta("kept"), store.meta("inner"))
    store.close()


def test_a_file_keeps_the_org(tmp_path: Path) -> None:
    """Id, records, events and clock of an org are the same when its file is opened again."""
    path = tmp_path / "org.sqlite3"
    first = EmulatedOrg(path=path)
    account = first.create("Account", Name="Kept")
    replay_id = first.publish_raw("/event/Order_Requested__e", {"payload": {}})
    first.clock.advance(timedelta(hours=5))
    first.store.close()
    again = EmulatedOrg(path=path)
    assert (first.org_id, "Kept") == (again.org_id, again.get("Account", account)["Name"])
    assert [replay_id] == [one.replay_id for one in again.bus.after("/event/Order_Requested__e", 0, 10)]
    assert again.create("Account", Name="Next") != account
    assert again.clock.offset == timedelta(hours=5)
    again.store.close()


def test_a_file_of_another_org_is_refused(tmp_path: Path) -> None:
    """A data directory does not silently become another org."""
    path = tmp_path / "org.sqlite3"
    EmulatedOrg(path=path, org_id="00DQy0000000001").store.close()
    with pytest.raises(ValueError, match="use another --data-dir"):
        EmulatedOrg(path=path, org_id="00DQy0000000002")


def test_a_new_custom_field_is_added_to_an_old_file(tmp_path: Path) -> None:
    """An administrator may add a field to an org that already has data."""
    path = tmp_path / "org.sqlite3"
    first = EmulatedOrg(path=path)
    account = first.create("Account", Name="A")
    first.store.close()
    field = CustomField(on="Account", name="Region__c", length=10)
    again = EmulatedOrg(path=path, config=OrgConfig(custom_fields=(field,)))
    assert again.get("Account", account)["Region__c"] is None
    again.update("Account", account, Region__c="West")
    assert again.get("Account", account)["Region__c"] == "West"
    again.store.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    """The file contains tokens, so no other user may read it."""
    path = tmp_path / "org.sqlite3"
    store = Store(SCHEMA, path)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.meta("closed")
