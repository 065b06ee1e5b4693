"""The Apex classes, checked offline: they parse, use existing names, and match intake's protocol."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from typing import Final

import pytest
import tree_sitter_language_pack
from pydantic import SecretStr

from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.data.schema import Schema
from closedwon.salesforce.push import callout, signature
from tests.support import sfdx

_APEX: Final = sfdx.apex()
_TEST: Final = _APEX["ClosedwonCalloutTest"]


def _constant(name: str) -> str:
    found = re.search(rf"static final String {name} = '(.*)';", _TEST)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", _APEX)
def test_apex_parses_and_has_the_name_of_its_file(name: str) -> None:
    """Otherwise Salesforce would reject it, minutes later."""
    tree = tree_sitter_language_pack.get_parser("apex").parse(_APEX[name].encode())
    declared = [node for node in tree.root_node.named_children if not node.type.endswith("comment")]
    names = [node.child_by_field_name("name") for node in declared]

    assert not tree.root_node.has_error
    assert [name.encode()] == [node and node.text for node in names]


@pytest.mark.parametrize("name", _APEX)
def test_apex_names_only_fields_that_are_there(name: str) -> None:
    """All fields of our objects, and the known ones of standard objects."""
    ours = {field for one in sfdx.objects() for field in sfdx.fields(one)} | sfdx.objects()

    assert set(re.findall(r"\b\w+__[a-z]+\b", _APEX[name])) <= ours


@pytest.mark.parametrize("name", _APEX)
def test_apex_says_in_which_mode_it_reads_and_writes(name: str) -> None:
    """From API 67.0 on the default is user mode: a user who wins a deal has no permission for our objects."""
    if name.endswith("Test"):
        return
    statements = re.findall(
        r"\[\s*SELECT\b[^\]]*\]|Database\.(?:insert|update|upsert|delete|queryWithBinds)\([^;]*;|EventBus\.publish[^;]*;",
        _APEX[name],
        re.DOTALL,
    )

    assert [] == [one for one in statements if not re.search(r"WITH (USER|SYSTEM)_MODE|AccessLevel\.", one)]
    assert not re.search(r"^\s*(insert|update|upsert|delete) |getOrgDefaults", _APEX[name], re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in _APEX if not name.endswith(("Test", "Trigger", "TestDeals"))])
def test_every_class_is_tested(name: str) -> None:
    """Salesforce does not deploy Apex to production without test coverage."""
    tests = "".join(source for other, source in _APEX.items() if other.endswith("Test"))

    assert re.search(rf"\b{name}\b|Database\.delete" if name == "ClosedwonTombstones" else rf"\b{name}\b", tests)


@pytest.mark.parametrize("name", ["VECTOR_SIGNATURE", "VECTOR_SIGNATURE_2"])
def test_intake_accepts_the_signature_of_apex(name: str) -> None:
    """Intake verifies the signatures that the Apex test asserts."""
    timestamp = _constant("VECTOR_TIMESTAMP")
    headers = {signature.TIMESTAMP_HEADER: timestamp, signature.SIGNATURE_HEADER: _constant(name)}
    now = datetime.fromtimestamp(int(timestamp), UTC)
    key, seen = SecretStr(_constant("VECTOR_KEY")), signature.SeenSignatures()

    signature.verify(headers, _constant("VECTOR_BODY").encode(), [key], now, seen, path=_constant("VECTOR_PATH"))


def test_intake_parses_the_requests_of_apex() -> None:
    """Intake parses the envelope that the Apex test asserts."""
    content_type = re.search(r"'Content-Type', '(.*?)'", _APEX["ClosedwonCallout"])
    assert content_type is not None

    call = callout.parse_json(_constant("VECTOR_BODY").encode(), {"Content-Type": content_type[1]})

    assert ["0065g00000XyZabAAF"] == [item.record for item in call.items]


def test_a_call_of_apex_has_at_most_the_records_that_intake_accepts() -> None:
    """A larger call would be refused as a whole, at each retry."""
    most = re.search(r"MOST_RECORDS = (\d+);", _APEX["ClosedwonCallout"])
    assert most is not None

    assert callout.MOST_RECORDS == int(most[1])


def test_the_payload_has_all_that_the_example_configuration_selects() -> None:
    """The same expressions work on the event's payload as on the record."""
    select: str = tomllib.loads(sfdx.EXAMPLE.read_text(encoding="utf-8"))["routes"][0]["select"]
    apex = set(re.findall(r"[\w.]+", _APEX["ClosedwonEvents"]))

    assert set(re.findall(r"[\w.]+", select)) <= apex


def test_the_payload_fits_into_its_field() -> None:
    """Apex omits a payload that is longer than the field."""
    event = Schema(OrgConfig()).find("Order_Requested__e")
    field = event.find("Payload__c") if event is not None else None
    assert field is not None

    assert f"LONGEST_PAYLOAD = {field.length};" in _APEX["ClosedwonEvents"]
