"""The requests of an order workflow about its Salesforce record: read it, write to it."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Frozen
from closedwon.model.erp import ErpOrder
from closedwon.model.messages import Message
from closedwon.model.snapshot import Values


class RecordRequest(Frozen):
    """Which record a request is about."""

    org: OrgId
    record: RecordId
    route: str
    session: str | None = None
    """The Salesforce session id of the newest message, sealed."""


class ReadRecord(RecordRequest):
    """Which record to read; `message` has the payload where the route takes the order from the message."""

    message: Message | None = None
    stamped_at: AwareDatetime | None = None
    """The newest SystemModstamp that a notification has named."""


class WriteBack(RecordRequest):
    """What to write to the record. A field whose value in `written` is the same already is not written."""

    order: ErpOrder | None = None
    status: str | None = None
    """Written instead of the ERP's status, for example while the order needs attention."""
    error: str | None = None
    since: AwareDatetime | None = None
    """When that happened which the first notification reports; for the metric of the whole way."""
    written: Values = Field(default_factory=dict)
    is_wanted: bool = False
    """The record asks for this order, so that it may get the stage of an ordered deal."""
