"""Ids, transactions and files."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from closedwon.ids import RecordId
from closedwon.localorg.config import CustomField, OrgConfig
from closedwon.localorg.org import Org
from closedwon.localorg.schema import Schema
from closedwon.localorg.store import Store, record_id

SCHEMA = Schema(OrgConfig())


def test_new_ids_are_real_and_never_repeat() -> None:
    """Every id has its object's prefix and a right checksum, and is given once."""
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


def test_orgs_count_alike() -> None:
    """Two orgs hold equal record ids, as a sandbox and its production org do, but have ids of their own."""
    one, other = Org(), Org()
    assert one.create("Account", Name="A") == other.create("Account", Name="B")
    assert one.org_id != other.org_id
    one.store.close()
    other.store.close()


def test_transactions_nest() -> None:
    """An inner failure undoes the inner part, an outer one everything."""
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
    """Id, records, events and clock of an org are there when its file is opened again."""
    path = tmp_path / "org.sqlite3"
    first = Org(path=path)
    account = first.create("Account", Name="Kept")
    replay_id = first.publish_raw("/event/Order_Requested__e", {"payload": {}})
    first.clock.advance(timedelta(hours=5))
    first.store.close()
    again = Org(path=path)
    assert (first.org_id, "Kept") == (again.org_id, again.get("Account", account)["Name"])
    assert [replay_id] == [one.replay_id for one in again.bus.after("/event/Order_Requested__e", 0, 10)]
    assert again.create("Account", Name="Next") != account
    assert again.clock.offset == timedelta(hours=5)
    again.store.close()


def test_a_file_of_another_org_is_refused(tmp_path: Path) -> None:
    """A data directory is not silently turned into another org."""
    path = tmp_path / "org.sqlite3"
    Org(path=path, org_id="00DQy0000000001").store.close()
    with pytest.raises(ValueError, match="use another --data-dir"):
        Org(path=path, org_id="00DQy0000000002")


def test_a_new_custom_field_is_added_to_an_old_file(tmp_path: Path) -> None:
    """An administrator may add a field to an org that has data already."""
    path = tmp_path / "org.sqlite3"
    first = Org(path=path)
    account = first.create("Account", Name="A")
    first.store.close()
    field = CustomField(on="Account", name="Region__c", length=10)
    again = Org(path=path, config=OrgConfig(custom_fields=(field,)))
    assert again.get("Account", account)["Region__c"] is None
    again.update("Account", account, Region__c="West")
    assert again.get("Account", account)["Region__c"] == "West"
    again.store.close()


def test_the_file_is_the_owners_only(tmp_path: Path) -> None:
    """Tokens lie in the file: nobody else may read it."""
    path = tmp_path / "org.sqlite3"
    store = Store(SCHEMA, path)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.meta("closed")
