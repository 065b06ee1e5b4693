"""`closedwon org callout`: let the running org call as Apex does, from a page, from a trigger, or from a batch job."""

from __future__ import annotations

from typing import Annotated

import typer

from closedwon.cli.org_common import DEFAULT_DIR, DataDir, stop, talk

app = typer.Typer(
    name="callout", help="Callouts of the org's Apex, signed. Define them in org.toml.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The callout's name in org.toml.")]
Record = Annotated[str, typer.Argument(help="The id of a record, 15 or 18 characters.")]


@app.command()
def page(name: Name, record: Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Call now and show the answer, as a button on a **page** does. Nothing is repeated.

    Example:
    - `closedwon org callout page won-deals 006Qy000008rpQaIAI`
    """
    arguments = {"definition": name, "record": record}
    answer = talk(data_dir, lambda client: client.admin("POST", "callouts/page", arguments))
    if answer["problem"]:
        raise stop(f"The call failed: {answer['problem']} {answer['body']}".strip())
    typer.echo(f"HTTP {answer['status']} {answer['body']}")


@app.command()
def trigger(name: Name, record: Record, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Queue a call about one record, as a **trigger** does. It is repeated until it is answered well.

    Example:
    - `closedwon org callout trigger won-deals 006Qy000008rpQaIAI`
    """
    arguments = {"definition": name, "record": record}
    answer = talk(data_dir, lambda client: client.admin("POST", "callouts/trigger", arguments))
    typer.echo(f"Queued as {answer['id']}. What is not answered stays in: closedwon org messages list")


@app.command()
def batch(name: Name, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Queue calls about **all records that meet the condition** now, many in one call, as a batch job does.

    Example:
    - `closedwon org callout batch won-deals`
    """
    answer = talk(data_dir, lambda client: client.admin("POST", "callouts/batch", {"definition": name}))
    typer.echo(f"Queued {answer['queued']} records. What is not answered stays in: closedwon org messages list")
