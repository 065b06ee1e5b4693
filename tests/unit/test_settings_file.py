"""A settings file that is missing, is not a text, or holds what a query needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from closedwon.settings import Route, Settings, SettingsError, load_settings

Load = Callable[[str], Settings]


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """The newcomer's first mistake."""
    with pytest.raises(
        SettingsError, match=r"no.toml: there is no such file; copy closedwon.example.toml .* CLOSEDWON_CONFIG"
    ):
        load_settings(tmp_path / "no.toml")


def test_a_folder_is_not_a_settings_file(tmp_path: Path) -> None:
    """The error for a wrong mount says that the path is a directory."""
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


def test_broken_toml_is_named_by_its_line(example: str, load: Load) -> None:
    """The line number is what one needs."""
    number = example.splitlines().index("[[erps]]") + 1
    with pytest.raises(SettingsError, match=rf"is not valid TOML: .*at line {number}, column \d+\); correct that line"):
        load(example.replace("[[erps]]", "[[erps]", 1))


def test_an_editors_mark_at_the_beginning_is_passed_over(example: str, load: Load) -> None:
    """Some editors begin a file in UTF-8 with a byte order mark."""
    assert load(example) == load(f"\ufeff{example}")


def test_a_file_that_is_not_utf8_text_is_refused(tmp_path: Path) -> None:
    """The error for a file in another encoding names the encoding that is expected."""
    file = tmp_path / "closedwon.toml"
    file.write_bytes("name = 'Zürich'".encode("latin-1"))
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_settings(file)


def test_the_query_fetches_what_the_write_back_compares(route: Route) -> None:
    """Equal values are not written, so their fields must be read; none is asked for twice, which Salesforce refuses."""
    fields = [field.strip() for field in route.query_fields.split(",")]
    assert {"Id", "StageName", "ERP_Order_Number__c", "ERP_Order_Error__c"} <= set(fields)
    assert len(fields) == len(set(fields))


def test_what_cannot_be_known_is_not_called_missing(example: str, load: Load) -> None:
    """FIELDS(ALL) fetches whatever there is; a compound field fetches its parts."""
    load(example.replace("Id, Name, StageName,", "FIELDS(CUSTOM),"))
    load(
        example.replace("Account.BillingCity, ", "Account.BillingAddress, ").replace(
            '"Account.BillingCity"', '"Account.BillingAddress.city"'
        )
    )
    load(
        example.replace(
            "FROM OpportunityLineItems)", "FROM OpportunityLineItems WHERE Type__c IN ('a', 'b') ORDER BY Id)"
        )
    )
