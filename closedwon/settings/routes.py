"""Routes: which records become orders, how they map, where the order goes and what is written back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from closedwon import expressions
from closedwon.ids import KEY_PREFIXES
from closedwon.model.routes import Following, Policies, PolicyOptions
from closedwon.settings.intake import Fingerprint
from closedwon.settings.orders import OrderMapping
from closedwon.settings.problems import ProblemsError, SettingsProblem
from closedwon.settings.selecting import misspelt, not_selected, selected, with_stamps
from closedwon.settings.sweeps import Sweep
from closedwon.settings.values import (
    Duration,
    EventChannel,
    Expression,
    FieldName,
    File,
    GrowingIntervals,
    Name,
    PathSecret,
    Pause,
    Section,
    SenderKey,
    strong,
)


class WriteBackFields(Section):
    """Which fields of the record receive what. A field that is not named is not written."""

    number: FieldName | None = None
    status: FieldName | None = None
    link: FieldName | None = None
    error: FieldName | None = None
    key: FieldName | None = None
    """Receives the idempotency key: the other fields count only together with this record's own key."""
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
        return (*dict(self.named()).values(), *(["StageName"] if self.stage else []))

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield key and API name of each field that is set."""
        for key in ("number", "status", "link", "error", "key"):
            if field := getattr(self, key):
                yield key, field


class Follow(GrowingIntervals):
    """How to follow an order in the ERP after its creation, at growing intervals, until it is done or cancelled."""

    initial_interval: Duration = timedelta(minutes=1)
    """From the first poll to the second, also after each change; then the interval doubles."""
    maximum_interval: Duration = timedelta(hours=6)
    """The interval stops growing here: a change is noticed at most this late."""
    follow_for: Duration = timedelta(days=365)
    """The maximum time for which an order is followed."""


class ErpByExpression(Section):
    """Pick the ERP by an expression that yields its name."""

    expression: Expression


class Tombstone(Section):
    """Outbound messages about a small object that holds the keys of deleted records: deleting sends none itself."""

    object: FieldName
    record_id: Expression
    """Finds the deleted record's id in the fields of the notification."""


class Outbound(Section):
    """Outbound messages of a route. An empty table takes any fields.

    An outbound message is not signed, and an org id is not a secret. Everything that proves where one comes from is
    here: a path secret, or a certificate that only the route's org has. With both, a message must have both.
    """

    tombstone: Tombstone | None = None
    """Present: `/outbound/<route>/tombstones` accepts notifications of deleted records; their orders are cancelled."""
    wsdl: File | None = None
    """The org's own WSDL of the outbound message: messages that do not match it are refused."""
    session: Literal["ignore", "use"] = "ignore"
    """A SessionId in the message: `use` reads the record and writes to it with that, while it works."""
    unqualified: Literal["ack", "refuse"] = "ack"
    """With source `event`, a message whose record does not qualify: `ack` takes it, and its workflow ends as not
    needed; `refuse` answers with a fault, and starts nothing."""
    path_secrets: Annotated[tuple[PathSecret, ...], Field(min_length=1, max_length=2)] = ()
    """Present: the endpoint is `/outbound/<route>/<secret>`. Two are valid while one replaces the other."""
    client_fingerprints: Annotated[tuple[Fingerprint, ...], Field(min_length=1)] = ()
    """Present: the client's certificate must be one of these, which the org shares with no other org. The
    certificate that Salesforce uses by default (`proxy.salesforce.com`) is that of all orgs."""

    @property
    def proves_org(self) -> bool:
        """Whether a message that is let in is known to come from the route's org."""
        return bool(self.path_secrets or self.client_fingerprints)


class CalloutSettings(Section):
    """Callouts of a route."""

    keys: Annotated[tuple[Annotated[SenderKey, strong("callout")], ...], Field(min_length=1, max_length=2)]
    """Shared with Apex, which signs with one of them; two while one replaces the other."""


def _erp_kind(value: object) -> str:
    return "name" if isinstance(value, str) else "table"


def _follow_kind(value: object) -> str:
    return "table" if isinstance(value, dict | Follow) else "switch"


_FollowOrNot = Annotated[Annotated[bool, Tag("switch")] | Annotated[Follow, Tag("table")], Discriminator(_follow_kind)]


class _RouteMapping(Section):
    """The keys of a route up to its policies: which records it reads, how they map, and where orders go."""

    name: Name
    org: Name
    object: FieldName = "Opportunity"
    events: tuple[EventChannel, ...] = ()
    """Event bus channels, e.g. `/event/Order_Requested__e`."""
    outbound: Outbound | None = None
    """Present: intake takes outbound messages of this object at `/outbound/<route>`."""
    callouts: CalloutSettings | None = None
    """Present: intake takes signed callouts from Apex at `/callouts/<route>` and `/callouts/<route>/soap`."""
    record_id: Expression = "Opportunity_Id__c"
    """Finds the record id in an event's payload."""
    org_id: Expression | None = None
    """Finds the org id in an event's payload; an event of another org then needs attention."""
    source: Literal["record", "event"] = "record"
    """`record`: read the record (a message is only a trigger). `event`: the payload is complete."""
    payload: Expression = "@"
    """Where an event holds the record's content, e.g. `Payload__c`; a JSON text is parsed. With source `event` the
    order is made of it; with `record` it only names the deal on its page in Temporal's UI."""
    select: str | None = None
    """With source `record`: the SELECT list of the SOQL query, child queries included."""
    qualify: Expression = "IsWon"
    """True for records that should become orders."""
    erp: Annotated[Annotated[Name, Tag("name")] | Annotated[ErpByExpression, Tag("table")], Discriminator(_erp_kind)]
    order: OrderMapping
    write_back: WriteBackFields = WriteBackFields()
    grace: Pause = timedelta(seconds=10)
    """How long a record that does not qualify (yet) is read again before it counts as not needed."""
    quiet: Pause = timedelta(0)
    """How long record and lines must not have changed before the record is ordered."""
    retry_for: Duration = timedelta(days=30)
    """How long to retry before the order needs attention."""


