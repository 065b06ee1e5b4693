"""`closedwon route`: what would become of a record, without anything becoming of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete, settings_from
from closedwon.errors import AttentionError, AttentionReason, ClosedwonError
from closedwon.ids import InvalidIdError, RecordId
from closedwon.model import idempotency_key
from closedwon.money import amount_text, money
from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from closedwon.model import Order, OrderLine
    from closedwon.record import Record
    from closedwon.settings import Org, Route, Settings

app = typer.Typer(
    name="route", help="Try what would become of a record, without anything becoming of it.", no_args_is_help=True
)


class TrialError(ClosedwonError):
    """The trial cannot be made as it was asked for."""


@dataclass(frozen=True)
class Trial:
    """What would become of a record."""

    route: Route
    record: dict[str, Any]
    qualifies: bool | None = False
    """None: `qualify` yields no value."""
    given_up: bool = False
    """Its status field says that somebody has given its order up, and its key field proves it: no message orders it."""
    doubt: str | None = None
    """What the record says about its order, but does not prove."""
    order: Order | None = None
    erp: str | None = None
    now: dict[str, str | None] = field(default_factory=dict)
    """Present values of the write-back fields; unknown ones are missing."""
    then: dict[str, str | None] = field(default_factory=dict)
    """Their values once the order exists, with placeholders for what only the ERP knows."""
    problem: AttentionError | None = None
    """Why the record can make no order as it is."""


@app.callback()
def routes() -> None:
    """Give `try` a group to be in: a lone command would take its place."""


@app.command("try")
def try_route(
    route: Annotated[str, typer.Argument(help="The route's name.")],
    record_id: Annotated[str, typer.Argument(help="The record's id, 15 or 18 characters.")],
    payload: Annotated[
        Path | None, typer.Option(help='For a route with source = "event": a JSON file with the event or its fields.')
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,  # noqa: FBT002 - a flag
    config: Config = DEFAULT_CONFIG,
) -> None:
    """**Show what would become of a record**: the order, its ERP and the write-back. Changes nothing.

    Ends with exit code 1 when the record can make no order as it is.

    Example:
    - `closedwon route try won-deals 0065g00000XyZabAAF`
    """
    settings = settings_from(config)
    trial = complete(_try(settings, route, record_id, payload))
    if as_json:
        typer.echo(json.dumps(_as_json(trial), indent=2, ensure_ascii=False, default=_plain_number))
    else:
        _show(trial)
    if trial.problem:
        raise typer.Exit(1)


async def _try(settings: Settings, name: str, record_id: str, payload: Path | None) -> Trial:
    route = _route(settings, name)
    org = settings.org(route.org)
    try:
        record_key = RecordId(record_id)
    except InvalidIdError as error:
        raise TrialError(str(error)) from None
    if route.source == "record" and payload is not None:
        raise TrialError(f'Route {name!r} looks at the record (source = "record"): leave --payload out.')
    is_from_event = route.source == "event"
    fields = _from_event(route, record_key, payload) if is_from_event else await _read(org, route, record_key)
    return _trial(settings, route, org, record_key, fields, is_from_event=is_from_event)


def _trial(
    settings: Settings, route: Route, org: Org, record_id: RecordId, fields: dict[str, Any], *, is_from_event: bool
) -> Trial:
    from closedwon.record import Record  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.write_back import write_back_fields  # noqa: PLC0415

    trial = Trial(route, fields)
    try:
        record = Record(route, org.id, record_id, fields, is_from_event=is_from_event)
        given_up, doubt = _said(record)
        trial = replace(trial, now=record.written(), given_up=given_up, doubt=doubt)
        trial = replace(trial, qualifies=record.qualifies())
        trial = replace(trial, order=record.order())
        trial = replace(trial, erp=_known_erp(settings, record.erp()))
    except AttentionError as error:
        return replace(trial, problem=error)
    then = write_back_fields(
        route,
        number="<the ERP's number>",
        status="<its status>",
        link="<link to it>",
        error=None,
        ordered=True,
        key=idempotency_key(org.id, record_id),
    )
    return replace(trial, then=then)


def _said(record: Record) -> tuple[bool, str | None]:
    """Whether the record's order is given up for certain, and what is only said."""
    from closedwon.write_back import Proof  # noqa: PLC0415

    said, key = record.claims(), record.route.write_back.key
    if said.proof is Proof.OTHER:
        return False, f"{key} holds the key of another record: number and status were copied with it, and do not count"
    if said.has_given_up and said.proof is Proof.NONE:
        status = record.route.write_back.status
        return False, f"{status} says that its order was given up, but nothing proves it: the ERP is asked"
    return said.has_given_up, None


def _route(settings: Settings, name: str) -> Route:
    try:
        return settings.route(name)
    except KeyError:
        hint = suggest(name, [route.name for route in settings.routes])
        raise TrialError(f"There is no route {name!r}; {hint}") from None


def _known_erp(settings: Settings, name: str) -> str:
    try:
        return settings.erp(name).name
    except KeyError:
        raise AttentionError(
            f"The route's expression picks the ERP {name!r}, which the settings do not have",
            reason=AttentionReason.CONFIGURATION,
            cure="Mend `erp.expression` of the route, or add the ERP to `erps`.",
        ) from None


