"""Routes: which records become orders, how they map, where the order goes and what is written back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from closedwon import expressions
from closedwon.model import Changed, Following, Policies, TakenBack
from closedwon.settings.problems import Problem, ProblemsError, suggest
from closedwon.settings.sweeps import Sweep
from closedwon.settings.values import (
    Duration,
    EventChannel,
    Expression,
    FieldName,
    File,
    Growing,
    Name,
    Pause,
    Secret,
    Section,
)


class CustomerMapping(Section):
    """JMESPath expressions, evaluated on the record, that make the customer."""

    id: Expression
    name: Expression
    street: Expression | None = None
    city: Expression | None = None
    postal_code: Expression | None = None
    country: Expression | None = None


class LinesMapping(Section):
    """`each` yields the list of lines; the others are evaluated on one line."""

    each: Expression
    product: Expression
    quantity: Expression
    unit_price: Expression
    description: Expression | None = None

    def on_line(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of everything that is evaluated on one line."""
        yield from (("product", self.product), ("quantity", self.quantity), ("unit_price", self.unit_price))
        if self.description is not None:
            yield "description", self.description


class Lookup(Section):
    """A table that replaces the value of one mapped field, e.g. country names by codes."""

    field: str
    """The order's text field, dotted: `customer.country`, `currency`, `lines.product`, `extra.warehouse`."""
    values: dict[str, str]
    default: str | None = None
    """Used where the record has no value or one that is not in the table; without it such a value needs attention."""


class OrderMapping(Section):
    """How a record (or an event's payload) becomes an order."""

    name: Expression
    currency: Expression
    reference: Expression | None = None
    order_date: Expression | None = None
    delivery_date: Expression | None = None
    customer: CustomerMapping
    lines: LinesMapping
    extra: dict[str, Expression] = Field(default_factory=dict)
    lookups: tuple[Lookup, ...] = ()

    @model_validator(mode="after")
    def _lookups_name_mapped_fields(self) -> Self:
        known = {key for key, _ in self.texts()}
        problems = []
        for place, lookup in enumerate(self.lookups):
            if lookup.field not in known:
                text = f"{lookup.field!r} is no text field that this route maps; {suggest(lookup.field, known)}"
                problems.append(Problem(("lookups", place, "field"), text))
            elif lookup.field in {earlier.field for earlier in self.lookups[:place]}:
                problems.append(Problem(("lookups", place, "field"), "has a table already; put all values into one"))
        if problems:
            raise ProblemsError(problems)
        return self

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of every mapped field that is a text, and so may have a lookup."""
        for table, prefix, keys in (
            (self, "", ("name", "currency", "reference")),
            (self.customer, "customer.", ("name", "street", "city", "postal_code", "country")),
            (self.lines, "lines.", ("product", "description")),
        ):
            yield from ((prefix + key, value) for key in keys if (value := getattr(table, key)) is not None)
        yield from ((f"extra.{key}", value) for key, value in self.extra.items())

    def on_record(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of everything that is evaluated on the record itself, not on a line."""
        yield from ((key, value) for key, value in self.texts() if not key.startswith("lines."))
        yield from (("customer.id", self.customer.id), ("lines.each", self.lines.each))
        for key, value in (("order_date", self.order_date), ("delivery_date", self.delivery_date)):
            if value is not None:
                yield key, value


class WriteBack(Section):
    """Which fields of the record receive what. A field that is not named is not written."""

    number: FieldName | None = None
    status: FieldName | None = None
    link: FieldName | None = None
    error: FieldName | None = None
    stage: Annotated[str, Field(min_length=1)] | None = None
    """The StageName that the record gets when its order exists, e.g. `Ordered`."""

    @model_validator(mode="after")
    def _every_field_once(self) -> Self:
        twice = [field for field, count in Counter(map(str.lower, self.fields)).items() if count > 1]
        if twice:
            raise ValueError(f"names the field {twice[0]} twice; give each value a field of its own")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The API names of all fields that may be written."""
        named = (self.number, self.status, self.link, self.error, "StageName" if self.stage else None)
        return tuple(field for field in named if field)


class Follow(Growing):
    """How to watch an order in the ERP after its creation: ever more rarely, until it is done or cancelled there."""

    first_interval: Duration = timedelta(minutes=1)
    """From the first look to the second, also after each change; then doubling."""
    longest_interval: Duration = timedelta(hours=6)
    """From one look to the next at most: how late a change may be known."""
    horizon: Duration = timedelta(days=365)
    """How long an order is watched at most."""


class ErpByExpression(Section):
    """Pick the ERP by an expression that yields its name."""

    expression: Expression


class Tombstone(Section):
    """Outbound messages about a small object that holds the keys of deleted records: deleting sends none itself."""

    object: FieldName
    record_id: Expression
    """Finds the deleted record's id in the fields of the notification."""


