"""The fields that are written to a record, and what they prove about its order. Pure functions.

Salesforce copies number, status, link and error with a record, so they may be about another deal's order. The key
field (`write_back.key`) proves which record they are about: it is written together with them, and contains the
idempotency key of that record. A value counts only beside the record's own key.

A text that is longer than its field is cut, so that it does not keep the other values from the record (`fitting`). Only
the error is such a text. A part of a number, status or key would be another one, and a part of a link leads nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model.erp import CANCELLED_UNQUALIFIED, DECLINED_STATUSES, KEPT_UNQUALIFIED, STATUS_NOT_NEEDED, ErpStatus
from closedwon.model.orders import idempotency_key, parse_idempotency_key
from closedwon.model.snapshot import Values
from closedwon.settings import Route

_PLACED: Final = frozenset({KEPT_UNQUALIFIED, *(status.value for status in ErpStatus if status.exists_as_order)})
"""Statuses that are written only after the ERP's order agreed with the record, or an operator accepted it."""
_FINAL: Final = DECLINED_STATUSES | {CANCELLED_UNQUALIFIED}
"""Statuses of a final decision (of a person, or by the record itself); they are written with a proof."""


class Proof(StrEnum):
    """Which record the write-back fields are about, by the key field."""

    OWN = "own"
    OTHER = "other"
    """Another record's key: the record is a copy, and its fields do not count."""
    NONE = "none"
    """The field is empty, was not read, or contains no valid key (cut, mistyped), or the route has no such field."""


class Claims(NamedTuple):
    """What a record says about its own order; nothing if its key field contains another record's key."""

    proof: Proof
    number: str | None
    status: str | None
    number_is_proven: bool = False
    """Closedwon wrote the number itself. It writes number and status together. A person who wants to order again
    empties the status, and may type a number. So a number without a status is not proven."""

    @property
    def is_declined(self) -> bool:
        """The status says that the order was declined; `proof` says whether that is proven."""
        return self.status in DECLINED_STATUSES


def proof(route: Route, org: OrgId, record: RecordId, written: Values) -> Proof:
    """Compare the key field with the record's own key, in its 15- and 18-character forms.

    A text that is not a valid key proves nothing. A key that differs from the own key in case only proves nothing
    either: with 15-character ids it may be another record, or the same one after a tool has changed the case.
    """
    try:
        whose = parse_idempotency_key((written.get(route.write_back.key or "") or "").strip())
    except InvalidIdError:
        return Proof.NONE
    if whose == (org, record):
        return Proof.OWN
    differ_in_case = [one.short.lower() for one in whose] == [org.short.lower(), record.short.lower()]
    return Proof.NONE if differ_in_case else Proof.OTHER


def claims(route: Route, org: OrgId, record: RecordId, written: Values) -> Claims:
    """Return number and status, if they may be about this record."""
    whose = proof(route, org, record, written)
    if whose is Proof.OTHER:
        return Claims(whose, None, None)
    names = route.write_back
    number, status = written.get(names.number or "") or None, written.get(names.status or "") or None
    proven = whose is Proof.OWN and number is not None and (names.status is None or status is not None)
    return Claims(whose, number, status, proven)


def is_placed(route: Route, said: Claims) -> bool | None:
    """Whether the record proves that its order was placed: confirmed, and in agreement with the record.

    None: the route has no fields that could prove it. A number alone proves nothing, because it may be the number of an
    order about which a person is asked.
    """
    if not (route.write_back.key and route.write_back.status) or route.source == "event":
        return None
    return said.proof is Proof.OWN and said.status in _PLACED


def may_have_order(route: Route, found: Claims, written: Values) -> bool:
    """Whether a record that needs no order may have one: its fields say so, or it has no field for that.

    A copied record does not say anything about its own order; only the ERP knows.
    """
    names = route.write_back
    if found.proof is Proof.OTHER:
        return True
    if found.status in {CANCELLED_UNQUALIFIED, KEPT_UNQUALIFIED, STATUS_NOT_NEEDED} and found.proof is Proof.OWN:
        return False  # Closedwon cancelled it, an operator keeps it, or none is needed
    says_something = found.number is not None or found.status is not None or bool(written.get(names.key or ""))
    return names.number not in written or says_something


def kept_fields(route: Route) -> tuple[str, ...]:
    """Name the fields that together say that an operator keeps the order; empty if the route lacks one of them."""
    names = route.write_back
    return (names.status, names.key) if names.status and names.key else ()


def is_kept(route: Route, org: OrgId, record: RecordId, written: Values) -> bool:
    """Whether the record says, and its own key proves, that an operator keeps its order."""
    said = claims(route, org, record, written)
    return said.status == KEPT_UNQUALIFIED and said.proof is Proof.OWN


def write_back_fields(
    route: Route,
    *,
    number: str | None,
    status: str | None,
    link: str | None,
    error: str | None,
    ordered: bool,
    key: str | None = None,
) -> Values:
    """Return the values to write, by field; None empties a field. The stage is set only if `ordered`."""
    names = route.write_back
    wanted = (
        (names.number, number), (names.status, status), (names.link, link), (names.error, error), (names.key, key)
    )  # fmt: skip
    fields = {field: (value or "").strip() or None for field, value in wanted if field}
    if names.stage and ordered:
        fields["StageName"] = names.stage
    return fields


def fitting(route: Route, values: Values, lengths: Mapping[str, int]) -> Values:
    """Cut the error to the length of its field, and leave out a link that is longer than its own.

    `lengths` are in characters as Salesforce counts them (UTF-16 units), by field; a field without one has no limit.
    """
    names, fit = route.write_back, dict(values)
    for field in filter(None, (names.error, names.link)):
        value, length = values.get(field), lengths.get(field, 0)
        if value is not None and 0 < length < _units(value):
            fit[field] = _cut(value, length) if field == names.error else None
    return fit


def _cut(text: str, length: int) -> str:
    kept = text[: length - 1]
    while _units(kept) >= length:
        kept = kept[:-1]
    return f"{kept}…"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fields_without_order(
    route: Route, org: OrgId, record: RecordId, written: Values, *, status: str | None, error: str | None
) -> Values:
    """Return the values to write if no order is known: number and link stay, unless they are another record's.

    Only a final status needs the key as its proof. With any other status, the key would also prove a number that a
    person types in later. So the key is emptied if there is no number, and left unchanged if there is one.
    """
    names, is_final = route.write_back, status in _FINAL
    fields = write_back_fields(
        route,
        number=None,
        status=status,
        link=None,
        error=error,
        ordered=False,
        key=idempotency_key(org, record) if is_final else None,
    )
    if proof(route, org, record, written) is Proof.OTHER:
        return fields
    kept = {names.number, names.link}
    if not is_final and written.get(names.number or "", "unknown") is not None:
        kept.add(names.key)
    return {field: value for field, value in fields.items() if field not in kept}
