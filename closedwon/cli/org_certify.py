"""`closedwon org certify`: find out in a real org what cannot be checked without one, and print what was seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closedwon.cli import certification
from closedwon.cli.certification import MISUSED
from closedwon.cli.common import DEFAULT_CONFIG, Config, echo_json, named_route, settings_from, span
from closedwon.cli.common import console as new_console
from closedwon.settings import Purpose
from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from closedwon.certify.check import CertificationCheck
    from closedwon.certify.org import OrgPlan, OrgReport
    from closedwon.certify.report import Result
    from closedwon.settings import Org, Route, Settings

app = typer.Typer()

_INTERRUPTED = 130
"""Exit code after Ctrl-C."""
_TOKEN = "CLOSEDWON_PERSON_TOKEN"  # noqa: S105 - the name of a variable


@app.command()
def certify(
    *,
    name: Annotated[str, typer.Argument(help="The org's name in closedwon.toml: a **sandbox** or Developer Edition.")],
    route: Annotated[str | None, typer.Option(help="The route to check; needed if the org has several.")] = None,
    token_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="Holds the access token of a person who wins deals.")
    ] = _TOKEN,
    wait: Annotated[str, typer.Option(help="The longest time until an event or a message arrives.")] = "60s",
    pause: Annotated[str, typer.Option(help="How long no subscriber is there, before events are replayed.")] = "5s",
    open_stage: Annotated[str, typer.Option(help="A stage of the org that is open.")] = "Prospecting",
    won_stage: Annotated[str, typer.Option(help="A stage of the org that is closed and won.")] = "Closed Won",
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run this check only; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deals are won.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """**Certify** an org: flows, events, messages, callouts and rights, through Closedwon's own clients.

    Creates and wins some ten test deals, and deletes them, also after Ctrl-C. Stop Closedwon for this org before: it
    would order them. The exit code is 0 if the org can be used, perhaps with restrictions, 1 if it cannot, 2 if it
    could not be checked, and 130 after Ctrl-C.

    Examples:
    - `closedwon org certify sandbox`
    - `closedwon org certify sandbox --yes --json`
    - `closedwon org certify sandbox --only event --only replay`
    """
    from closedwon.certify.org import CHECKS  # noqa: PLC0415 - `closedwon --help` stays instant

    certification.require_known(only or [], CHECKS)
    try:
        settings = settings_from(config, Purpose.ORG, Purpose.SENDERS)
    except typer.Exit:
        raise typer.Exit(MISUSED) from None
    plan = _plan(settings, name, route, token_env, config)._replace(
        wait=span(wait, "--wait"), pause=span(pause, "--pause"), open_stage=open_stage, won_stage=won_stage
    )
    if not yes:
        certification.ask(
            f"This creates and wins some ten deals in org {plan.org.name} at {plan.org.url}, named Closedwon "
            "certification, and deletes them in the end. If Closedwon runs for this org, it orders them: stop it "
            "before. Do this in a sandbox or a Developer Edition only."
        )
    report = _certify(plan, only or [], show=not as_json)
    if as_json:
        echo_json(report.model_dump_json(indent=2))
    else:
        _print(report)
    raise typer.Exit(_INTERRUPTED if report.interrupted else int(report.verdict == "not-safe"))


def _plan(settings: Settings, name: str, route: str | None, token_env: str, config: Path) -> OrgPlan:
    from pydantic import SecretStr  # noqa: PLC0415

    from closedwon.certify.org import OrgPlan  # noqa: PLC0415

    known = {org.name: org for org in settings.orgs}
    if name not in known:
        raise typer.BadParameter(f"there is no org {name!r} in {config}; {suggest(name, known)}")
    token = os.environ.get(token_env, "").strip()
    if not token:
        raise typer.BadParameter(
            f"the environment variable {token_env} is not set; docs/org-certify.md says how to get a token",
            param_hint="--token-env",
        )
    org = known[name]
    return OrgPlan(org, _route(settings, org, route), settings.intake, SecretStr(token))


def _route(settings: Settings, org: Org, name: str | None) -> Route:
    if name is not None:
        return named_route(settings, name, "--route")
    routes = [route for route in settings.routes if settings.org(route.org).name == org.name]
    if len(routes) != 1:
        names = ", ".join(route.name for route in routes) or "none"
        raise typer.BadParameter(
            f"org {org.name} has several routes or none; name one of: {names}", param_hint="--route"
        )
    return routes[0]


def _certify(plan: OrgPlan, only: list[str], *, show: bool) -> OrgReport:
    """Run the checks; what is under way is shown on a terminal, on the error stream."""
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from closedwon.certify.org import certify as run  # noqa: PLC0415
    from closedwon.errors import AttentionError, ClosedwonError  # noqa: PLC0415

    console = new_console(stderr=True, highlight=False, quiet=not show)
    with console.status("Connecting …") as status:

        def on_progress(check: CertificationCheck[Any] | None, result: Result | None) -> None:
            if result is not None:
                certification.print_result(console, result)
            else:
                status.update(f"{check.name}: {check.promise}" if check else "Deleting the test deals …")

        async def run_until_stopped() -> OrgReport:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C does
            return await run(plan, only=only, on_progress=on_progress)

        try:
            return asyncio.run(run_until_stopped())
        except (KeyboardInterrupt, asyncio.CancelledError):  # before anything was created, or a second one
            typer.echo("Interrupted. Test deals that are left are named Closedwon certification.", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except ClosedwonError as error:
            hint = error.hint if isinstance(error, AttentionError) else ""
            problem = f"{str(error).removesuffix('.')}. Nothing was checked. {hint}".strip()
    typer.secho(problem, err=True, fg=typer.colors.RED)
    raise typer.Exit(MISUSED)


def _print(report: OrgReport) -> None:
    from rich.text import Text  # noqa: PLC0415

    console = new_console(highlight=False)
    console.print(Text(f"{report.about}; route {report.route}"), soft_wrap=True)
    certification.print_results(console, report.checks)
    console.print(
        f"\n{report.deleted} test deal(s) deleted, {len(report.left)} record(s) left" + (":" if report.left else ".")
    )
    for left in report.left:
        console.print(Text(f"  {left.object} {left.id}: {left.why}"), soft_wrap=True)
    for sentence in report.remains:
        console.print(Text(sentence, style="dim"), soft_wrap=True)
    if report.interrupted:
        console.print(Text("Interrupted.", style="bold red"))
    certification.print_verdict(console, f"Org {report.org}", report)
