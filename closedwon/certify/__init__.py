"""`closedwon erp certify`: does an ERP, or a facade before it, keep the contract, also when things go wrong?

Runs against any ERP of the settings, through its real adapter: a sandbox, since it creates orders. No Temporal and no
Salesforce here. `check` says what a check is; `orders`, `content`, `faults` and `lookups` hold them; `bench` is what
they work with, `proxy` loses answers and holds requests back, `run` runs them, and `report` is what is found.
"""

from __future__ import annotations

from closedwon.certify.bench import TEST_CUSTOMER, TEST_ORG, Plan, customer_from
from closedwon.certify.report import Outcome, Report, Result, Verdict
from closedwon.certify.run import CHECKS, UnfitPlanError, certify

__all__ = [
    "CHECKS",
    "TEST_CUSTOMER",
    "TEST_ORG",
    "Outcome",
    "Plan",
    "Report",
    "Result",
    "UnfitPlanError",
    "Verdict",
    "certify",
    "customer_from",
]
