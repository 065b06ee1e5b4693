"""`closedwon route try` shows what would become of a record, and changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from closedwon.ids import RecordId
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.settings import load_settings
from tests.integration.cli.conftest import Closedwon, Installation


async def _say_status(settings: Path, record: str, status: str | None, key: str | None = None) -> None:
    """Write a status to the record, with the key that proves it, as the integration does."""
    org = load_settings(settings).orgs[0]
    login = TokenSource(org)
    client = SalesforceClient(org, login)
    await client.update("Opportunity", RecordId(record), {"ERP_Order_Status__c": status, "ERP_Order_Key__c": key})
    await client.close()
    await login.close()


def test_a_won_deal_is_shown_as_its_order(closedwon: Closedwon, installation: Installation) -> None:
    """Record, order, ERP and write-back, readable."""
    result = closedwon("route", "try", "won-deals", installation.won)
    text = " ".join(result.output.split())
    assert 0 == result.exit_code, result.output
    assert f'"Id": "{installation.won}"' in text
    assert f":{installation.won}" in text
    assert "✓ ERP stub: the record qualifies (IsWon)" in text
    assert "ERP_Order_Number__c empty <the ERP's number>" in text
    assert "attributes" not in text


def test_programs_get_json(closedwon: Closedwon, installation: Installation) -> None:
    """The amounts are exact, the record is as Salesforce gives it, and asking again gives the same: nothing changed."""
    first = closedwon("route", "try", "won-deals", installation.won, "--json")
    trial = json.loads(first.stdout)
    order = trial["order"]
    lines = trial["record"]["OpportunityLineItems"]["records"]
    assert trial["qualifies"] is True
    assert installation.won == trial["record"]["Id"] == order["record"]
    assert ("stub", "EUR") == (trial["erp"], order["currency"])
    assert [line["Product2"]["ProductCode"] for line in lines] == [line["product"] for line in order["lines"]]
    assert [Decimal(str(line["TotalPrice"])) for line in lines] == [Decimal(line["total"]) for line in order["lines"]]
    assert {"now": None, "then": "<the ERP's number>"} == trial["write_back"]["ERP_Order_Number__c"]
    assert first.stdout == closedwon("route", "try", "won-deals", installation.won, "--json").stdout


def test_the_short_form_of_the_id_will_do(closedwon: Closedwon, installation: Installation) -> None:
    """As it stands in the address of Salesforce's pages."""
    result = closedwon("route", "try", "won-deals", installation.won[:15], "--json")
    assert installation.won == json.loads(result.stdout)["order"]["record"]


def test_the_order_of_a_record_that_does_not_qualify_is_still_shown(
    closedwon: Closedwon, installation: Installation
) -> None:
    """One can see what will come of a deal before it is won."""
    result = closedwon("route", "try", "won-deals", installation.still_open)
    text = " ".join(result.output.split())
    assert 0 == result.exit_code
    assert "nowhere: the record does not qualify (IsWon); else ERP stub" in text
    assert "idempotency key" in text


@pytest.fixture
def try_with(closedwon: Closedwon, installation: Installation, tmp_path: Path) -> Iterator[Callable[[str | None], str]]:
    """Return a function that tries the won deal with the status `cancelled` beside a key."""
    closedwon("route", "try", "won-deals", installation.won)  # writes the settings file
    settings = tmp_path / "closedwon.toml"

    def run(key: str | None) -> str:
        asyncio.run(_say_status(settings, installation.won, "cancelled", key))
        return " ".join(closedwon("route", "try", "won-deals", installation.won).output.split())

    yield run
    asyncio.run(_say_status(settings, installation.won, None))


def test_a_deal_whose_order_was_declined_goes_nowhere(
    try_with: Callable[[str | None], str], installation: Installation, tmp_path: Path
) -> None:
    """What no message would order is not shown as if it were."""
    org = load_settings(tmp_path / "closedwon.toml").orgs[0].id
    text = try_with(f"{org}:{installation.won}")
    assert "nowhere: ERP_Order_Status__c says that the order was declined; clear that field to order" in text
    assert "the record qualifies" not in text


def test_a_status_that_nothing_proves_is_shown_as_a_doubt(
    try_with: Callable[[str | None], str], installation: Installation, tmp_path: Path
) -> None:
    """A copied status does not count; without any key the ERP is asked."""
    org = load_settings(tmp_path / "closedwon.toml").orgs[0].id
    copied = try_with(f"{org}:{installation.still_open}")
    assert "ERP_Order_Key__c holds the key of another record: number and status were copied with it" in copied
    assert "✓ ERP stub: the record qualifies (IsWon)" in copied
    unproven = try_with(None)
    assert "ERP_Order_Status__c says that its order was declined, but nothing proves it: the ERP is asked" in unproven
    assert "✓ ERP stub: the record qualifies (IsWon)" in unproven


def test_a_mapping_that_fails_is_reported_beside_the_record(closedwon: Closedwon, installation: Installation) -> None:
    """The record is there to see why."""
    change = ('currency = "CurrencyIsoCode"', 'currency = "StageName"')
    result = closedwon("route", "try", "won-deals", installation.won, changes=(change,))
    text = " ".join(result.output.split())
    assert 1 == result.exit_code
    assert f'"Id": "{installation.won}"' in text
    assert "order.currency: the expression 'StageName' gives a text, not a currency code like EUR" in text
    problem = json.loads(closedwon("route", "try", "won-deals", installation.won, "--json", changes=(change,)).stdout)
    assert ("mapping-failed", None) == (problem["problem"]["reason"], problem["order"])


