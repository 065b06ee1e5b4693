"""The words of Closedwon as frozen models. No input or output here, and no Temporal.

Everything that crosses a process border (workflow input, activity argument and result, signal) is one of these.
They may gain optional fields; a field is never renamed or removed, since old workflow histories hold it.
Money is `Decimal` with its currency beside it; every time is aware.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from closedwon.ids import OrgId, RecordId

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code")]


class Frozen(BaseModel):
    """A value: immutable. Its errors do not show what they refuse: they end in logs.

    Unknown fields are passed over. While a new version replaces an old one, and after it was taken back, workers read
    what the other one wrote; refusing it would wedge a workflow in Running, and drop a signal without a word.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Channel(StrEnum):
    """How word of a record arrives."""

    PLATFORM_EVENT = "platform-event"
    OUTBOUND_MESSAGE = "outbound-message"
    CALLOUT = "callout"
    SWEEP = "sweep"
    OPERATOR = "operator"


class Message(Frozen):
    """One notification about one record on one channel; `id` is its own (EventUuid, notification id)."""

    id: str
    channel: Channel
    received_at: AwareDatetime
    payload: dict[str, Any] | None = None
    """The message's fields, kept only where the route takes the order from the message itself."""
    modified_at: AwareDatetime | None = None
    """When the payload was true: the record's SystemModstamp, or the event's time. An older payload never replaces a
    newer one."""
    session: str | None = None
    """A Salesforce session id, sealed (`closedwon.codec`): no tool that decodes payloads shows it."""
    deleted: bool = False
    """A tombstone: the record was deleted in Salesforce."""


class Pace(Frozen):
    """How long and how often to retry: doubling from `first_interval` to `longest_interval`, until `horizon`."""

    first_interval: timedelta = timedelta(seconds=1)
    longest_interval: timedelta = timedelta(minutes=15)
    horizon: timedelta = timedelta(days=30)


TakenBack = Literal["cancel", "attention", "ignore"]
Changed = Literal["amend", "attention", "ignore"]


class Following(Frozen):
    """How an order is watched in the ERP: asked at first after `first_interval`, then ever more rarely."""

    first_interval: timedelta
    longest_interval: timedelta
    horizon: timedelta


class Policies(Frozen):
    """What a route does about a deal that does not stay as it was ordered. Without an order nothing is to be done."""

    unwon: TakenBack = "attention"
    """The record does not qualify any more."""
    deleted: TakenBack = "cancel"
    """The record is known to be deleted, not only hidden from our user."""
    changed: Changed = "attention"
    """Total, currency or lines differ from the ERP's order."""
    follow: Following | None = None
    """Present: after its creation the order is watched, until it is done or cancelled."""


_LONGEST_WORD: Final = 500
"""Characters kept of what a person writes, and of an order's number."""


class Command(Frozen):
    """What an operator sends along with `retry`, `cancel`, `resolve` or `skip`."""

    by: str | None = None
    """Who: `user@host`, as our command line fills it in."""
    reason: str | None = None
    number: str | None = None
    """`resolve`: what people call the order that exists already."""
    accept_differences: bool = False
    """`resolve`: use that order although it differs from the record, or cannot be compared."""

    @classmethod
    def read(cls, given: Any, *, text: Literal["reason", "number"] = "reason") -> Self:
        """Make sense of whatever was typed: nothing, a text (which is the `text`), or an object with our fields.

        Never refuses: a signal that cannot be read is dropped, and whoever sent it is told that all went well.
        """
        fields = given if isinstance(given, dict) else {text: given}
        texts = {name: _as_word(fields.get(name)) for name in ("by", "reason", "number")}
        return cls(**texts, accept_differences=fields.get("accept_differences") is True)


