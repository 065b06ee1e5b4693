"""What the scheduled audits have found."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
)

from closedwon import names
from closedwon.ids import OrgId
from closedwon.model.audits import AuditFinding
from closedwon.model.routes import Channel
from closedwon.temporal import visibility
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS


def audit_attributes(org: OrgId) -> TypedSearchAttributes:
    """The search attributes of a scheduled audit, and of what it finds."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_ORG_ID], org),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.CHANNEL], Channel.OPERATOR),
        ]
    )


async def audit_findings(client: Client) -> list[AuditFinding]:
    """List what the scheduled audits find now, by org and kind. Raises Temporal's `RPCError`."""
    found = []
    query = visibility.all_of(visibility.of_type(names.AUDIT_FINDING_WORKFLOW), visibility.RUNNING)
    async for one in client.list_workflows(query):
        finding = await one.memo_value(names.MEMO_FINDING, None, type_hint=AuditFinding)
        if finding is not None and finding.number:
            found.append(finding)
    return sorted(found, key=lambda one: (one.org, one.kind))
