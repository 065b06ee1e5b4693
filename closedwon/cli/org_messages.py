"""`closedwon org messages`: the running org's outbound messages, as Setup's page "Outbound Messages" shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from closedwon.cli.org_common import DEFAULT_DIR, DataDir, talk

app = typer.Typer(name="messages", help="Outbound messages that wait or have failed.", no_args_is_help=True)

Notification = Annotated[str, typer.Argument(help="The notification's id, `04l…`.")]


@app.command("list")
def list_messages(data_dir: DataDir = DEFAULT_DIR) -> None:
    """List what waits for its next attempt, and what failed for 24 hours.

    Example:
    - `closedwon org messages list`
    """
    queued = talk(data_dir, lambda client: client.admin("GET", "messages"))
    for one in queued:  # no table: ids are copied from here, and problems are long
        next_at = f"next at {datetime.fromtimestamp(one['next_ms'] / 1000, UTC):%Y-%m-%d %H:%M:%S}"
        state = f"attempt {one['attempts']}, {'failed' if one['failed'] else next_at}"
        typer.echo(f"{one['id']} {one['definition']} {one['record']}: {state}. {one['problem']}".rstrip())
    if not queued:
        typer.echo("Nothing waits, nothing has failed.")


@app.command()
def retry(notification: Notification, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Send one again now; a failed one gets another 24 hours.

    Example:
    - `closedwon org messages retry 04lQy00008rlCCbIAM`
    """
    talk(data_dir, lambda client: client.admin("POST", "messages", {"id": notification, "action": "retry"}))
    typer.echo(f"{notification} is sent again now.")


@app.command()
def delete(notification: Notification, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Take one off the queue; it is never sent again.

    Example:
    - `closedwon org messages delete 04lQy00008rlCCbIAM`
    """
    talk(data_dir, lambda client: client.admin("POST", "messages", {"id": notification, "action": "delete"}))
    typer.echo(f"{notification} is off the queue.")


@app.command()
def endpoint(
    definition: Annotated[str, typer.Argument(help="The outbound message's name in org.toml.")],
    url: Annotated[str, typer.Argument(help="Where its messages go from now on.")],
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """Send a definition's messages elsewhere from now on, whatever org.toml says.

    Example:
    - `closedwon org messages endpoint deals http://localhost:8085/outbound/deals`
    """
    talk(data_dir, lambda client: client.admin("POST", "endpoints", {"definition": definition, "endpoint": url}))
    typer.echo(f"{definition} goes to {url} from now on.")


@app.command()
def definitions(data_dir: DataDir = DEFAULT_DIR) -> None:
    """List what the org sends, on what occasion, and where to.

    Example:
    - `closedwon org messages definitions`
    """
    found = talk(data_dir, lambda client: client.admin("GET", "definitions"))
    for one in found:  # no table: an endpoint that is cut off is of no use
        condition = f", {one['field']} = {one['becomes']}" if one["field"] else ""
        condition += f", changes of {' and '.join(one['or_changes'])}" if one["or_changes"] else ""
        typer.echo(f"{one['kind']} {one['name']}: {one['on']}{condition} ({one['trigger']}) -> {one['endpoint']}")
    if not found:
        typer.echo("The org sends nothing. Define outbound_messages or callouts in org.toml.")