def _from_event(route: Route, record: RecordId, payload: Path | None) -> dict[str, Any]:
    from closedwon import mapping  # noqa: PLC0415
    from closedwon.expressions import json_number  # noqa: PLC0415

    if payload is None:
        raise TrialError(
            f'Route {route.name!r} takes the order from the event (source = "event"): '
            "give a JSON file with one by --payload."
        )
    try:
        event = json.loads(payload.read_text(encoding="utf-8"), parse_float=json_number)
    except OSError as error:
        raise TrialError(f"{payload} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise TrialError(f"{payload} is not valid JSON: {error}") from None
    fields = event.get("payload", event) if isinstance(event, dict) else event
    if not isinstance(fields, dict):
        raise TrialError(f"{payload} holds no event: it must be a JSON object with the event's fields")
    named = mapping.record_id_of(route, fields)
    if named != record:
        raise TrialError(f"The event in {payload} is about record {named}, not {record}")
    return mapping.event_record(route, fields)


async def _read(org: Org, route: Route, record: RecordId) -> dict[str, Any]:
    from closedwon.salesforce.auth import TokenSource  # noqa: PLC0415
    from closedwon.salesforce.errors import UnavailableError  # noqa: PLC0415
    from closedwon.salesforce.rest import SalesforceClient  # noqa: PLC0415

    login = TokenSource(org)
    client = SalesforceClient(org, login)
    try:
        found = await client.read(route.object, route.query_fields, record)
    except UnavailableError as error:
        raise TrialError(f"{error}. See that org {org.name!r} runs and that {org.url} is its address.") from None
    finally:
        await client.close()
        await login.close()
    if found is None:
        raise TrialError(
            f"Org {org.name!r} has no {route.object} {record}, or its integration user may not see it: "
            "mend the id, or share the record with the user."
        )
    return found


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "route": trial.route.name,
        "record": _without_attributes(trial.record),
        "qualifies": trial.qualifies,
        "given_up": trial.given_up,
        "doubt": trial.doubt,
        "order": trial.order.model_dump(mode="json") if trial.order else None,
        "erp": trial.erp,
        "write_back": {name: {"now": trial.now.get(name), "then": value} for name, value in trial.then.items()},
        "problem": {"text": str(trial.problem), "reason": trial.problem.reason, "cure": trial.problem.cure}
        if trial.problem
        else None,
    }


def _show(trial: Trial) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.json import JSON  # noqa: PLC0415

    console = Console()
    console.rule("record", align="left")
    console.print(JSON(json.dumps(_without_attributes(trial.record), default=_plain_number, ensure_ascii=False)))
    console.rule("order", align="left")
    if trial.order:
        console.print(*_order(trial.order), sep="\n")
    if trial.problem:
        _say(console, "✗ ", "bold red", str(trial.problem))
        _say(console, "  ", "yellow", trial.problem.cure)
        return
    console.rule("where it goes", align="left")
    if trial.qualifies and trial.given_up:
        field_name = trial.route.write_back.status
        said = f"nowhere: {field_name} says that its order was given up; empty that field to order"
        _say(console, "- ", "yellow", said)
    elif trial.qualifies:
        if trial.doubt:
            _say(console, "- ", "yellow", trial.doubt)
        _say(console, "✓ ", "green", f"ERP {trial.erp}: the record qualifies ({trial.route.qualify})")
    else:
        no_value = " yields no value" if trial.qualifies is None else ""
        _say(
            console,
            "- ",
            "yellow",
            f"nowhere: the record does not qualify ({trial.route.qualify}{no_value}); else ERP {trial.erp}",
        )
    console.rule("written back", align="left")
    console.print(_write_back(trial))


def _order(order: Order) -> tuple[RenderableType, ...]:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    customer = order.customer
    address = ", ".join(filter(None, (customer.street, customer.postal_code, customer.city, customer.country)))
    head = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "idempotency key": order.idempotency_key,
        "name": order.name,
        "customer": f"{customer.name} ({customer.reference})",
        "address": address.replace("\n", ", "),
        "reference": order.reference,
        "order date": order.order_date,
        "delivery date": order.delivery_date,
        "signed total": None if order.total is None else money(order.total, order.currency),
        **order.extra,
    }
    for key, value in rows.items():
        if value:
            head.add_row(Text(key, "dim"), Text(str(value)))
    lines = Table("product", "description", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    lines.add_column("quantity", justify="right")
    lines.add_column("list price", justify="right")
    lines.add_column("discount", justify="right")
    lines.add_column("unit price", "total", justify="right")
    lines.add_column("amount", money(order.amount, order.currency), justify="right")
    for line in order.lines:
        lines.add_row(Text(line.product), Text(line.description or ""), *_figures(line, order.currency))
    return head, lines


def _figures(line: OrderLine, currency: str) -> tuple[str, ...]:
    percent = line.discount_percent
    return (
        f"{line.quantity.normalize():f}",
        "" if line.list_price is None else amount_text(line.list_price, currency),
        "" if percent is None else f"{percent.normalize():f} %",
        amount_text(line.unit_price, currency),
        amount_text(line.amount, currency),
    )


def _write_back(trial: Trial) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not trial.then:
        return "nothing: the route names no field in write_back"
    table = Table("field", "now", "then", box=None, pad_edge=False, header_style="dim")
    for name, value in trial.then.items():
        now = trial.now.get(name, "" if trial.now else "not read")
        table.add_row(
            Text(name), Text(now or "empty", "" if now else "dim"), Text(value or "empty", "" if value else "dim")
        )
    return table


def _say(console: Console, mark: str, style: str, text: str) -> None:
    from rich.text import Text  # noqa: PLC0415

    console.print(Text.assemble((mark, style), (text, style if style == "yellow" else "")))


def _without_attributes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_attributes(inner) for key, inner in value.items() if key != "attributes"}
    return [_without_attributes(inner) for inner in value] if isinstance(value, list) else value


def _plain_number(value: object) -> object:
    """Write a `Decimal` as a JSON number where that is exact, else as text."""
    if not isinstance(value, Decimal):
        return str(value)
    number = float(value)
    return number if Decimal(str(number)) == value else str(value)
