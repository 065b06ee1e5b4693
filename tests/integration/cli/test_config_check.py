"""`closedwon config check` prints what is correct, what is wrong, and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon.salesforce.push.contract import Contract
from tests.integration.cli.conftest import Closedwon, Installation


def lines(output: str) -> dict[str, str]:
    """Return what is said about each subject, with its mark; the hint follows."""
    found: dict[str, str] = {}
    subject = ""
    for line in output.splitlines():
        if line[:2] in {"✓ ", "✗ ", "! "}:
            subject = line[2:].partition("  ")[0]
            found[subject] = line
        elif subject:
            found[subject] += f"\n{line}"
    return found


def test_everything_that_the_file_names_is_asked(closedwon: Closedwon) -> None:
    """A newcomer who sees only check marks can start."""
    result = closedwon("config", "check")
    found = lines(result.output)
    assert 0 == result.exit_code, result.output
    assert {"settings", "org production", "route won-deals", "erp stub", "temporal", "key 2026-11"} == set(found)
    assert "1 org, 1 ERP, 1 route" in found["settings"]
    assert "API calls left" in found["org production"]
    assert "reads Opportunity with all its fields, receives /event/Order_Requested__e" in found["route won-deals"]
    assert "with all search attributes" in found["temporal"]
    assert "All is well. Start with: closedwon run" in result.output


def test_a_route_that_is_pushed_to_says_where(closedwon: Closedwon) -> None:
    """The path is what Salesforce must be given."""
    pushed = 'outbound = {}\ncallouts = { keys = [{ env = "CLOSEDWON_CALLOUT_KEY" }] }'
    changes = ('events = ["/event/Order_Requested__e"]', pushed), ("# A route:", "[intake]\n#")
    found = lines(closedwon("config", "check", changes=changes).output)
    assert found["route won-deals"].endswith("receives POST /outbound/won-deals, /callouts/won-deals")


def test_a_path_secret_is_shown_as_a_placeholder_and_an_open_intake_is_warned_of(
    closedwon: Closedwon, installation: Installation
) -> None:
    """A warning is not a failure: a deliberate choice does not fail the check."""
    pushed = 'outbound = { path_secrets = [{ env = "CLOSEDWON_PATH_SECRET" }] }'
    opened = '[intake]\nallow = ["0.0.0.0/0"]\n#'
    result = closedwon(
        "config", "check", changes=(('events = ["/event/Order_Requested__e"]', pushed), ("# A route:", opened))
    )
    found = lines(result.output)

    assert 0 == result.exit_code, result.output
    assert found["route won-deals"].endswith("receives POST /outbound/won-deals/{secret}")
    assert "`intake.allow` holds 0.0.0.0/0" in result.output
    assert "! intake" in result.output
    assert installation.environment["CLOSEDWON_PATH_SECRET"] not in result.output


def test_a_route_that_any_sender_can_push_to_fails_the_check(closedwon: Closedwon) -> None:
    """Running processes hold its org: the same words before the start."""
    opened = "[intake]\nproxies = ['10.0.0.0/8']\n#"
    result = closedwon(
        "config", "check", changes=(('events = ["/event/Order_Requested__e"]', "outbound = {}"), ("# A route:", opened))
    )
    assert 1 == result.exit_code
    assert (
        "✗ org production  Any sender that can reach intake can send outbound messages to route won-deals"
        in result.output
    )
    assert "`closedwon secret path` prints one" in result.output


def test_no_secret_is_shown(closedwon: Closedwon, installation: Installation) -> None:
    """The output can be pasted into a ticket."""
    output = closedwon("config", "check").output
    assert not [secret for secret in installation.environment.values() if len(secret) > 30 and secret in output]


WRONG = [
    (
        '"Quantity"',
        '"Quantty["',
        "settings",
        "routes[0].order.lines.quantity (won-deals): 'Quantty[' is not a JMESPath",
    ),
    ('"PO_Number__c"', '"PO__c"', "settings", "routes[0].order.reference (won-deals): reads PO__c, which `select`"),
    ("PO_Number__c", "PO_Nr__c", "route won-deals", "No such column 'PO_Nr__c'"),
    ('"ERP_Order_Link__c"', '"ERP_Lnk__c"', "route won-deals", "No such column 'ERP_Lnk__c'"),
    ("/event/Order_Requested__e", "/event/No__e", "route won-deals", "Check the route's `events` (the channel exists)"),
    ('{ env = "SALESFORCE_CLIENT_SECRET" }', '{ env = "ERP_TOKEN" }', "org production", "invalid_client"),
    (
        '{ env = "SALESFORCE_CLIENT_SECRET" }',
        '{ env = "ERP_TOKEN" }',
        "route won-deals",
        "not checked: org production does",
    ),
    ('{ env = "ERP_TOKEN" }', '{ env = "SALESFORCE_CLIENT_SECRET" }', "erp stub", "token"),
    (
        'auth = { flow = "c',
        'api_version = "99.0"\nauth = { flow = "c',
        "org production",
        "does not offer version 99.0 of its API",
    ),
    ('"ERP_Order_Link__c"', '"SystemModstamp"', "route won-deals", "may not edit SystemModstamp of Opportunity"),
    ("IsWon = TRUE AND", "IsWonn = TRUE AND", "route won-deals", "No such column 'IsWonn'"),
]


@pytest.mark.parametrize(
    ("old", "new", "subject", "expected"), WRONG, ids=[f"{new}: {subject}" for _, new, subject, _ in WRONG]
)
def test_what_is_wrong_is_reported_with_its_hint(
    closedwon: Closedwon, old: str, new: str, subject: str, expected: str
) -> None:
    """The other parts are still checked, and a script sees it by the exit code."""
    result = closedwon("config", "check", changes=((old, new),))
    found = lines(result.output)
    assert 1 == result.exit_code
    assert found[subject].startswith("✗ ")
    assert expected in found[subject]
    assert "to fix." in result.output
    assert subject == "settings" or found["temporal"].startswith("✓ ")


def test_a_wrong_org_id_is_noticed(closedwon: Closedwon, installation: Installation) -> None:
    """Orders of a sandbox do not get into production's books by a copied file."""
    id_line = next(line for line in installation.settings.splitlines() if line.startswith("id ="))
    result = closedwon("config", "check", changes=((id_line, 'id = "00D5g000004Kx1X"'),))
    assert 1 == result.exit_code
    assert "`orgs.id` of 'production' says 00D5g000004Kx1XEAS" in lines(result.output)["org production"]