def test_an_erp_that_does_not_exist_is_reported(closedwon: Closedwon, installation: Installation) -> None:
    """An expression may yield anything; the order that it would be for is shown."""
    change = ('erp = "stub" ', 'erp = { expression = "StageName" } ')
    result = closedwon("route", "try", "won-deals", installation.won, changes=(change,))
    assert 1 == result.exit_code
    assert "yields the ERP 'Closed Won', which is not in the settings" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("won-deal", "0065g00000AbCdEAAV"), "There is no route 'won-deal'; did you mean `won-deals`?"),
        (("won-deals", "0065g0000"), "'0065g0000' is not a Salesforce id: it has 9 characters, not 15 or 18"),
        (("won-deals", "0065g00000AbCdEAAX"), "its checksum is 'AAX', but 'AAV' belongs to"),
        (
            ("won-deals", "0065g00000AbCdEAAV"),
            "Org 'production' has no Opportunity 0065g00000AbCdEAAV, or its integration",
        ),
        (
            ("won-deals", "0065g00000AbCdEAAV", "--payload", "x"),
            'reads the record (source = "record"): omit --payload',
        ),
    ],
)
def test_a_trial_that_cannot_be_made_says_why(closedwon: Closedwon, arguments: tuple[str, ...], expected: str) -> None:
    """One sentence, exit code 1, no stack trace."""
    result = closedwon("route", "try", *arguments)
    assert 1 == result.exit_code
    assert expected in result.output
    assert "Traceback" not in result.output


def test_an_org_that_is_away_is_reported(closedwon: Closedwon, installation: Installation, unused_port: int) -> None:
    """The operator does not read a stack trace."""
    url = next(line for line in installation.settings.splitlines() if line.startswith('url = "http://localhost'))
    change = (url, f'url = "http://localhost:{unused_port}"')
    result = closedwon("route", "try", "won-deals", installation.won, changes=(change,))
    assert 1 == result.exit_code
    assert "Salesforce's login is unreachable" in result.output
    assert f"See that org 'production' runs and that http://localhost:{unused_port} is its address" in result.output
    assert "Traceback" not in result.output


EVENT = {
    "Opportunity_Id__c": "0065g00000AbCdE",
    "Payload__c": json.dumps(
        {
            "Name": "Roof",
            "IsWon": True,
            "Amount": 0.3,
            "CurrencyIsoCode": "EUR",
            "Account": {"Id": "0015g00000AbCdE", "Name": "Acme"},
            "OpportunityLineItems": {
                "records": [{"Product2": {"ProductCode": "GC1040"}, "Quantity": 3, "UnitPrice": 0.1}]
            },
        }
    ),
}


@pytest.fixture
def from_event(installation: Installation) -> tuple[str, str]:
    """Make the route take the order from the event."""
    settings = installation.settings
    looks = settings[settings.index("select = ") : settings.index("[routes.order]")]
    return looks, 'source = "event"\npayload = "Payload__c"\nqualify = "IsWon"\nerp = "stub"\n'


@pytest.mark.parametrize("whole", [True, False])
def test_an_event_is_tried_from_a_file(
    closedwon: Closedwon, from_event: tuple[str, str], tmp_path: Path, *, whole: bool
) -> None:
    """As the bus delivers it, or its fields alone; no org is asked."""
    file = tmp_path / "event.json"
    event: dict[str, Any] = {"event": {"replayId": 7}, "payload": EVENT} if whole else EVENT
    file.write_text(json.dumps(event))
    arguments = ("route", "try", "won-deals", "0065g00000AbCdEAAV", "--payload", str(file))
    trial = json.loads(closedwon(*arguments, "--json", changes=(from_event,)).stdout)
    (line,) = trial["order"]["lines"]
    assert ("GC1040", "3", "0.1") == (line["product"], line["quantity"], line["unit_price"])
    assert "ERP_Order_Number__c not read" in " ".join(closedwon(*arguments, changes=(from_event,)).output.split())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is not valid JSON: "),
        ("[" * 100_000, "is not valid JSON: "),
        ("[]", "is not an event: it must be a JSON object"),
        ('{"Opportunity_Id__c": "0065g00000AbCdF"}', "is about record 0065g00000AbCdFAAV, not 0065g00000AbCdEAAV"),
        ("{}", "record_id: the expression 'Opportunity_Id__c' gives no value, but one is needed"),
        (
            '{"Opportunity_Id__c": "0065g00000AbCdE"}',
            "payload: the expression 'Payload__c' gives no value, not an object",
        ),
    ],
)
def test_a_file_that_holds_no_usable_event_is_reported(
    closedwon: Closedwon, from_event: tuple[str, str], tmp_path: Path, content: str | None, expected: str
) -> None:
    """One sentence, exit code 1."""
    file = tmp_path / "event.json"
    if content is not None:
        file.write_text(content)
    result = closedwon("route", "try", "won-deals", "0065g00000AbCdEAAV", "--payload", str(file), changes=(from_event,))
    assert 1 == result.exit_code
    assert expected in result.output


def test_a_route_from_events_needs_one(closedwon: Closedwon, from_event: tuple[str, str]) -> None:
    """The record alone is not what such a route looks at."""
    result = closedwon("route", "try", "won-deals", "0065g00000AbCdEAAV", changes=(from_event,))
    assert 1 == result.exit_code
    assert "give a JSON file with one by --payload" in result.output
