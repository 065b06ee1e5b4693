"""`closedwon erp certify`: check that an ERP, or its facade, follows the contract, also when calls fail.

Runs against any ERP of the settings through its real adapter. Use a sandbox, because it creates orders. Uses neither
Temporal nor Salesforce.

    check                               what a check is
    orders, content, faults, lookups    the checks
    bench                               what the checks work with
    proxy                               loses answers and holds requests back
    run, report                         runs the checks, and the result
"""

from __future__ import annotations

from closedwon.certify.bench import TEST_CUSTOMER, TEST_ORG, Plan, customer_from
from closedwon.certify.report import CertificationReport, CheckOutcome, Result, Verdict
from closedwon.certify.run import CHECKS, UnfitPlanError, certify

__all__ = [
    "CHECKS",
    "TEST_CUSTOMER",
    "TEST_ORG",
    "CertificationReport",
    "CheckOutcome",
    "Plan",
    "Result",
    "UnfitPlanError",
    "Verdict",
    "certify",
    "customer_from",
]