def _as_word(value: Any) -> str | None:
    """One line of text, or None for what is none; a number is taken as its digits."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return " ".join(str(value).split())[:_LONGEST_WORD] or None


class Answer(Frozen):
    """What becomes of a command: yes or no, and the reason in a sentence."""

    accepted: bool
    message: str


class Decision(Command):
    """What a person has decided about an order; the newest one counts."""

    to: Literal["cancel", "resolve", "skip"]


class GapReason(StrEnum):
    """Why word of records may have been lost: stable words."""

    REPLAY_ID_EXPIRED = "replay-id-expired"
    BUS_MOVED = "bus-moved"
    RETENTION_PASSED = "retention-passed"
    DELIVERY_LIMIT = "delivery-limit"
    MESSAGES_EXPIRED = "messages-expired"


class Gap(Frozen):
    """A time from which word of records may never arrive; open until a sweep has covered it.

    Only for what was changed within it: a record that was changed again later is found at that later time.
    """

    since: AwareDatetime | None
    """None: not known."""
    until: AwareDatetime
    reason: str
    """A `GapReason`, as a text: workers of another version may know others."""
    route: str | None = None
    note: str = ""
    """What exactly happened, for people."""


class SweepReading(Frozen):
    """Where a sweep reads on: it reads the records that qualify, then those that have a number and do not."""

    qualifying: bool = True
    modified_at: AwareDatetime | None = None
    record: RecordId | None = None
    """The last record read; with `modified_at`, a position in the order of changes."""
    bulk: bool = False
    """There are many: they are read by a query job."""
    job: str | None = None
    locator: str | None = None


class SweepProgress(Frozen):
    """How far a sweep has come, and at its end what it has found. Counts are of records."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """The span of this sweep, by the time of the last change; the next one begins here."""
    total: int | None = None
    """How many records are in the span; None: not counted, as in a scheduled sweep."""
    found: int = 0
    """Records looked at: those that deserve an order or carry a number."""
    started: int = 0
    """Workflows started or, in a dry run, to be started: no order, a number that the ERP does not know, or an order
    that should not be."""
    right: int = 0
    under_way: int = 0
    """Their workflow was running already."""
    attention: int = 0
    """Their workflow waits for a person."""
    unqualified: int = 0
    """They meet the route's `sweep.where`, but not its `qualify` (with source `event`)."""
    examples: tuple[RecordId, ...] = ()
    """The first records of `started`."""
    reading: SweepReading | None = None
    """Where the reading stands; None before it began and after its end."""
    expired_since: AwareDatetime | None = None
    """The earliest change of a record whose outbound message must have expired."""


class Reconciliation(Frozen):
    """The input of a sweep of one route."""

    org: OrgId
    route: str
    since: AwareDatetime | None = None
    """None: from where the last scheduled sweep ended, or from the beginning of `gap`."""
    until: AwareDatetime | None = None
    """None, or too late: now, less the route's lag."""
    gap: Gap | None = None
    """The gap that this sweep is to cover."""
    subscription: str | None = None
    """The workflow id of the subscription that is told when the gap is covered."""
    dry_run: bool = False
    """Look, and start nothing."""
    carried: SweepProgress | None = None
    """From the run before."""
    alerted: str | None = None
    """From the run before: the reason of the attention that was told already."""
    alert_raising: str | None = None
    """From the run before: the id of its alert, if that was just being raised."""


class UnreadableMessage(Frozen):
    """Word that names no record we can read: kept whole until a person has decided."""

    id: str
    org: OrgId
    channel: Channel
    source: str
    """Where it came from: the event bus channel or the route's path."""
    received_at: AwareDatetime
    problem: str
    raw: str
    """What arrived, as text."""
    retry: bool = False
    """From the run before: it is to be read again."""


class ErpLimit(Frozen):
    """An ERP that is sent less than it could be: a note for people, beside the limit of its task queue."""

    erp: str
    orders_per_second: float
    """0: it is paused."""
    reason: str
    by: str

    @property
    def text(self) -> str:
        """In words."""
        return f"ERP {self.erp} " + (
            f"gets at most {self.orders_per_second:g} orders a second" if self.orders_per_second else "is paused"
        )


class Customer(Frozen):
    """Who buys: the Salesforce Account, as the ERP's party needs it."""

    id: RecordId
    number: str | None = None
    """The number of a customer that the ERP has already; such a customer is never created."""
    name: str = Field(min_length=1)
    street: str | None = None
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None
    """ISO 3166-1 alpha-2 code."""

    @property
    def reference(self) -> str:
        """What the ERP knows the customer by; `ErpOrder.customer` is compared with it."""
        return self.number or self.id


class OrderLine(Frozen):
    """One product sold. Prices and totals are net, in the order's currency."""

    product: str = Field(min_length=1)
    quantity: Decimal
    unit_price: Decimal
    """After the discount. Where `total` is set and cannot be divided exactly, this is rounded and `total` counts."""
    list_price: Decimal | None = None
    """For one unit, before the discount; None where the line has none."""
    discount_percent: Decimal | None = None
    """0 to 100."""
    total: Decimal | None = None
    """For the whole line, after the discount, as it was signed. None: `quantity * unit_price`."""
    description: str | None = None
    extra: dict[str, str] = Field(default_factory=dict)
    """Free fields that the adapter passes on under these names."""

    @property
    def amount(self) -> Decimal:
        """The net total of the line."""
        return self.quantity * self.unit_price if self.total is None else self.total


def idempotency_key(org: OrgId, record: RecordId) -> str:
    """`<org id>:<record id>`: names a record's one order in every ERP."""
    return f"{org}:{record}"


def parse_idempotency_key(key: str) -> tuple[OrgId, RecordId]:
    """Invert `idempotency_key`, also with 15-character ids. Raises `InvalidIdError` for any other text."""
    org, _, record = key.partition(":")
    return OrgId(org), RecordId(record)


