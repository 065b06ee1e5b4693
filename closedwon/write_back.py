"""What is written to a record, and what a record says about its order. Pure functions.

What a record says can be copied with the record: number, status, link and error of another deal's order. The key
field (`write_back.key`) proves whose they are. It is written together with them, and holds the idempotency key of the
record that they are about. So a value counts only beside the record's own key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model import GIVEN_UP, KEPT, NOT_NEEDED, UNWON, idempotency_key, parse_idempotency_key
from closedwon.settings import Route
from closedwon.snapshot import Values

_FINAL: Final = GIVEN_UP | {UNWON}
"""Statuses that somebody's decision, or the record's own, has brought about; they are worth a proof."""


class Proof(StrEnum):
    """Whose the facts on a record are, as its key field says."""

    OWN = "own"
    OTHER = "other"
    """Another record's key: the record is a copy, and no fact on it counts."""
    NONE = "none"
    """The field is empty or not read, or the route has none."""


class Claims(NamedTuple):
    """What a record says about its own order; nothing where its key field holds another record's key."""

    proof: Proof
    number: str | None
    status: str | None
    number_is_proven: bool = False
    """Closedwon wrote the number itself. It writes number and status together: a person who empties the status, to
    order again, leaves a number that may have been typed in, so a number without a status is not proven."""

    @property
    def has_given_up(self) -> bool:
        """The status says that the order was declined; whether that is proven is another question."""
        return self.status in GIVEN_UP


def proof(route: Route, org: OrgId, record: RecordId, written: Values) -> Proof:
    """Compare the key field with the record's own key, in its 15- and 18-character forms."""
    key = (written.get(route.write_back.key or "") or "").strip()
    if not key:
        return Proof.NONE
    try:
        return Proof.OWN if parse_idempotency_key(key) == (org, record) else Proof.OTHER
    except InvalidIdError:
        return Proof.OTHER


def claims(route: Route, org: OrgId, record: RecordId, written: Values) -> Claims:
    """Read number and status, as far as they may be about this record."""
    whose = proof(route, org, record, written)
    if whose is Proof.OTHER:
        return Claims(whose, None, None)
    names = route.write_back
    number, status = written.get(names.number or "") or None, written.get(names.status or "") or None
    proven = whose is Proof.OWN and number is not None and (names.status is None or status is not None)
    return Claims(whose, number, status, proven)


def may_have_order(route: Route, found: Claims, written: Values) -> bool:
    """Whether a record that asks for no order has, or had, one: it says so, or has no field that would.

    One that speaks of another record's order says nothing of its own: only the ERP knows.
    """
    names = route.write_back
    if found.proof is Proof.OTHER:
        return True
    if found.status in {UNWON, KEPT, NOT_NEEDED} and found.proof is Proof.OWN:
        return False  # Closedwon cancelled it, an operator keeps it, or none is needed
    says_something = found.number is not None or found.status is not None or found.proof is Proof.OWN
    return names.number not in written or says_something


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
    """Return what the record is to say, by field; None empties a field. The stage is set only once `ordered`."""
    names = route.write_back
    wanted = (
        (names.number, number), (names.status, status), (names.link, link), (names.error, error), (names.key, key)
    )  # fmt: skip
    fields = {field: (value or "").strip() or None for field, value in wanted if field}
    if names.stage and ordered:
        fields["StageName"] = names.stage
    return fields


def fields_without_order(
    route: Route, org: OrgId, record: RecordId, written: Values, *, status: str | None, error: str | None
) -> Values:
    """Return what the record is to say where no order is known: number and link stay, unless they are another's.

    Only a final status needs the key as its proof. Beside any other one the key would also prove a number that a person
    types in later, so it is emptied where there is no number, and left alone where there is one.
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
