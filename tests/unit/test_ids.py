"""Salesforce ids are checked and become 18 characters at the edge."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from closedwon.ids import InvalidIdError, OrgId, RecordId, checksum

shorts = st.text(string.ascii_letters + string.digits, min_size=15, max_size=15)
mixed = shorts.filter(lambda short: short not in {short.upper(), short.lower()})


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("00D5g000004Kx1X", "00D5g000004Kx1XEAS"),
        ("0015g00000AbCdE", "0015g00000AbCdEAAV"),
        ("aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaAAA"),
        ("AAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA555"),
        ("Aaaaa0aaaaaaaaA", "Aaaaa0aaaaaaaaABAQ"),
    ],
)
def test_fifteen_characters_become_eighteen(short: str, expected: str) -> None:
    """The checksum is the one that Salesforce appends."""
    assert expected == RecordId(short)


@given(shorts)
def test_both_forms_of_an_id_are_one_id(short: str) -> None:
    """Whichever form a message carries, the record is the same; normalising again changes nothing."""
    record = RecordId(short)
    assert record == RecordId(str(record)) == RecordId(record)
    assert short == record.short
    assert short[:3] == record.prefix


@given(shorts)
def test_the_checksum_may_come_in_lower_case(short: str) -> None:
    """Systems that fold the last characters' case do not make a record unknown."""
    assert RecordId(short) == RecordId(short + checksum(short).lower())


@given(mixed, st.text(string.ascii_uppercase + string.digits, min_size=3, max_size=3))
def test_a_wrong_checksum_is_refused_with_the_right_one(short: str, suffix: str) -> None:
    """An id of which a character was damaged on the way is not taken for another record."""
    if suffix == checksum(short):
        assert RecordId(short) == RecordId(short + suffix)
        return
    with pytest.raises(InvalidIdError, match=f"'{checksum(short)}' belongs to '{short}'"):
        RecordId(short + suffix)


@given(mixed)
def test_an_id_of_which_single_letters_have_another_case_is_refused(short: str) -> None:
    """No tool does that: a character is mistyped, and which one is not known."""
    with pytest.raises(InvalidIdError, match="checksum"):
        RecordId(short.swapcase() + checksum(short))


@given(shorts, st.sampled_from([str.upper, str.lower]), st.sampled_from([str.upper, str.lower]))
def test_the_checksum_restores_the_case(
    short: str, change: Callable[[str], str], change_checksum: Callable[[str], str]
) -> None:
    """A spreadsheet or a tool has written all letters in one case: that is what the 18-character form is for."""
    assert RecordId(short) == RecordId(change(short) + change_checksum(checksum(short)))


@pytest.mark.parametrize("damaged", ["006000000000001AAB", "006000000000001900", "aaaaaaaaaaaaaaaZA6"])
def test_a_checksum_that_no_case_fits_is_refused(damaged: str) -> None:
    """A digit has no case, and a checksum has only the characters A to Z and 0 to 5."""
    with pytest.raises(InvalidIdError, match="checksum"):
        RecordId(damaged)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("", "it has 0 characters, not 15 or 18"),
        ("0015g00000AbCdEAA", "it has 17 characters"),
        ("0015g00000AbCd-", "only A-Z, a-z and 0-9"),
        ("0015g00000AbCdÉ", "only A-Z, a-z and 0-9"),
        ("0015g00000AbCd٣", "only A-Z, a-z and 0-9"),
        (5, "it is a int, not a text"),
        (None, "it is a NoneType, not a text"),
    ],
)
def test_a_text_that_is_not_an_id_is_refused_with_a_reason(wrong: object, problem: str) -> None:
    """The message says what is wrong."""
    with pytest.raises(InvalidIdError, match=problem):
        RecordId(wrong)


def test_an_org_id_must_be_an_organisation() -> None:
    """A record's id in the place of the org's is a mistake in the settings."""
    assert OrgId("00D5g000004Kx1X").prefix == "00D"
    with pytest.raises(InvalidIdError, match="its key prefix is '001', not '00D'"):
        OrgId("0015g00000AbCdE")


def test_a_record_id_is_not_taken_for_an_org_id_unchecked() -> None:
    """The key prefix of an id that was checked already is checked as well."""
    with pytest.raises(InvalidIdError, match="key prefix"):
        OrgId(RecordId("0015g00000AbCdE"))


def test_models_hold_ids_as_text() -> None:
    """An id travels as JSON text and is checked again where it arrives."""

    class Holder(BaseModel):
        record: RecordId

    holder = Holder.model_validate({"record": "0015g00000AbCdE"})
    assert '{"record":"0015g00000AbCdEAAV"}' == holder.model_dump_json()
    assert holder == Holder.model_validate_json(holder.model_dump_json())
    assert isinstance(Holder.model_validate_json(holder.model_dump_json()).record, RecordId)
    with pytest.raises(ValidationError, match="checksum"):
        Holder.model_validate({"record": "0015g00000AbCdEAAA"})


def test_a_long_text_is_cut_in_the_message() -> None:
    """A megabyte in the place of an id does not end in the log."""
    with pytest.raises(InvalidIdError) as caught:
        RecordId("x" * 10_000)
    assert len(str(caught.value)) < 150
