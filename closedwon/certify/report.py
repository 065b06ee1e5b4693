"""What `closedwon erp certify` found, as values. The names of checks, outcomes and verdicts are stable words."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, computed_field

from closedwon.model import Frozen


class Outcome(StrEnum):
    """What came of one check."""

    OK = "ok"
    FAILED = "failed"
    """The ERP, or the facade before it, breaks the contract."""
    NOT_OFFERED = "not-offered"
    """The contract leaves it open; `Result.consequence` says what Closedwon does without it."""


class Verdict(StrEnum):
    """What the outcomes come to."""

    CERTIFIED = "certified"
    RESTRICTED = "usable-with-restrictions"
    NOT_SAFE = "not-safe"


class Result(Frozen):
    """One check."""

    name: str
    promise: str
    """What must hold, in one sentence."""
    outcome: Outcome
    facts: str
    """What was seen."""
    consequence: str | None = None
    seconds: float


class Timing(Frozen):
    """How long the calls of one kind took."""

    call: str
    count: int
    median_seconds: float
    p95_seconds: float


class Left(Frozen):
    """An order that is still there after the tidying up, not cancelled."""

    idempotency_key: str
    number: str | None
    why: str


class Report(Frozen):
    """Everything."""

    erp: str
    kind: str
    org: str
    """The made-up org of all idempotency keys."""
    started_at: AwareDatetime
    timeout_seconds: float
    checks: tuple[Result, ...]
    partial: bool
    """Only some checks were asked for, or the rest was not run after a dangerous failure."""
    timings: tuple[Timing, ...]
    cancelled: int
    left: tuple[Left, ...]

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def verdict(self) -> Verdict:
        """The worst outcome decides."""
        outcomes = {result.outcome for result in self.checks}
        if Outcome.FAILED in outcomes:
            return Verdict.NOT_SAFE
        return Verdict.RESTRICTED if Outcome.NOT_OFFERED in outcomes else Verdict.CERTIFIED

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        what = ", ".join(result.name for result in self.checks if result.outcome is _DECIDES.get(self.verdict))
        text = {
            Verdict.CERTIFIED: "certified",
            Verdict.RESTRICTED: f"usable with restrictions: {what}",
            Verdict.NOT_SAFE: f"not safe: {what}",
        }[self.verdict]
        return f"{text} (not all checks were run)" if self.partial else text


_DECIDES: Final = {Verdict.RESTRICTED: Outcome.NOT_OFFERED, Verdict.NOT_SAFE: Outcome.FAILED}
