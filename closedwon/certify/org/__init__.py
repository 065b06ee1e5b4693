"""`closedwon org certify`: find out in a real org what could not be checked without one.

Wins, changes and deletes test deals as a person, and looks at them as Closedwon: through its own clients, and at the
port of intake. Uses neither Temporal nor an ERP. Whatever it makes is deleted at the end, also after Ctrl-C.

    bench            what the checks work with: the two users, test deals, the event bus
    listener         receives outbound messages and callouts in the place of intake
    reading, pushes  the checks
    cleaning, run    deletes what was made; runs the checks, and the report
"""

from __future__ import annotations

from closedwon.certify.org.bench import OrgPlan, UnfitOrgError
from closedwon.certify.org.run import CHECKS, OrgReport, certify

__all__ = ["CHECKS", "OrgPlan", "OrgReport", "UnfitOrgError", "certify"]