def test_servers_that_are_away_are_reported_with_their_key(
    closedwon: Closedwon, installation: Installation, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    """Nothing hangs and nothing ends in a stack trace."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{unused_port}")
    urls = [line for line in installation.settings.splitlines() if line.startswith('url = "http://localhost')]
    result = closedwon(
        "config", "check", changes=tuple((url, f'url = "http://localhost:{unused_port}"') for url in urls)
    )
    found = lines(result.output)
    assert 1 == result.exit_code
    assert (
        "that its port is right, and that no firewall refuses it. Its address is in `orgs.url`"
        in found["org production"]
    )
    assert "Its address is in `erps.url`" in found["erp stub"]
    assert "TEMPORAL_ADDRESS" in found["temporal"]
    assert "4 problems to fix." in result.output
    assert "Traceback" not in result.output


def test_what_temporal_refuses_is_reported_like_the_rest(closedwon: Closedwon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace that there is not, and a key store that gives no key: one line among the others, with its hint."""
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nowhere")
    namespace = closedwon("config", "check")
    monkeypatch.delenv("TEMPORAL_NAMESPACE")
    kms = ('key = { env = "PAYLOAD_KEY" } }]', '}]\nkms = "no.such:key"')
    key = closedwon("config", "check", changes=((", " + kms[0], kms[1]),))

    assert [1, 1] == [namespace.exit_code, key.exit_code]
    assert "answers NOT_FOUND: Namespace nowhere is not found\n" in lines(namespace.output)["temporal"]
    assert "TEMPORAL_NAMESPACE" in lines(namespace.output)["temporal"]
    assert "does not return the key '2026-11'" in lines(key.output)["temporal"]
    assert "TEMPORAL_ADDRESS" not in lines(key.output)["temporal"]
    assert "1 problem to fix." in namespace.output
    assert "1 problem to fix." in key.output


_EVENTS = 'events = ["/event/Order_Requested__e"]'


def _with_outbound(folder: Path, wsdl: Contract, *more: tuple[str, str], tombstone: str = "") -> list[tuple[str, str]]:
    (folder / "won.wsdl").write_bytes(wsdl.wsdl("https://example.com/outbound/won-deals"))
    secret = 'path_secrets = [{ env = "CLOSEDWON_PATH_SECRET" }]'
    outbound = f'outbound = {{ wsdl = "won.wsdl", {secret}{tombstone} }}'
    return [(_EVENTS, outbound), ("[[orgs]]", "[intake]\n\n[[orgs]]"), *more]


def _from_the_message(example: str) -> list[tuple[str, str]]:
    select = example[example.index('select = """') : example.index("qualify = ")]
    source = [(select, 'source = "event"\n'), ('"IsWon"', "\"IsWon == 'true'\"")]
    return [*source, ("[routes.sweep]", f"[routes.sweep]\n{select}")]


def test_the_wsdl_of_an_outbound_message_is_compared_with_the_route(
    closedwon: Closedwon, installation: Installation, tmp_path: Path
) -> None:
    """What expressions read and the message does not have is reported line by line; as a hint any message fits."""
    fields = {"Name": "xsd:string", "IsWon": "xsd:boolean", "CloseDate": "xsd:date"}
    deal = Contract(object="Opportunity", fields=fields)
    hint = closedwon("config", "check", changes=tuple(_with_outbound(tmp_path, deal)))
    changes = _with_outbound(tmp_path, deal, *_from_the_message(installation.settings))
    whole = closedwon("config", "check", changes=tuple(changes))
    other = closedwon(
        "config", "check", changes=tuple(_with_outbound(tmp_path, Contract(object="Account", fields=fields)))
    )

    assert 0 == hint.exit_code, hint.output
    assert "Opportunity with 3 fields" in lines(hint.output)["wsdl of won-deals"]
    assert [1, 1] == [whole.exit_code, other.exit_code]
    assert "order.customer.name reads Account.Name, which the message" in whole.output
    assert "order.reference reads PO_Number__c, which the message" in whole.output
    assert "does not have SystemModstamp" in whole.output
    assert "order.name reads" not in whole.output
    assert "the WSDL is about Account, the route about Opportunity" in other.output


def test_a_tombstone_that_the_org_does_not_have_is_noticed(closedwon: Closedwon, tmp_path: Path) -> None:
    """A misspelt object or field would leave orders of deleted deals alive, without a word."""
    deal = Contract(object="Opportunity", fields={"Name": "xsd:string"})

    def check(tombstone: str) -> str:
        changes = _with_outbound(tmp_path, deal, tombstone=f", tombstone = {{ {tombstone} }}")
        return lines(closedwon("config", "check", changes=tuple(changes)).output)["route won-deals"]

    assert check('object = "Deleted_Record__c", record_id = "Record_Id__c"').startswith("✓ ")
    assert "No such column 'Record__c'" in check('object = "Deleted_Record__c", record_id = "Record__c"')
    assert "Deleted__c" in check('object = "Deleted__c", record_id = "Record_Id__c"')
