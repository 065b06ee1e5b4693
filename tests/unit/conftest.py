"""The example settings and a record as Salesforce's REST API returns it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from closedwon.settings import Route, Settings, load_settings

EXAMPLE = Path(__file__).parents[2] / "closedwon.example.toml"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment that the example names."""
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "the-client-secret")
    monkeypatch.setenv("TRYTON_KEY", "the-tryton-key")
    monkeypatch.setenv("CLOSEDWON_CALLOUT_KEY", "the-callout-key-of-the-example-settings")
    monkeypatch.setenv("CLOSEDWON_PATH_SECRET", "the-path-secret-of-the-example-settings")
    monkeypatch.setenv("PAYLOAD_KEY", base64.b64encode(bytes(32)).decode())
    monkeypatch.setenv("WRONG_KEY", base64.b64encode(b"wrong" + bytes(27)).decode())


@pytest.fixture
def example() -> str:
    """Return the text of the example settings, to be changed."""
    return EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture
def load(tmp_path: Path, secrets: None) -> Callable[[str], Settings]:
    """Return a function that loads settings from a text."""
    del secrets  # being in the environment is enough

    def load_text(text: str) -> Settings:
        file = tmp_path / "closedwon.toml"
        file.write_text(text, encoding="utf-8")
        return load_settings(file)

    return load_text


@pytest.fixture
def route(example: str, load: Callable[[str], Settings]) -> Route:
    """Return the example's route."""
    return load(example).route("won-deals")


@pytest.fixture
def changed(example: str, load: Callable[[str], Settings]) -> Callable[[str, str], Route]:
    """Return a function that makes the example's route with one text replaced."""

    def change(old: str, new: str) -> Route:
        assert old in example
        return load(example.replace(old, new)).routes[0]

    return change


@pytest.fixture
def record() -> dict[str, Any]:
    """Return a won Opportunity with two lines."""
    return {
        "attributes": {"type": "Opportunity"},
        "Id": "0065g00000AbCdEAAV",
        "Name": "Roof for Acme",
        "StageName": "Closed Won",
        "IsWon": True,
        "CloseDate": "2025-11-03",
        "Amount": 183.42,
        "CurrencyIsoCode": "EUR",
        "PO_Number__c": "PO-77",
        "Account": {
            "Id": "0015g00000AbCdEAAV",
            "Name": "Acme",
            "BillingStreet": "Main Street 1",
            "BillingCity": "Vienna",
            "BillingPostalCode": "1010",
            "BillingCountryCode": "AT",
        },
        "OpportunityLineItems": {
            "totalSize": 2,
            "done": True,
            "records": [
                {"Product2": {"ProductCode": "GC1040"}, "Quantity": 3.0, "UnitPrice": 19.99, "Description": None},
                {"Product2": {"ProductCode": "SL9080"}, "Quantity": 0.1, "UnitPrice": 1234.5, "Description": "Setup"},
            ],
        },
        "ERP_Order_Number__c": None,
        "ERP_Order_Status__c": "confirmed",
        "ERP_Order_Link__c": "",
        "ERP_Order_Error__c": None,
        "ERP_Order_Key__c": None,
    }
