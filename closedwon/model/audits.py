"""The scheduled audit of an org: what to compare, what was found, and the inputs of its workflows."""

from __future__ import annotations

from pydantic import AwareDatetime

from closedwon.ids import OrgId, RecordId
from closedwon.model.alerts import AlertState
from closedwon.model.base import Frozen


class ScheduledAudit(Frozen):
    """The input of a scheduled audit."""

    org: OrgId


class CompareRecords(Frozen):
    """What to compare: everything that was changed in the org since `mark`, and the `known` records."""

    org: OrgId
    mark: AwareDatetime | None = None
    """The end of the last audit. None: this is the first one, and the settings say how far it goes back."""
    known: tuple[RecordId, ...] = ()
    """Records for which the last audit reported a finding, or that were under way."""


class AuditFinding(Frozen):
    """What the newest scheduled audit of an org has found of one kind."""

    org: OrgId
    kind: str
    """A `closedwon.audit.kinds.FindingKind`, as a text: workers of another version may know others."""
    number: int
    """The number of records (or customers). 0: there is nothing left of this kind."""
    examples: tuple[RecordId, ...] = ()
    title: str = ""
    hint: str = ""

    @property
    def text(self) -> str:
        """One sentence without any customer's data."""
        return f"The audit found {self.number} of the kind {self.kind}: {self.title}"


class Compared(Frozen):
    """What an audit has found, and what the next one must know."""

    mark: AwareDatetime | None = None
    """The next audit begins here. It does not advance while there are more records than `known` can hold."""
    known: tuple[RecordId, ...] = ()
    findings: tuple[AuditFinding, ...] = ()
    records: int = 0
    """The number of records that were compared."""
    under_way: int = 0


class OpenFinding(AlertState):
    """The input of the workflow of one kind of finding."""

    finding: AuditFinding
