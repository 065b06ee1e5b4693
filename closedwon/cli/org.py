"""`closedwon org`: runs the Salesforce emulator, fills it, wins deals in it, and makes it misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closedwon.cli import org_callout, org_certify, org_fault, org_look, org_messages
from closedwon.cli.common import console as new_console
from closedwon.cli.common import serving
from closedwon.cli.org_common import DEFAULT_DIR, DataDir, stop, talk

if TYPE_CHECKING:
    from closedwon.emulators.salesforce.client import Deal, OrgClient
    from closedwon.emulators.salesforce.server import SalesforceEmulator

app = typer.Typer(
    name="org",
    help="Run a Salesforce emulator on your machine, win deals in it, make it misbehave; certify a real org.",
    no_args_is_help=True,
)
app.add_typer(org_look.app)
app.add_typer(org_fault.app)
app.add_typer(org_messages.app)
app.add_typer(org_callout.app)
app.add_typer(org_certify.app)


_Record = Annotated[str, typer.Argument(help="The id of an Opportunity, 15 or 18 characters.")]
_Account = Annotated[str, typer.Argument(help="The id of an Account, 15 or 18 characters.")]


@app.command()
def serve(
    data_dir: DataDir = DEFAULT_DIR,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 picks a free one; default: the one served last time.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; any other than loopback is open to other machines.")
    ] = "127.0.0.1",
    memory: Annotated[bool, typer.Option("--memory", help="Keep records and events in memory only.")] = False,  # noqa: FBT002 - a flag
    org_id: Annotated[str | None, typer.Option(help="The org's id (`00D…`), fixed at the first start.")] = None,
) -> None:
    """Serve a **Salesforce org** on this machine (default port 8080) until Ctrl-C.

    Its page, for a browser, is at the address that is printed: deals, events, messages, faults.
    Records and events are kept in the data dir; address and credentials are written to `connection.json` there.
    `org.toml` in the data dir may configure flows, validation rules, custom fields and timings.

    Example:
    - `closedwon org serve`
    """
    import logging  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.emulators.pages import warning  # noqa: PLC0415
    from closedwon.emulators.salesforce import serve as serve_org  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if exposed := warning(host):
        typer.secho(exposed, err=True, fg=typer.colors.YELLOW)
    with serving("an org", data_dir):
        ready = _show_ready(data_dir)
        asyncio.run(serve_org(data_dir, port=port, host=host, memory=memory, org_id=org_id, on_ready=ready))


@app.command()
def seed(
    opportunities: Annotated[int, typer.Option(min=0, help="How many open Opportunities to add.")] = 100,
    seed_number: Annotated[int, typer.Option("--seed", help="The same number makes the same data.")] = 1,
    varied: Annotated[bool, typer.Option("--varied", help="With discounts, and a tab in a name.")] = False,  # noqa: FBT002 - a flag
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """Fill the org with accounts, products and **open Opportunities**, each with one to three line items.

    Examples:
    - `closedwon org seed --opportunities 100`
    - `closedwon org seed --opportunities 20 --varied`
    """
    arguments = {"opportunities": opportunities, "seed": seed_number, "varied": varied}
    answer = talk(data_dir, lambda client: client.admin("POST", "seed", arguments))
    typer.echo(f"Added {len(answer['ids'])} open Opportunities. Win some with: closedwon org win --count 5")


@app.command()
def win(
    record: Annotated[str | None, typer.Argument(help="The id of an Opportunity, 15 or 18 characters.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Without an id: how many of the oldest open ones.")] = 1,
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """**Close deals as won**, through the org's REST API, as a sales person would.

    Examples:
    - `closedwon org win --count 5`
    - `closedwon org win 006Qy000008rpQaIAI`
    """
    wanted = _id_of(record) if record else None
    deals = talk(data_dir, lambda client: _win(client, wanted, count))
    if not deals:
        raise stop("There is no open Opportunity. Add some with: closedwon org seed")
    _show(deals)


@app.command()
def unwin(record: _Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """**Reopen a won deal**: its stage becomes *Negotiation/Review*. The flow publishes an event.

    Example:
    - `closedwon org unwin 006Qy000008rpQaIAI`
    """
    deal = _after(data_dir, record, lambda client, wanted: client.unwin(wanted))
    typer.echo(f"Reopened: {deal.name} ({deal.id}), stage {deal.stage}")


@app.command()
def change(
    record: _Record,
    quantity: Annotated[float | None, typer.Option(min=1, help="Of its first product.")] = None,
    discount: Annotated[
        float | None, typer.Option(min=0, max=100, help="On its first product, in percent; 0 takes it away.")
    ] = None,
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """**Change what a deal sells**: another quantity of its first product, or another discount, so another amount.

    Examples:
    - `closedwon org change 006Qy000008rpQaIAI --quantity 7`
    - `closedwon org change 006Qy000008rpQaIAI --discount 12.5`
    """
    if quantity is None and discount is None:
        raise typer.BadParameter("give --quantity, --discount or both")
    deal = _after(data_dir, record, lambda client, wanted: client.change(wanted, quantity=quantity, discount=discount))
    typer.echo(f"Changed: {deal.name} ({deal.id}), now {deal.amount or 0:,.2f} {deal.currency}")


@app.command()
def move(record: _Record, account: _Account, data_dir: DataDir = DEFAULT_DIR) -> None:
    """**Move a deal to another customer**: changes its Account. The flow publishes an event.

    Example:
    - `closedwon org move 006Qy000008rpQaIAI 001Qy000008rpQaIAI`
    """
    customer = _id_of(account)
    deal = _after(data_dir, record, lambda client, wanted: client.move(wanted, customer))
    typer.echo(f"Moved: {deal.name} ({deal.id}) to the Account {customer}")


@app.command()
def clone(record: _Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """**Copy a deal**, as a renewal is made from last year's: all fields that can be written, line items included.

    The copy is open, and has the order number, status and key of its original, as copies by clone tools, flows and
    administrators have.

    Example:
    - `closedwon org clone 006Qy000008rpQaIAI`
    """
    wanted = _id_of(record)

    async def copy(client: OrgClient) -> Deal:
        return await client.deal(await client.clone(wanted))

    deal = talk(data_dir, copy)
    typer.echo(f"Copied: {deal.name} ({deal.id}), stage {deal.stage}. Win it with: closedwon org win {deal.id}")


@app.command()
def delete(record: _Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """**Delete a deal**: it goes to the recycle bin. No flow publishes an event; sweeps find it.

    Example:
    - `closedwon org delete 006Qy000008rpQaIAI`
    """
    wanted = _id_of(record)
    talk(data_dir, lambda client: client.delete(wanted))
    typer.echo(f"Deleted: {wanted}")


@app.command()
def undelete(record: _Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """**Restore a deleted deal** from the recycle bin, with its line items. No flow publishes an event; sweeps find it.

    Example:
    - `closedwon org undelete 006Qy000008rpQaIAI`
    """
    deal = _after(data_dir, record, lambda client, wanted: client.undelete(wanted))
    typer.echo(f"Restored: {deal.name} ({deal.id}), stage {deal.stage}")


def _after(data_dir: Path, record: str, act: Callable[[OrgClient, Any], Awaitable[None]]) -> Deal:
    """Change a deal and return its new state."""
    wanted = _id_of(record)

    async def both(client: OrgClient) -> Deal:
        await act(client, wanted)
        return await client.deal(wanted)

    return talk(data_dir, both)


def _id_of(record: str) -> Any:
    from closedwon.ids import InvalidIdError, RecordId  # noqa: PLC0415 - `closedwon --help` stays instant

    try:
        return RecordId(record)
    except InvalidIdError as error:
        raise stop(str(error)) from None


async def _win(client: OrgClient, wanted: Any, count: int) -> list[Deal]:
    deals = [await client.deal(wanted)] if wanted else await client.open_deals(count)
    for deal in deals:
        await client.win(deal.id)
    return deals


def _show(deals: list[Deal]) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("Won", "Opportunity", box=None, header_style="bold", pad_edge=False)
    table.add_column("Amount", justify="right")
    table.add_column("Id", style="dim", no_wrap=True)
    for deal in deals:
        amount = "no amount" if deal.amount is None else f"{deal.amount:,.2f} {deal.currency}"
        table.add_row("[green]✔[/green]", escape(deal.name), amount, deal.id)
    console = new_console()
    console.print(table)
    total = sum(deal.amount or 0 for deal in deals)
    console.print(f"[bold]{len(deals)}[/bold] won, {total:,.2f} in total")


def _show_ready(data_dir: Path) -> Callable[[SalesforceEmulator], None]:
    def show(org: SalesforceEmulator) -> None:
        typer.echo(f"Org {org.org_id} at {org.url}, credentials in {data_dir / 'connection.json'}. Ctrl-C stops it.")

    return show
