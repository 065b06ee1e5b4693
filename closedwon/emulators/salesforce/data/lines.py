"""Prices of line items: UnitPrice, Discount and TotalPrice of a line, and the Amount of its Opportunity.

The API does not accept all prices at once. It derives the one that a call does not name:

    create                  UnitPrice or TotalPrice, never both; the other one follows
    update of UnitPrice     TotalPrice follows
    update of TotalPrice    UnitPrice follows
    update of Discount      TotalPrice follows, UnitPrice stays
    update of Quantity      UnitPrice follows, TotalPrice stays; with UnitPrice in the call TotalPrice follows
    Quantity and Discount   refused unless the call names UnitPrice or TotalPrice

A price that the call repeats unchanged counts as named, but not as changed. TotalPrice has the decimals of the
currency. The Amount is the sum of the totals before rounding, so it may differ from the sum of the shown totals.

Sources: Object Reference, "OpportunityLineItem"; Salesforce Help 000385918, "Calculate Salesforce Opportunity
Amount and Quote Total Price"; salesforce.stackexchange.com/questions/116717 (repeated prices). Not documented, and so a
guess: the error codes, except those for two changed prices and for a missing price book entry; and the Amount of 0 of a
deal that has lost its last line.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from closedwon.emulators.salesforce.data.bodies import missing_fields
from closedwon.emulators.salesforce.data.store import Row, Store
from closedwon.emulators.salesforce.errors import ApiError

_PRICES: Final = ("UnitPrice", "TotalPrice")
_WHOLE: Final = Decimal(100)
_NOISE: Final = Decimal("1e-9")
"""Binary fractions are more exact than this; smaller digits are dropped before totals are added up."""
_USUAL_DECIMALS: Final = 2
_DECIMALS: Final = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
"""Decimals by ISO 4217, where they are not two."""


class Lines:
    """Calculates the prices of line items of one org."""

    def __init__(self, store: Store) -> None:
        """`store` has the products, price book entries and other lines."""
        self._store = store

    def new(self, given: Row) -> Row:
        """`given` with both prices, product and price book entry. Raises `ApiError` unless it names one price."""
        named = [name for name in _PRICES if given.get(name) is not None]
        if len(named) > 1:
            raise _integrity("TotalPrice", "only one of unit price and total price may be specified")
        if not named:
            raise missing_fields(["UnitPrice"])
        row = {**given, **self._product(given)}
        return _priced(row, self._decimals(row), keeps_total=named == ["TotalPrice"])

    def changed(self, before: Row, given: Row) -> Row:
        """The line `before` with the values of an update. Raises `ApiError` if the update is ambiguous."""
        asked = {name: value for name, value in given.items() if name not in _PRICES or value is not None}
        moved = {name for name in ("Quantity", *_PRICES) if name in asked and asked[name] != before[name]}
        if moved.issuperset(_PRICES) or (not asked.keys() & _PRICES and given.keys() >= set(_PRICES)):
            raise ApiError(
                "INVALID_FIELD", "Cannot change both 'UnitPrice' and 'TotalPrice' in update call", fields=("UnitPrice",)
            )
        if given.keys() >= {"Quantity", "Discount"} and not asked.keys() & _PRICES:
            raise _integrity("Discount", "with quantity and discount, unit price or total price must be specified")
        row = {**before, **asked}
        if not asked.keys() & {"Quantity", "Discount", *_PRICES}:
            return row
        keeps_total = "TotalPrice" in moved or (
            "UnitPrice" not in asked and ("Quantity" in moved or "TotalPrice" in asked)
        )
        return _priced(row, self._decimals(row), keeps_total=keeps_total)

    def describe(self, row: Row) -> None:
        """Set the fields of a line that come from its product, price book entry and Opportunity."""
        product = self._store.get("Product2", str(row["Product2Id"]))
        entry = self._store.get("PricebookEntry", str(row["PricebookEntryId"]))
        row["ProductCode"] = product["ProductCode"] if product else None
        row["ListPrice"] = entry["UnitPrice"] if entry else None
        row["CurrencyIsoCode"] = self._currency(row)

    def roll_up(self, opportunity: Row) -> None:
        """Set Amount and HasOpportunityLineItem of an Opportunity. With lines a written Amount is ignored."""
        sql = 'SELECT * FROM "OpportunityLineItem" WHERE OpportunityId = ? AND IsDeleted = 0'
        lines = [dict(row) for row in self._store.select(sql, (opportunity["Id"],))]
        if lines:
            total = sum(map(_exact_total, lines), Decimal(0))
            opportunity["Amount"] = _rounded(total, _decimals(opportunity["CurrencyIsoCode"]))
        elif opportunity["HasOpportunityLineItem"]:
            opportunity["Amount"] = 0.0
        opportunity["HasOpportunityLineItem"] = int(bool(lines))

    def _product(self, given: Row) -> Row:
        """The price book entry that a new line names, or the one of its product, if any."""
        named = given.get("PricebookEntryId")
        if named is not None:
            entry = self._store.get("PricebookEntry", str(named))
            assert entry is not None, "its existence was checked"
            return {"Product2Id": entry["Product2Id"]}
        if given.get("Product2Id") is None:
            raise _integrity(
                "PricebookEntryId",
                "unknown (versions 3.0 and higher must specify pricebook entry id; others must specify product id)",
            )
        sql = 'SELECT Id FROM "PricebookEntry" WHERE Product2Id = ? AND IsDeleted = 0 AND IsActive = 1 ORDER BY Id'
        found = self._store.select(sql, (given["Product2Id"],))
        return {"PricebookEntryId": found[0]["Id"] if found else None}

    def _currency(self, row: Row) -> str | None:
        opportunity = self._store.get("Opportunity", str(row["OpportunityId"]))
        currency = opportunity["CurrencyIsoCode"] if opportunity else None
        return None if currency is None else str(currency)

    def _decimals(self, row: Row) -> int:
        return _decimals(self._currency(row))


def _priced(row: Row, decimals: int, *, keeps_total: bool) -> Row:
    """The row with the price that is not kept derived from the other one."""
    discount = _decimal(row.get("Discount"))
    if not 0 <= discount <= _WHOLE:
        raise ApiError(
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"Discount: value outside of valid range on numeric field: {discount}",
            fields=("Discount",),
        )
    if keeps_total:
        total = _rounded(_decimal(row["TotalPrice"]), decimals)
        share = _decimal(row["Quantity"]) * (1 - discount / _WHOLE)
        return {**row, "TotalPrice": total, "UnitPrice": float(_decimal(total) / share) if share else None}
    return {**row, "TotalPrice": _rounded(_exact_total({**row, "TotalPrice": None}), decimals)}


def _exact_total(row: Row) -> Decimal:
    """The total before it is rounded to the currency."""
    if row["UnitPrice"] is None:
        return _decimal(row["TotalPrice"])
    share = 1 - _decimal(row.get("Discount")) / _WHOLE
    return (_decimal(row["Quantity"]) * _decimal(row["UnitPrice"]) * share).quantize(_NOISE)


def _rounded(amount: Decimal, decimals: int) -> float:
    return float(amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def _decimals(currency: object) -> int:
    return _DECIMALS.get(str(currency), _USUAL_DECIMALS)


def _decimal(value: object) -> Decimal:
    return Decimal(0) if value is None else Decimal(str(value))


def _integrity(field: str, reason: str) -> ApiError:
    return ApiError("FIELD_INTEGRITY_EXCEPTION", f"field integrity exception: {field} ({reason})", fields=(field,))
