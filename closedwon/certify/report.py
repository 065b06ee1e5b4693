"""Results of `erp certify` and `org certify`. The names of checks, outcomes and verdicts are stable."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, computed_field

from closedwon.model.base import Frozen


class CheckOutcome(StrEnum):
    """The outcome of one check."""

    OK = "ok"
    FAILED = "failed"
    """What is checked does not do what Closedwon needs."""
    NOT_OFFERED = "not-offered"
    """It is not required, or could not be seen; `Result.consequence` says what Closedwon does without it."""


class Verdict(StrEnum):
    """The summary of all outcomes."""

    CERTIFIED = "certified"
    RESTRICTED = "usable-with-restrictions"
    NOT_SAFE = "not-safe"


class Result(Frozen):
    """One check."""

    name: str
    promise: str
    """What the check verifies, in one sentence."""
    outcome: CheckOutcome
    facts: str
    """What was observed."""
    consequence: str | None = None
    """What that means, unless it is ok."""
    seconds: float


class Timing(Frozen):
    """How long the calls of one kind took."""

    call: str
    count: int
    median_seconds: float
    p95_seconds: float


class Left(Frozen):
    """An order that could not be cancelled at the end."""

    idempotency_key: str
    number: str | None
    why: str


class Report(Frozen):
    """What all reports have."""

    started_at: AwareDatetime
    checks: tuple[Result, ...]
    partial: bool
    """Not all checks ran: only some were selected, or the run ended early."""

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def verdict(self) -> Verdict:
        """The worst outcome decides."""
        outcomes = {result.outcome for result in self.checks}
        if CheckOutcome.FAILED in outcomes:
            return Verdict.NOT_SAFE
        return Verdict.RESTRICTED if CheckOutcome.NOT_OFFERED in outcomes else Verdict.CERTIFIED

    @property
    def sentence(self) -> str:
        """The verdict as a sentence for people."""
        what = ", ".join(result.name for result in self.checks if result.outcome is _DECIDES.get(self.verdict))
        text = {
            Verdict.CERTIFIED: "certified",
            Verdict.RESTRICTED: f"usable with restrictions: {what}",
            Verdict.NOT_SAFE: f"not safe: {what}",
        }[self.verdict]
        return f"{text} (not all checks were run)" if self.partial else text


class CertificationReport(Report):
    """The complete result for an ERP."""

    erp: str
    kind: str
    org: str
    """The made-up org of all idempotency keys."""
    timeout_seconds: float
    timings: tuple[Timing, ...]
    cancelled: int
    left: tuple[Left, ...]


_DECIDES: Final = {Verdict.RESTRICTED: CheckOutcome.NOT_OFFERED, Verdict.NOT_SAFE: CheckOutcome.FAILED}