class Route(PolicyOptions, _RouteMapping):
    """The path from an object and its channels to one ERP."""

    follow: _FollowOrNot = False
    """Follow the order in the ERP, and write each change of its status back."""
    sweep: Sweep | None = None
    """Present: a sweep finds the records whose message was lost."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [
            *self._object_problems(),
            *self._source_problems(),
            *self._select_problems(),
            *self._sweep_problems(),
            *self._unqualified_problems(),
        ]
        if self.write_back.stage and self.object != "Opportunity":
            problems.append(SettingsProblem(("write_back", "stage"), f"{self.object} has no StageName; leave it out"))
        if problems:
            raise ProblemsError(problems)
        return self

    @property
    def query_fields(self) -> str:
        """The SELECT list to send: `select`, and with it what every reading needs and what the write-back compares."""
        select = with_stamps(self.select.strip()) if self.select and self.quiet else (self.select or "").strip()
        names = {name.lower() for name in selected(select)}
        needed = ("Id", "CreatedDate", "SystemModstamp", *self.write_back.fields)
        more = {field.lower(): field for field in needed if field.lower() not in names}  # SOQL takes each name once
        return ", ".join([select, *more.values()] if select else more.values())

    @property
    def policies(self) -> Policies:
        """What to do if a record changes after it was ordered."""
        follow = Follow() if self.follow is True else self.follow
        return Policies(
            **self.model_dump(include=set(PolicyOptions.model_fields)),
            follow=Following(**follow.model_dump()) if follow else None,
        )

    @property
    def sweep_where(self) -> str | None:
        """The SOQL condition of sweeps; None if the settings have none and `qualify` is not a plain field."""
        if self.sweep is not None and self.sweep.where is not None:
            return self.sweep.where
        return f"{self.qualify} = TRUE" if re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", self.qualify) else None

    def reads_of_message(self) -> Iterator[tuple[str, str]]:
        """Yield key and dotted name of what the expressions read of an outbound message's fields.

        Nothing with source `record`: there the message is only a trigger.
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

    def _object_problems(self) -> Iterator[SettingsProblem]:
        for name in KEY_PREFIXES:
            if name.lower() == self.object.lower() and name != self.object:
                yield SettingsProblem(
                    ("object",), f"Salesforce writes this object {name}; names are compared with their case"
                )

    def _source_problems(self) -> Iterator[SettingsProblem]:
        if self.source == "event" and self.quiet:
            yield SettingsProblem(
                ("quiet",), 'needs source = "record": an event does not say when its lines were changed'
            )
        if self.source == "record" and self.select is None:
            yield SettingsProblem(
                ("select",), 'is needed with source = "record"; list the fields that the expressions read'
            )
        if self.source == "event" and self.select is not None:
            yield SettingsProblem(("select",), 'is only read with source = "record"; leave it out')
        if self.source == "record" and self.outbound is not None and self.outbound.unqualified == "refuse":
            yield SettingsProblem(
                ("outbound", "unqualified"), 'needs source = "event": the record is read only afterwards'
            )

    def _unqualified_problems(self) -> Iterator[SettingsProblem]:
        """If the write-back changes what `qualify` reads, ordered records would seem not to qualify any longer."""
        ours = {field.lower() for field in self.write_back.fields}
        reads = sorted(path for path in expressions.paths(self.qualify) if path.lower() in ours)
        if reads and self.on_unqualified != "ignore":
            text = (
                f'reads {reads[0]}, which the write-back changes: set on_unqualified = "ignore", or leave the field out'
            )
            yield SettingsProblem(("qualify",), text)

    def _sweep_problems(self) -> Iterator[SettingsProblem]:
        if self.sweep is None:
            return
        if self.sweep_where is None:
            text = "is needed, since `qualify` is not a plain field: a SOQL condition such as `IsWon = TRUE`"
            yield SettingsProblem(("sweep", "where"), text)
        if self.write_back.status is None:
            text = "is needed where the route is swept: by it a sweep knows the deals whose order was cancelled"
            yield SettingsProblem(("write_back", "status"), text)
        select = self.sweep.select
        if self.source == "record" and select is not None:
            yield SettingsProblem(("sweep", "select"), 'is only read with source = "event"; leave it out')
        if self.source == "event" and select is None:
            text = 'is needed with source = "event": the SELECT list of a query whose records look like the event'
            yield SettingsProblem(("sweep", "select"), text)
        if self.source == "event" and not re.fullmatch(r"@|\w+", self.payload):
            text = "must be `@` or a plain field where the route is swept, so that a record can take its place"
            yield SettingsProblem(("payload",), text)
        if select is not None:
            for problem in not_selected([*self._on_record()], select):
                yield problem._replace(text=problem.text.replace("`select`", "`sweep.select`"))

    def _select_problems(self) -> Iterator[SettingsProblem]:
        """A field that is read but not selected is always null: silently, no record would qualify."""
        if self.select is None:
            return
        yield from not_selected([*self._on_record()], self.query_fields)
        yield from misspelt(self.write_back.named(), self.select)
        each = self.order.lines.each
        inner = [selected(self.select).get(path.partition(".")[0], "") for path in expressions.paths(each)]
        if all(inner):  # a line of something else than a child query is not known here
            lines = [*inner, *([self.query_fields] if expressions.reads_itself(each) else [])]
            read = [(f"order.lines.{key}", text) for key, text in self.order.lines.on_line()]
            yield from not_selected(read, ", ".join(lines)) if lines else ()
