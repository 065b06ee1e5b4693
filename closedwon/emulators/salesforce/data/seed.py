"""Data for a new org: accounts, products, open Opportunities with line items. The same seed gives the same data.

Plain deals are sold at list price. Varied ones have line discounts, sales prices below the list price and delivery
dates, and some have a customer whose name contains a tab, like names from spreadsheets.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import RecordId

PRODUCTS = {
    "GC1040": ("GenWatt Diesel 200kW", 5000.0),
    "GC3020": ("GenWatt Propane 500kW", 9500.0),
    "SL9080": ("SLA: Gold", 1200.0),
}
_ACCOUNTS = (
    ("Nordwind Energie GmbH", "Am Kai 4", "Hamburg", "20457", "Germany", "DE"),
    ("Atelier Lumière SARL", "12 rue des Lilas", "Lyon", "69003", "France", "FR"),
    ("Bianchi & Figli S.p.A.", "Via Roma 21", "Torino", "10121", "Italy", "IT"),
    ("Van Dijk Logistiek B.V.", "Havenstraat 88", "Rotterdam", "3011", "Netherlands", "NL"),
    ("Hermanos Ortega S.L.", "Calle Mayor 5", "Zaragoza", "50001", "Spain", "ES"),
    ("Kaltenbrunner Maschinenbau AG", "Industriering 9", "Linz", "4020", "Austria", "AT"),
    ("Ó Briain Dairies Ltd", "3 Mill Lane", "Cork", "T12 X70A", "Ireland", "IE"),
    ("Øresund Kraft A/S", "Nyhavn 17", "København", "1051", "Denmark", "DK"),
)
_TABBED = ("Zandstra\tTransport B.V.", "Kade 7", "Groningen", "9711", "Netherlands", "NL")
_DISCOUNTS = (5.0, 7.25, 12.5, 33.33)
_OPEN_STAGES = ("Prospecting", "Qualification", "Proposal/Price Quote", "Negotiation/Review")
_FIRST_CLOSE = date(2026, 1, 31)


def seed(org: EmulatedOrg, *, opportunities: int, seed: int = 1, varied: bool = False) -> list[RecordId]:
    """Add open Opportunities of 1 to 3 lines each, and missing accounts and products. Return the Opportunities' ids.

    Of varied ones, every third from the first has discounts, and every fifth from the second the customer with the tab.
    """
    random = Random(seed)  # noqa: S311 - made-up data, no secret
    with org.records.transaction():
        products = [_product(org, code) for code in PRODUCTS]
        accounts = [_account(org, index) for index in range(len(_ACCOUNTS) + varied)]
        return [
            _opportunity(org, random, accounts, products, number, varied=varied)
            for number in range(1, opportunities + 1)
        ]


def _product(org: EmulatedOrg, code: str) -> RecordId:
    found = org.query(f"SELECT Id FROM Product2 WHERE ProductCode = '{code}'")  # noqa: S608 - SOQL with a constant
    name, price = PRODUCTS[code]
    product = RecordId(found[0]["Id"]) if found else org.create("Product2", Name=name, ProductCode=code, IsActive=True)
    if not org.query(f"SELECT Id FROM PricebookEntry WHERE Product2Id = '{product}'"):  # noqa: S608 - SOQL with an id
        org.create("PricebookEntry", Product2Id=product, UnitPrice=price, IsActive=True)
    return product


def _account(org: EmulatedOrg, index: int) -> RecordId:
    number = f"CW-{index + 1:04d}"
    found = org.query(f"SELECT Id FROM Account WHERE AccountNumber = '{number}'")  # noqa: S608 - SOQL with a constant
    if found:
        return RecordId(found[0]["Id"])
    name, street, city, postal_code, country, code = (*_ACCOUNTS, _TABBED)[index]
    return org.create(
        "Account",
        Name=name,
        AccountNumber=number,
        BillingStreet=street,
        BillingCity=city,
        BillingPostalCode=postal_code,
        BillingCountry=country,
        BillingCountryCode=code,
    )


def _opportunity(
    org: EmulatedOrg, random: Random, accounts: list[RecordId], products: list[RecordId], number: int, *, varied: bool
) -> RecordId:
    account = random.randrange(len(_ACCOUNTS))
    if varied and number % 5 == 2:  # noqa: PLR2004 - see `seed`
        account = len(_ACCOUNTS)
    name = (*_ACCOUNTS, _TABBED)[account][0].replace("\t", " ")
    created = org.create(
        "Opportunity",
        Name=f"{name.rpartition(' ')[0]} deal {number}",
        AccountId=accounts[account],
        StageName=random.choice(_OPEN_STAGES),
        CloseDate=(_FIRST_CLOSE + timedelta(days=random.randrange(300))).isoformat(),
        PO_Number__c=f"PO-{random.randrange(10_000, 100_000)}",
    )
    for position, index in enumerate(sorted(random.sample(range(len(products)), random.randint(1, 3))), start=1):
        description, price = PRODUCTS[list(PRODUCTS)[index]]
        line = {
            "OpportunityId": created,
            "Product2Id": products[index],
            "Quantity": random.randint(1, 5),
            "UnitPrice": price,
            "Description": description,
            "SortOrder": position,
        }
        org.create("OpportunityLineItem", **line | (_terms(random, number, price) if varied else {}))
    return created


def _terms(random: Random, number: int, price: float) -> dict[str, Any]:
    """Discount, price and date of a line of a varied deal."""
    if number % 3 == 1:
        return {"Discount": random.choice(_DISCOUNTS), "ServiceDate": "2026-12-01"}
    return {"UnitPrice": price - random.choice((0, 0.01, 100))}