class Order(Frozen):
    """What the ERP is asked to create."""

    org: OrgId
    record: RecordId
    name: str
    customer: Customer
    currency: Currency
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    total: Decimal | None = None
    """The net total that was signed, as the record says it; the sum of the lines must agree with it. None: not told."""
    reference: str | None = None
    """The customer's own order number."""
    order_date: date | None = None
    delivery_date: date | None = None
    extra: dict[str, str] = Field(default_factory=dict)
    """Free fields that the adapter passes on under these names."""
    created_at: AwareDatetime | None = None
    """When the record was created in Salesforce; an ERP order from before that day is not this record's."""
    modified_at: AwareDatetime | None = None
    """When the content was true in Salesforce: the record's SystemModstamp, or the event's time."""

    @property
    def idempotency_key(self) -> str:
        """`<org id>:<record id>`, stored in the ERP under a unique constraint."""
        return idempotency_key(self.org, self.record)

    @property
    def content(self) -> Order:
        """The order without the time at which it was true: what two readings of an unchanged record have in common."""
        return self.model_copy(update={"modified_at": None})

    @property
    def amount(self) -> Decimal:
        """The net total in `currency`."""
        return sum((line.amount for line in self.lines), Decimal(0))


class ErpStatus(StrEnum):
    """Where an order stands in the ERP, in words that all adapters share."""

    DRAFT = "draft"
    QUOTATION = "quotation"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def exists_as_order(self) -> bool:
        """Whether the ERP has taken the order: every state after confirmed is success."""
        return self in (ErpStatus.CONFIRMED, ErpStatus.PROCESSING, ErpStatus.DONE)


NOT_NEEDED: Final = "not needed"
"""What the record's status says where somebody has decided that no order is needed."""
GIVEN_UP: Final = frozenset({ErpStatus.CANCELLED.value, NOT_NEEDED})
"""Statuses of records whose order somebody has given up: a late message does not order them."""


UNWON: Final = "cancelled, no longer won"
"""What the record's status says after its order was cancelled while the deal was not won: unlike `cancelled`, which
somebody decided, it does not stand in the way of an order when the deal is won again."""


KEPT: Final = "kept, no longer won"
"""What the record's status says after an operator has kept the order of a record that no longer qualifies. Beside the
record's own key it stands against the route's policy until the deal is won again."""


class ErpLine(Frozen):
    """One product line as the ERP has it. `unit_price` is net."""

    product: str | None
    """The product's code."""
    quantity: Decimal
    unit_price: Decimal
    total: Decimal | None = None
    """For the whole line, as the ERP keeps it. None: `quantity * unit_price`."""

    @property
    def amount(self) -> Decimal:
        """The net total of the line."""
        return self.quantity * self.unit_price if self.total is None else self.total


class Origin(StrEnum):
    """How an ERP order came to bear a record's key; the ERP keeps it beside the key."""

    CREATED = "created"
    """Closedwon made it."""
    ADOPTED = "adopted"
    """It was made by hand; the record named its number and everything agreed."""
    RESOLVED = "resolved"
    """It was made by hand; a person sent `resolve`."""


class ErpOrder(Frozen):
    """An order as the ERP has it. `id` is the ERP's internal handle, `number` what people call it.

    A field that is None is not known, and what is not known never counts as agreeing.
    """

    id: str
    idempotency_key: str | None = None
    """The key that the ERP keeps with this order; None for an order that has none, such as one made by hand.
    An answer to a question by key that does not carry the same key is not believed."""
    number: str | None = Field(max_length=_LONGEST_WORD)
    """It becomes a search attribute: of one above 2 kB Temporal ends the workflow, by force."""
    status: ErpStatus
    currency: Currency
    amount: Decimal
    """Net total."""
    line_count: int
    lines: tuple[ErpLine, ...] | None = Field(default=None, exclude=True)
    """Compared with what was sold where the ERP tells them, and then forgotten: they never get into Temporal."""
    url: str | None = None
    customer: str | None = None
    """What the ERP knows the customer by; `Customer.reference` of the order that was asked for, if it is the same."""
    order_date: date | None = None
    """The day on which the order was placed, or made in the ERP if that is not kept."""
    rounding: Decimal | None = None
    """The smallest unit in which the ERP keeps amounts of this currency, such as 0.01."""
    origin: Origin | None = None
    """None: not kept. Closedwon then does not count as its maker, so that no policy changes or cancels the order."""
    modified_at: AwareDatetime | None = None
    """The newest `Order.modified_at` that the ERP was told for this order."""
    version: str | None = None
    """Changes with each change of the order in the ERP; a write that names an older one is refused."""
