"""`closedwon org list` and `closedwon org show`: the deals of a Salesforce emulator, with what was written back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from closedwon.cli.common import console as new_console
from closedwon.cli.org_common import DEFAULT_DIR, DataDir, stop, talk

app = typer.Typer()
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with Salesforce's own field names.")]


@app.command("list")
def list_deals(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the last changed first.")] = 20,
    stage: Annotated[str | None, typer.Option(help="Only those in this stage, as in `Closed Won`.")] = None,
    as_json: _AsJson = False,  # noqa: FBT002 - a flag
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """**List deals** with stage, amount, order number and status, the last changed first.

    Examples:
    - `closedwon org list`
    - `closedwon org list --stage "Closed Won" --json`
    """
    found = [deal for deal in _deals(data_dir) if stage is None or deal["StageName"].lower() == stage.lower()]
    deals = sorted(found, key=lambda deal: (deal["SystemModstamp"], deal["Id"]), reverse=True)[:limit]
    if as_json:
        typer.echo(json.dumps([_plain(deal) for deal in deals], indent=2))
        return
    if not deals:
        typer.echo("No Opportunity found. Add some with: closedwon org seed")
        return
    from rich.markup import escape  # noqa: PLC0415 - `closedwon --help` stays instant
    from rich.table import Table  # noqa: PLC0415

    table = Table("Opportunity", "Stage", box=None, header_style="bold", pad_edge=False)
    table.add_column("Amount", justify="right")
    for heading in ("Order", "Status"):
        table.add_column(heading)
    table.add_column("Id", style="dim", no_wrap=True)
    for deal in deals:
        number, status = deal["ERP_Order_Number__c"] or "", deal["ERP_Order_Status__c"] or ""
        error = " [red]▲ error[/red]" if deal["ERP_Order_Error__c"] else ""
        table.add_row(
            escape(deal["Name"]), deal["StageName"], _amount(deal), escape(number), escape(status) + error, deal["Id"]
        )
    new_console().print(table)
    if len(found) > len(deals):
        typer.echo(f"{len(found) - len(deals)} more; see them with: closedwon org list --limit {len(found)}")


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="The id of an Opportunity, 15 or 18 characters.")],
    as_json: _AsJson = False,  # noqa: FBT002 - a flag
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """**Show a deal** with order number, status, link and error, as they were written back.

    Example:
    - `closedwon org show 006Qy000008rpQaIAI`
    """
    from closedwon.ids import InvalidIdError, RecordId  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.safe_text import terminal  # noqa: PLC0415

    try:
        wanted = RecordId(record)
    except InvalidIdError as error:
        raise stop(str(error)) from None
    deal = next((one for one in _deals(data_dir) if one["Id"] == wanted), None)
    if deal is None:
        raise stop(f"This org has no Opportunity {wanted}. See those that it has with: closedwon org list")
    if as_json:
        typer.echo(json.dumps(_plain(deal), indent=2))
        return
    rows = {
        "Opportunity": f"{deal['Name']} ({deal['Id']})",
        "Stage": deal["StageName"],
        "Amount": _amount(deal),
        "ERP order": deal["ERP_Order_Number__c"] or "none",
        "ERP status": deal["ERP_Order_Status__c"] or "none",
        "ERP link": deal["ERP_Order_Link__c"] or "none",
        "ERP error": deal["ERP_Order_Error__c"] or "none",
        "Changed": deal["SystemModstamp"],
    }
    for name, value in rows.items():
        typer.echo(f"{name:<12}{terminal(value)}")


def _deals(data_dir: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = talk(data_dir, lambda client: client.admin("GET", "opportunities"))
    return found


def _plain(deal: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in deal.items() if name != "attributes"}


def _amount(deal: dict[str, Any]) -> str:
    return "" if deal["Amount"] is None else f"{deal['Amount']:,.2f} {deal.get('CurrencyIsoCode') or ''}".rstrip()
