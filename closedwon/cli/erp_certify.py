"""`closedwon erp certify`: run the contract and its faults against an ERP's sandbox, and print what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closedwon.cli import certification
from closedwon.cli.certification import MISUSED
from closedwon.cli.common import DEFAULT_CONFIG, Config, echo_json, settings_from
from closedwon.cli.common import console as new_console
from closedwon.settings import Purpose
from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from closedwon.certify import CertificationReport, Plan
    from closedwon.certify.check import CertificationCheck
    from closedwon.certify.report import Result
    from closedwon.settings import RestErp, Settings, TrytonErp

app = typer.Typer()


@app.command()
def certify(
    *,
    name: Annotated[str, typer.Argument(help="The ERP's name in closedwon.toml: a **sandbox**.")],
    product: Annotated[
        list[str], typer.Option(metavar="CODE", help="A product of the ERP to order; two or more are better.")
    ],
    customer: Annotated[
        str | None, typer.Option(help="A customer's Account id or number in the ERP. Default: a made-up one.")
    ] = None,
    currency: Annotated[str, typer.Option(metavar="ISO", help="Of the test orders.")] = "EUR",
    by_hand: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="An order that you made in the ERP for this: it gets a test key."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run this check only; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before orders are created.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """**Certify** an ERP: run the contract and its faults against a sandbox, through its real adapter.

    Creates some 30 test orders of a made-up org, and cancels those that it can. Answers are lost, requests are
    held back, eight callers meet. The exit code is 0 if the ERP is safe to use, perhaps with restrictions, 1 if it
    is not, and 2 if it could not be checked.

    Examples:
    - `closedwon erp certify facade --product GC1040 --product SL9080`
    - `closedwon erp certify facade --product GC1040 --yes --json`
    - `closedwon erp certify facade --product GC1040 --only unique-key`
    """
    try:
        settings = settings_from(config, Purpose.ERP)
    except typer.Exit:
        raise typer.Exit(MISUSED) from None
    erp = _erp(settings, name, config)
    plan = _plan(product, customer, currency, by_hand)
    _require_checks(only or [], by_hand)
    if not yes:
        _ask(erp, plan)
    report = _certify(erp, plan, only or [], show=not as_json)
    if as_json:
        echo_json(report.model_dump_json(indent=2))
    else:
        _print(report)
    raise typer.Exit(int(report.verdict == "not-safe"))


def _erp(settings: Settings, name: str, config: Path) -> RestErp | TrytonErp:
    known = {erp.name: erp for erp in settings.erps}
    if name not in known:
        raise typer.BadParameter(f"there is no ERP {name!r} in {config}; {suggest(name, known)}")
    return known[name]


def _plan(products: list[str], customer: str | None, currency: str, by_hand: str | None) -> Plan:
    from pydantic import ValidationError  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.certify import TEST_CUSTOMER, Plan, customer_from  # noqa: PLC0415

    buyer = customer_from(customer) if customer else TEST_CUSTOMER
    try:
        return Plan(products=tuple(products), customer=buyer, currency=currency, by_hand=by_hand)
    except ValidationError as error:
        option = f"--{error.errors()[0]['loc'][0]}".removesuffix("s")
        text = "a currency has three capital letters, as in `EUR`" if option == "--currency" else "must not be empty"
        raise typer.BadParameter(text, param_hint=option) from None


def _require_checks(only: list[str], by_hand: str | None) -> None:
    from closedwon.certify import CHECKS  # noqa: PLC0415

    certification.require_known(only, CHECKS)
    if "by-hand" in only and by_hand is None:
        raise typer.BadParameter("the check `by-hand` needs `--by-hand NUMBER`", param_hint="--only")


def _ask(erp: RestErp | TrytonErp, plan: Plan) -> None:
    from closedwon.certify import TEST_CUSTOMER, TEST_ORG  # noqa: PLC0415

    buyer = "a made-up customer" if plan.customer == TEST_CUSTOMER else f"customer {plan.customer.reference}"
    text = (
        f"This creates some 30 orders for {buyer} in ERP {erp.name} at {erp.url}, with product(s) "
        f"{', '.join(plan.products)} in {plan.currency}, under keys of the made-up org {TEST_ORG}. Those that can be "
        "cancelled are cancelled in the end. Do this in a sandbox only."
    )
    by_hand = f"\nOrder {plan.by_hand} gets such a key, too, and keeps it." if plan.by_hand else ""
    certification.ask(text + by_hand)


def _certify(erp: RestErp | TrytonErp, plan: Plan, only: list[str], *, show: bool) -> CertificationReport:
    """Run the checks; what is under way is shown on a terminal, on the error stream."""
    import asyncio  # noqa: PLC0415

    from closedwon.certify import UnfitPlanError  # noqa: PLC0415
    from closedwon.certify import certify as run  # noqa: PLC0415
    from closedwon.errors import AttentionError, ClosedwonError  # noqa: PLC0415

    console = new_console(stderr=True, highlight=False, quiet=not show)
    with console.status("Connecting …") as status:

        def on_progress(check: CertificationCheck[Any] | None, result: Result | None) -> None:
            if result is not None:
                certification.print_result(console, result)
            else:
                status.update(f"{check.name}: {check.promise}" if check else "Cancelling the test orders …")

        try:
            return asyncio.run(run(erp, plan, only=only, on_progress=on_progress))
        except ClosedwonError as error:
            hint = f"Check `erps.url` of {erp.name}."
            if isinstance(error, AttentionError):
                hint = error.hint.replace(", then send `retry`", "").replace(", then `retry`", "")
            elif isinstance(error, UnfitPlanError):
                hint = ""
            problem = f"{error}. Nothing was checked. {hint}".strip()
    typer.secho(problem, err=True, fg=typer.colors.RED)
    raise typer.Exit(MISUSED)


def _print(report: CertificationReport) -> None:
    from rich.text import Text  # noqa: PLC0415

    console = new_console(highlight=False)
    certification.print_results(console, report.checks)
    console.print(
        f"\n{report.cancelled} test order(s) cancelled, {len(report.left)} left" + (":" if report.left else ".")
    )
    for left in report.left:
        console.print(Text(f"  {left.number or left.idempotency_key}: {left.why}"), soft_wrap=True)
    certification.print_verdict(console, f"ERP {report.erp}", report)