class Outbound(Section):
    """Outbound messages of a route. An empty table takes any fields."""

    tombstone: Tombstone | None = None
    """Present: `/outbound/<route>/tombstones` takes word of deleted records; their orders are cancelled."""
    wsdl: File | None = None
    """The org's own WSDL of the outbound message: what does not keep to it is refused."""
    session: Literal["ignore", "use"] = "ignore"
    """A SessionId in the message: `use` reads the record and writes to it with that, while it works."""
    unqualified: Literal["ack", "refuse"] = "ack"
    """With source `event`, a message whose record does not qualify: `ack` takes it, and its workflow ends as not
    needed; `refuse` answers with a fault, and starts nothing."""


class Callouts(Section):
    """Callouts of a route."""

    keys: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=2)]
    """Shared with Apex, which signs with one of them; two while one replaces the other."""


def _erp_kind(value: object) -> str:
    return "name" if isinstance(value, str) else "table"


def _follow_kind(value: object) -> str:
    return "table" if isinstance(value, dict | Follow) else "switch"


_FollowOrNot = Annotated[Annotated[bool, Tag("switch")] | Annotated[Follow, Tag("table")], Discriminator(_follow_kind)]


class Route(Section):
    """The path from an object and its channels to one ERP."""

    name: Name
    org: Name
    object: FieldName = "Opportunity"
    events: tuple[EventChannel, ...] = ()
    """Event bus channels, e.g. `/event/Order_Requested__e`."""
    outbound: Outbound | None = None
    """Present: intake takes outbound messages of this object at `/outbound/<route>`."""
    callouts: Callouts | None = None
    """Present: intake takes signed callouts from Apex at `/callouts/<route>` and `/callouts/<route>/soap`."""
    record_id: Expression = "Opportunity_Id__c"
    """Finds the record id in an event's payload."""
    org_id: Expression | None = None
    """Finds the org id in an event's payload; an event of another org then waits for a person."""
    source: Literal["record", "event"] = "record"
    """`record`: look at the record (a message is only a hint). `event`: the payload is complete."""
    payload: Expression = "@"
    """Where an event holds the record's content, e.g. `Payload__c`; a JSON text is parsed. With source `event` the
    order is made of it; with `record` it only names the deal on its page in Temporal's UI."""
    select: str | None = None
    """With source `record`: the SELECT list of the SOQL query, child queries included."""
    qualify: Expression = "IsWon"
    """True for records that deserve an order."""
    erp: Annotated[Annotated[Name, Tag("name")] | Annotated[ErpByExpression, Tag("table")], Discriminator(_erp_kind)]
    order: OrderMapping
    write_back: WriteBack = WriteBack()
    grace: Pause = timedelta(seconds=10)
    """How long a record that does not qualify (yet) is looked at again before it is called not needed."""
    horizon: Duration = timedelta(days=30)
    """How long to retry before the order needs attention."""
    unwon: TakenBack = "attention"
    """What becomes of the order of a record that does not qualify any more."""
    deleted: TakenBack = "cancel"
    """What becomes of the order of a deleted record."""
    changed: Changed = "attention"
    """What becomes of an order whose record asks for another total, currency or other lines than the ERP has."""
    follow: _FollowOrNot = False
    """Watch the order in the ERP, and write each change of its status back."""
    sweep: Sweep | None = None
    """Present: a sweep finds the records whose message was lost."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [
            *self._source_problems(),
            *self._select_problems(),
            *self._sweep_problems(),
            *self._unwon_problems(),
        ]
        if self.write_back.stage and self.object != "Opportunity":
            problems.append(Problem(("write_back", "stage"), f"{self.object} has no StageName; leave it out"))
        if problems:
            raise ProblemsError(problems)
        return self

    @property
    def query_fields(self) -> str:
        """The SELECT list to send: `select`, and with it `Id` and the fields that the write-back compares."""
        selected = _selected(self.select or "")
        more = [field for field in ("Id", *self.write_back.fields) if field.lower() not in selected]
        return ", ".join([self.select.strip(), *more] if self.select else more)

    @property
    def policies(self) -> Policies:
        """What to do about a deal that does not stay as it was ordered."""
        follow = Follow() if self.follow is True else self.follow
        return Policies(
            unwon=self.unwon,
            deleted=self.deleted,
            changed=self.changed,
            follow=Following(**follow.model_dump()) if follow else None,
        )

    @property
    def sweep_where(self) -> str | None:
        """The SOQL condition of sweeps; None where the settings say none and `qualify` is no plain field."""
        if self.sweep is not None and self.sweep.where is not None:
            return self.sweep.where
        return f"{self.qualify} = TRUE" if re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", self.qualify) else None

    def reads_of_message(self) -> Iterator[tuple[str, str]]:
        """Yield key and dotted name of what the expressions read of an outbound message's fields.

        Nothing with source `record`: there the message is only a hint.
        """
        if self.source == "record":
            return
        read = [*self._on_record()] if self.payload == "@" else [("payload", self.payload)]
        if self.payload == "@" and self.order.lines.each.replace(" ", "") == "[@]":  # the record is its own one line
            read += [(f"order.lines.{key}", text) for key, text in self.order.lines.on_line()]
        for key, expression in read:
            yield from ((key, path) for path in sorted(expressions.paths(expression)))

    def _on_record(self) -> Iterator[tuple[str, str]]:
        yield "qualify", self.qualify
        yield from ((f"order.{key}", text) for key, text in self.order.on_record())
        if isinstance(self.erp, ErpByExpression):
            yield "erp.expression", self.erp.expression

    def _source_problems(self) -> Iterator[Problem]:
        if self.source == "record" and self.select is None:
            yield Problem(("select",), 'is needed with source = "record"; list the fields that the expressions read')
        if self.source == "event" and self.select is not None:
            yield Problem(("select",), 'is only read with source = "record"; leave it out')
        if self.source == "record" and self.outbound is not None and self.outbound.unqualified == "refuse":
            yield Problem(("outbound", "unqualified"), 'needs source = "event": the record is read only afterwards')

    def _unwon_problems(self) -> Iterator[Problem]:
        """A deal whose order takes away what it qualified by would look like one that was taken back."""
        ours = {field.lower() for field in self.write_back.fields}
        reads = sorted(path for path in expressions.paths(self.qualify) if path.lower() in ours)
        if reads and self.unwon != "ignore":
            text = f'reads {reads[0]}, which the write-back changes: set unwon = "ignore", or leave the field out'
            yield Problem(("qualify",), text)

    def _sweep_problems(self) -> Iterator[Problem]:
        if self.sweep is None:
            return
        if self.sweep_where is None:
            text = "is needed, since `qualify` is no plain field: a SOQL condition such as `IsWon = TRUE`"
            yield Problem(("sweep", "where"), text)
        if self.write_back.status is None:
            text = "is needed where the route is swept: by it a sweep knows the deals whose order was cancelled"
            yield Problem(("write_back", "status"), text)
        select = self.sweep.select
        if self.source == "record" and select is not None:
            yield Problem(("sweep", "select"), 'is only read with source = "event"; leave it out')
        if self.source == "event" and select is None:
            text = 'is needed with source = "event": the SELECT list of a query whose records look like the event'
            yield Problem(("sweep", "select"), text)
        if self.source == "event" and not re.fullmatch(r"@|\w+", self.payload):
            text = "must be `@` or a plain field where the route is swept, so that a record can take its place"
            yield Problem(("payload",), text)
        if select is not None:
            for problem in _not_selected([*self._on_record()], select):
                yield problem._replace(text=problem.text.replace("`select`", "`sweep.select`"))

    def _select_problems(self) -> Iterator[Problem]:
        """A field that is read but not selected is null for ever: no record would qualify, and nobody would know."""
        if self.select is None:
            return
        yield from _not_selected([*self._on_record()], self.query_fields)
        for path in expressions.paths(self.order.lines.each):
            inner = _selected(self.select).get(path.partition(".")[0].lower())
            if inner:
                yield from _not_selected(
                    [(f"order.lines.{key}", text) for key, text in self.order.lines.on_line()], inner
                )


def _not_selected(read: list[tuple[str, str]], select: str) -> Iterator[Problem]:
    if re.search(r"\bFIELDS\s*\(|\bTYPEOF\s", select, re.IGNORECASE):
        return  # what these fetch is not known here
    selected = _selected(select)
    for key, expression in read:
        for path in sorted(expressions.paths(expression)):
            # Either may be the longer one: `Account` is read as a whole, `BillingAddress` and child queries have parts.
            if not any(
                f"{path.lower()}.".startswith(f"{name}.") or name.startswith(f"{path.lower()}.") for name in selected
            ):
                yield Problem(
                    tuple(key.split(".")), f"reads {path}, which `select` does not fetch; mend one of the two"
                )


def _selected(select: str) -> dict[str, str]:
    """Return the lower-case names of what a SELECT list fetches; a child query's name comes with its own list."""
    items, depth = [""], 0
    for char in select:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    selected = {}
    for item in filter(None, map(str.strip, items)):
        child = re.match(r"\(\s*SELECT\s+(.*?)\s+FROM\s+(\w+)", item, re.IGNORECASE | re.DOTALL)
        if child:
            selected[child[2].lower()] = child[1]
        else:
            selected[item.lower()] = ""
    return selected
