"""`closedwon route`: prints what would happen to a record. The trial itself is `closedwon.operations.trials`."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete, echo_json, settings_from
from closedwon.cli.common import console as new_console
from closedwon.money import amount_text, money
from closedwon.settings import Purpose

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from closedwon.model.orders import Order, OrderLine
    from closedwon.operations.trials import Trial

app = typer.Typer(
    name="route", help="Show what would happen to a record, without changing anything.", no_args_is_help=True
)


@app.callback()
def routes() -> None:
    """Make `try` a command of a group; typer would drop the name of a single command."""


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
    """**Show what would happen to a record**: the order, its ERP and the write-back. Changes nothing.

    The exit code is 1 if no order can be made of the record as it is.

    Example:
    - `closedwon route try won-deals 0065g00000XyZabAAF`
    """
    settings = settings_from(config, Purpose.ORG)
    from closedwon.operations.trials import try_record  # noqa: PLC0415 - `closedwon --help` stays instant

    trial = complete(try_record(settings, route, record_id, payload))
    if as_json:
        echo_json(json.dumps(_as_json(trial), indent=2, ensure_ascii=False, default=_plain_number))
    else:
        _show(trial)
    if trial.problem:
        raise typer.Exit(1)


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "route": trial.route.name,
        "record": _without_attributes(trial.record),
        "qualifies": trial.qualifies,
        "declined": trial.declined,
        "doubt": trial.doubt,
        "order": trial.order.model_dump(mode="json") if trial.order else None,
        "erp": trial.erp,
        "write_back": {name: {"now": trial.now.get(name), "then": value} for name, value in trial.then.items()},
        "problem": {"text": str(trial.problem), "reason": trial.problem.reason, "hint": trial.problem.hint}
        if trial.problem
        else None,
    }


def _show(trial: Trial) -> None:
    from rich.json import JSON  # noqa: PLC0415

    console = new_console()
    console.rule("record", align="left")
    console.print(JSON(json.dumps(_without_attributes(trial.record), default=_plain_number, ensure_ascii=False)))
    console.rule("order", align="left")
    if trial.order:
        console.print(*_order(trial.order), sep="\n")
    if trial.problem:
        _print(console, "✗ ", "bold red", str(trial.problem))
        _print(console, "  ", "yellow", trial.problem.hint)
        return
    console.rule("ERP", align="left")
    if trial.qualifies and trial.declined:
        field_name = trial.route.write_back.status
        text = f"nowhere: {field_name} says that the order was declined; clear that field to order"
        _print(console, "- ", "yellow", text)
    elif trial.qualifies:
        if trial.doubt:
            _print(console, "- ", "yellow", trial.doubt)
        _print(console, "✓ ", "green", f"ERP {trial.erp}: the record qualifies ({trial.route.qualify})")
    else:
        no_value = " yields no value" if trial.qualifies is None else ""
        _print(
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
        lines.add_row(Text(line.product), Text(line.description or ""), *_amounts(line, order.currency))
    return head, lines


def _amounts(line: OrderLine, currency: str) -> tuple[str, ...]:
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


def _print(console: Console, mark: str, style: str, text: str) -> None:
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
