"""A failed safety check, as workers report it."""

from __future__ import annotations

from typing import Literal

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.alerts import AlertState
from closedwon.model.base import Frozen

CheckName = Literal["login", "fields", "erp", "secrets", "intake"]


class FailedCheck(Frozen):
    """A safety check that has failed, as people and Temporal see it."""

    check: CheckName
    """`login`: the org and our user; `fields`: the names that routes use; `erp`: what the ERP says of itself;
    `secrets`: their strength; `intake`: whether any sender can push to a route."""
    subject: str
    """For people, such as `org production` or `erp tryton`."""
    org: OrgId | None = None
    erp: str | None = None
    reason: AttentionReason
    text: str
    """What is wrong, in one sentence that names settings, ids and fields, and contains no customer's data."""
    hint: str
    by: str = ""
    """The process that found it."""


class Hold(AlertState):
    """The input of the workflow that is open while a check fails."""

    failed: FailedCheck
