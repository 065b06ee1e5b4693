"""What the buttons of the org's page do. Each action takes the fields of its form and returns a sentence.

All act as the salesperson and without faults, as `EmulatedOrg` does for tests. They raise `ApiError` if the org
refuses, and `ValueError` for fields that are not valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from secrets import randbelow
from typing import Any, Final, NamedTuple

from closedwon.emulators.salesforce.data.seed import seed
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.page import views
from closedwon.ids import RecordId

Form = Mapping[str, str]


class Done(NamedTuple):
    """What an action did, and the record that is to be shown then, if not that of the form."""

    text: str
    record: str


Action = Callable[[EmulatedOrg, Form], str | Done]
_OPPORTUNITY: Final = "Opportunity"
_LINE: Final = "OpportunityLineItem"
_MOST: Final = 100
_FIRST_STAGE: Final = "Prospecting"
_REOPENED: Final = "Negotiation/Review"
_SEEDS: Final = 10**6


def win(org: EmulatedOrg, form: Form) -> str:
    """Close one deal, or the `count` oldest open ones."""
    if "record" in form:
        record = RecordId(form["record"])
        org.win(record)
        return f"Closed as won: {_name(org, record)}"
    count = _count(form)
    won = org.win_next(count)
    return f"Closed as won: {len(won)}" if won else "No deal is open; add some first"


def add(org: EmulatedOrg, form: Form) -> str:
    """Add open deals, of which some have discounts."""
    with org.records.without_faults():
        added = seed(org, opportunities=_count(form), seed=randbelow(_SEEDS), varied=True)
    return f"Added {len(added)} open deals"


def reopen(org: EmulatedOrg, form: Form) -> str:
    """Set an earlier stage."""
    record = RecordId(form["record"])
    org.update(_OPPORTUNITY, record, StageName=_REOPENED)
    return f"Reopened: {_name(org, record)}"


def clone(org: EmulatedOrg, form: Form) -> Done:
    """Copy a deal with its lines and everything that can be written, order number and key included."""
    record = RecordId(form["record"])
    with org.records.transaction():
        name = f"{_name(org, record)}, copy"
        body = _writable(org, _OPPORTUNITY, org.get(_OPPORTUNITY, record)) | {"StageName": _FIRST_STAGE, "Name": name}
        copy = org.create(_OPPORTUNITY, **body)
        for line in views.lines(org, record):
            fields = _writable(org, _LINE, org.get(_LINE, line.id))
            del fields["TotalPrice"]  # a new line accepts only one of the two prices
            org.create(_LINE, **fields | {"OpportunityId": copy})
    return Done(f"This is the copy: {name}, open, with the order number and key of its original", copy)


def move(org: EmulatedOrg, form: Form) -> str:
    """Set another account."""
    record, account = RecordId(form["record"]), RecordId(form["account"])
    org.update(_OPPORTUNITY, record, AccountId=account)
    return f"Moved to {org.get('Account', account)['Name']}"


def edit(org: EmulatedOrg, form: Form) -> str:
    """Set quantity, sales price and discount of the lines that differ, as the page in a real org's browser does."""
    record = RecordId(form["record"])
    changed = 0
    with org.records.transaction():
        for line in views.lines(org, record):
            wanted = {
                "Quantity": form.get(f"quantity-{line.id}", line.quantity).strip(),
                "UnitPrice": form.get(f"price-{line.id}", line.price).strip(),
                "Discount": form.get(f"discount-{line.id}", line.discount).strip(),
            }
            if list(wanted.values()) != [line.quantity, line.price, line.discount]:
                org.update(_LINE, line.id, **{name: _number(name, text) for name, text in wanted.items()})
                changed += 1
    return f"Changed {changed} of the lines: the amount is {_amount(org, record)}" if changed else "Nothing was changed"


def delete(org: EmulatedOrg, form: Form) -> str:
    """Move a deal to the recycle bin."""
    record = RecordId(form["record"])
    name = _name(org, record)
    org.delete(_OPPORTUNITY, record)
    return f"Deleted: {name}"


def restore(org: EmulatedOrg, form: Form) -> str:
    """Take a deal out of the recycle bin."""
    record = RecordId(form["record"])
    org.undelete(_OPPORTUNITY, record)
    return f"Restored: {_name(org, record)}"


def retry(org: EmulatedOrg, form: Form) -> str:
    """Send a queued or failed message now."""
    org.outbox.retry(form["message"])
    return f"Message {form['message']} is sent now"


def discard(org: EmulatedOrg, form: Form) -> str:
    """Remove a queued or failed message."""
    org.outbox.delete(form["message"])
    return f"Message {form['message']} is removed"


ACTIONS: Final[Mapping[str, Action]] = {
    one.__name__: one for one in (win, add, reopen, clone, move, edit, delete, restore, retry, discard)
}
"""By the name that a form's address ends with."""


def arm(faults: Mapping[str, Callable[..., Any]], form: Form) -> str:
    """Turn a fault on or off, with the arguments that the form names. Raises `ValueError`."""
    name = form.get("fault", "")
    if name not in faults:
        raise ValueError(f"unknown fault: {name}")
    faults[name](**{key: value for key, value in form.items() if key != "fault" and value != ""})
    return "All faults are off" if name == "clear" else f"Done: {name}"


def _writable(org: EmulatedOrg, object_name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: record[one.name] for one in org.object(object_name).fields if one.writable}


def _name(org: EmulatedOrg, record: RecordId) -> str:
    return str(org.get(_OPPORTUNITY, record)["Name"])


def _amount(org: EmulatedOrg, record: RecordId) -> str:
    found = org.get(_OPPORTUNITY, record)
    return f"{found['Amount']:,.2f} {found.get('CurrencyIsoCode') or ''}".rstrip()


def _count(form: Form) -> int:
    text = form.get("count", "1")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise ValueError(f"count is a number from 1 to {_MOST}")
    return int(text)


def _number(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name} must be a number") from None
