"""`closedwon erp`: what operators send to an ERP's queue (`erp_limits`), and whether an ERP keeps the contract.

An ERP on one's own machine: `local_erp`.
"""

from __future__ import annotations

import typer

from closedwon.cli import erp_certify, erp_limits

app = typer.Typer(
    name="erp",
    help="Pause and limit ERPs, e.g. for maintenance, and certify that one keeps the contract.",
    no_args_is_help=True,
)
app.add_typer(erp_limits.app)
app.add_typer(erp_certify.app)
