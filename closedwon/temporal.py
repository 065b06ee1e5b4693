"""Connecting to Temporal: the client, our search attributes, and the one way to start an order workflow.

Address, namespace, TLS and API key come from Temporal's own environment variables and file (`TEMPORAL_ADDRESS`,
`TEMPORAL_NAMESPACE`, `TEMPORAL_CONFIG_FILE`, …), so its command line and Closedwon always agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, TypeVar

from pydantic import AwareDatetime
from pydantic_core import PydanticSerializationError
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client, Plugin, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from closedwon import codec, names, traces
from closedwon.errors import AttentionError, AttentionReason, ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.model import Channel, Frozen, Gap, Message, Reconciliation, UnreadableMessage
from closedwon.order_state import OrderStart
from closedwon.settings.encryption import Encryption

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)

_CLOSES_A_GAP = frozenset({WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED})
"""How its sweep ends: it has covered the gap, or somebody has decided that it need not."""
_WHERE = (
    "Where it is comes from TEMPORAL_ADDRESS or from Temporal's own configuration file (TEMPORAL_CONFIG_FILE, "
    "TEMPORAL_PROFILE)."
)
_DEFAULT_ADDRESS = "localhost:7233"
_PATIENCE = timedelta(seconds=60)
_FIRST_PAUSE = 0.2
_PASSING = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.UNKNOWN,  # what a connection makes of it that breaks under a call
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.ABORTED,
    }
)
"""Answers of a server that dies, or is not up yet."""
_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
KEYS = {name: SearchAttributeKey.for_keyword(name) for name in names.SEARCH_ATTRIBUTES}
"""Typed keys of our search attributes, by name."""
BELOW_LIVE_TRAFFIC = Priority(priority_key=5)
"""Of sweeps and of the orders that they start; word that arrives by itself has the default, 3."""


class TemporalUnavailableError(ClosedwonError):
    """Temporal cannot be reached."""


class _AwayError(Exception):
    """No connection."""


class SearchAttributesMissingError(ClosedwonError):
    """The namespace lacks our search attributes and we may not add them, or it has others of these names."""


class UnstorableError(AttentionError):
    """A message that Temporal cannot hold: no other attempt would fare better."""

    def __init__(self) -> None:
        """Name the one known cause."""
        super().__init__(
            "its payload cannot be stored; a text in it may hold half a surrogate pair, as of an emoji that was cut",
            reason=AttentionReason.BAD_MESSAGE,
            cure="Mend the text in Salesforce and let the event be published again; then send `cancel`.",
        )


async def connect(
    encryption: Encryption,
    *,
    runtime: Runtime | None = None,
    identity: str | None = None,
    plugins: Sequence[Plugin] = (),
    patience: timedelta = _PATIENCE,
) -> Client:
    """Connect, trying for as long as `patience`.

    Raises `TemporalUnavailableError` with the cure, or `closedwon.codec.KmsError`.
    """
    converter = codec.data_converter(encryption)
    config = _config()
    address = config.setdefault("target_host", _DEFAULT_ADDRESS)

    async def attempt() -> Client:
        try:
            return await Client.connect(
                **config, data_converter=converter, runtime=runtime, identity=identity, plugins=plugins
            )
        except ValueError as error:
            raise TemporalUnavailableError(f"{address!r} is no address: {error}. {_WHERE}") from error
        except RuntimeError as error:  # what the SDK raises when the first connection fails
            raise _AwayError from error

    return await _patiently(attempt, address, patience)


async def patiently(client: Client, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step that is safe to repeat; again for a minute, where Temporal goes away while it is done.

    Raises `TemporalUnavailableError` with the cure, or what the step raises.
    """
    await _patiently(step, client.service_client.config.target_host, _PATIENCE)


async def _patiently(step: Callable[[], Awaitable[_Result]], address: str, patience: timedelta) -> _Result:
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await step()
        except (_AwayError, RPCError) as error:
            if isinstance(error, RPCError) and error.status not in _PASSING:
                raise
            if asyncio.get_running_loop().time() + pause > deadline:
                said = f" ({error.status.name}: {error.message})" if isinstance(error, RPCError) else ""
                raise TemporalUnavailableError(
                    f"Temporal at {address} cannot be reached{said}. Is it running? {_WHERE}"
                ) from error
            if pause == _FIRST_PAUSE:
                _log.warning("Temporal at %s cannot be reached yet; trying for %s s", address, patience.seconds)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


def _config() -> ClientConnectConfig:
    try:
        return ClientConfig.load_client_connect_config()
    except OSError as error:
        what = f"{error.filename} cannot be read ({error.strerror})"
    except RuntimeError as error:
        what = str(error).splitlines()[0]  # the others quote the file, which may hold an API key
    raise TemporalUnavailableError(f"Temporal's own settings are wrong: {what}. {_WHERE}")


async def missing_search_attributes(client: Client) -> tuple[str, ...]:
    """Name those of our search attributes that the namespace does not have as keywords."""
    known = await _search_attributes(client)
    return tuple(name for name in names.SEARCH_ATTRIBUTES if known.get(name) != _KEYWORD)


async def _search_attributes(client: Client) -> Mapping[str, int]:
    listing = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return listing.custom_attributes


async def ensure_search_attributes(client: Client) -> None:
    """Register what is missing, or stop with the command to do so.

    A worker must not start without them: an unknown search attribute wedges every workflow in Running.
    Raises `SearchAttributesMissingError`.
    """
    missing = await missing_search_attributes(client)
    if not missing:
        return
    foreign = (await _search_attributes(client)).keys() & missing
    if foreign:
        raise SearchAttributesMissingError(
            f"The namespace {client.namespace!r} has search attributes of another type than Keyword under our names: "
            f"{', '.join(sorted(foreign))}. Give Closedwon a namespace of its own (TEMPORAL_NAMESPACE)."
        )
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, _KEYWORD))
        )
    except RPCError as error:
        if error.status in _PASSING:
            raise
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            command = f"temporal operator search-attribute create --namespace {client.namespace} " + " ".join(
                f"--name {name} --type Keyword" for name in missing
            )
            raise SearchAttributesMissingError(
                f"The namespace {client.namespace!r} lacks search attributes, and adding them was refused "
                f"({error.status.name}: {error.message}). Let an administrator run: {command}"
            ) from error
    while still := await missing_search_attributes(client):
        _log.info("waiting for Temporal to know the search attributes %s", ", ".join(still))
        await asyncio.sleep(0.1)


async def start_order(
    client: Client,
    start: OrderStart,
    message: Message,
    *,
    summary: str | None = None,
    priority: Priority = Priority.default,
) -> None:
    """Start the record's workflow or signal the running one; when this returns, the message is durable.

    Safe to repeat. `summary` (deal name, amount) is shown on the workflow's page in the UI and, being its memo, by
    `closedwon orders list`; it and `priority` belong to the first start.

    Raises `UnstorableError`, or Temporal's `RPCError`.
    """
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(KEYS[names.SALESFORCE_RECORD_ID], start.record),
            SearchAttributePair(KEYS[names.SALESFORCE_ORG_ID], start.org),
            SearchAttributePair(KEYS[names.ROUTE], start.route),
            SearchAttributePair(KEYS[names.CHANNEL], message.channel),
            SearchAttributePair(KEYS[names.ORDER_STAGE], names.OrderStage.LOADING),
        ]
    )
    try:
        with traces.accepting(start, message):
            await client.start_workflow(
                names.ORDER_WORKFLOW,
                start,
                id=names.order_workflow_id(start.org, start.record),
                task_queue=names.ORDERS_QUEUE,
                start_signal=names.SIGNAL_NOTIFIED,
                start_signal_args=[message],
                static_summary=summary,
                memo={names.DEAL: summary} if summary else None,
                search_attributes=attributes,
                priority=priority,
            )
    except PydanticSerializationError:
        raise UnstorableError from None


class EndedOrder(Frozen):
    """The order that a workflow has ended with; the rest of it does not matter later on."""

    id: str
    modified_at: AwareDatetime | None = None
    """The newest `Order.modified_at` that the ERP kept with it by then."""


class Ended(Frozen):
    """What is read of the result of an order's workflow that has ended."""

    order: EndedOrder | None = None
    spared: bool = False
    """A person keeps the order although the record no longer qualifies."""
    declined: bool = False
    """A person has decided that there is no order."""


async def ended(client: Client, org: OrgId, record: RecordId) -> Ended | None:
    """How the record's newest workflow has ended; None while it runs, or where it is not known (any more).

    Known for as long as Temporal keeps closed workflows. Raises Temporal's `RPCError`.
    """
    described = await _describe(client, org, record)
    if described is None:
        return None
    if described.status is WorkflowExecutionStatus.CANCELED:  # from Temporal's UI, which counts as `cancel`
        stage = described.typed_search_attributes.get(KEYS[names.ORDER_STAGE])
        return Ended(declined=stage == names.OrderStage.CANCELLED)
    if described.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    handle = client.get_workflow_handle(described.id, run_id=described.run_id, result_type=Ended)
    result: Ended = await handle.result()
    return result


async def is_declined(client: Client, org: OrgId, record: RecordId) -> bool:
    """Whether the record's workflow has ended with a person's decision that there is no order; see `ended`."""
    how = await ended(client, org, record)
    return how is not None and how.declined


async def is_spared(client: Client, org: OrgId, record: RecordId) -> bool:
    """Whether the order's workflow has ended with a person's word that the order shall live, though its deal does not.

    Known for as long as Temporal keeps closed workflows. Raises Temporal's `RPCError`.
    """
    how = await ended(client, org, record)
    return how is not None and how.spared


async def route_of(client: Client, org: OrgId, record: RecordId) -> str | None:
    """By which route the record's newest workflow was started; None where there is none, or none any more."""
    described = await _describe(client, org, record)
    return described.typed_search_attributes.get(KEYS[names.ROUTE]) if described else None


async def _describe(client: Client, org: OrgId, record: RecordId) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(names.order_workflow_id(org, record)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


async def start_sweep(client: Client, start: Reconciliation, workflow_id: str) -> None:
    """Start a sweep; one of this id that runs already is left alone."""
    await client.start_workflow(
        names.RECONCILIATION_WORKFLOW,
        start,
        id=workflow_id,
        task_queue=names.ORDERS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=f"sweep of {start.route}, asked for by hand" + (", dry run" if start.dry_run else ""),
        search_attributes=sweep_attributes(start.org, start.route),
        priority=BELOW_LIVE_TRAFFIC,
    )


def sweep_attributes(org: OrgId, route: str) -> TypedSearchAttributes:
    """The search attributes of a sweep."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(KEYS[names.SALESFORCE_ORG_ID], org),
            SearchAttributePair(KEYS[names.ROUTE], route),
            SearchAttributePair(KEYS[names.CHANNEL], Channel.SWEEP),
        ]
    )


def audit_attributes(org: OrgId) -> TypedSearchAttributes:
    """The search attributes of a scheduled audit, and of what it finds."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(KEYS[names.SALESFORCE_ORG_ID], org),
            SearchAttributePair(KEYS[names.CHANNEL], Channel.OPERATOR),
        ]
    )


class AuditFinding(Frozen):
    """What the newest scheduled audit of an org has found of one kind."""

    org: OrgId
    kind: str
    """A `closedwon.audit.kinds.Kind`, as a text: workers of another version may know others."""
    number: int
    """Of records (or customers); 0: it is over."""
    examples: tuple[RecordId, ...] = ()
    title: str = ""
    hint: str = ""

    @property
    def text(self) -> str:
        """In one sentence that holds no customer's data."""
        return f"The audit found {self.number} of the kind {self.kind}: {self.title}"


async def audit_findings(client: Client) -> list[AuditFinding]:
    """List what the scheduled audits find now, by org and kind. Raises Temporal's `RPCError`."""
    found = []
    query = f"WorkflowType = '{names.AUDIT_FINDING_WORKFLOW}' AND ExecutionStatus = 'Running'"
    async for one in client.list_workflows(query):
        finding = await one.memo_value(names.MEMO_FINDING, None, type_hint=AuditFinding)
        if finding is not None and finding.number:
            found.append(finding)
    return sorted(found, key=lambda one: (one.org, one.kind))


class OpenGap(NamedTuple):
    """A gap whose sweep has not come to its end."""

    workflow_id: str
    key: names.RouteKey
    gap: Gap
    stands: str
    """`sweeping`, an `AttentionReason`, or how its sweep was ended by force (`terminated`, …)."""


async def open_gaps(client: Client) -> AsyncIterator[OpenGap]:
    """List the open gaps, the newest first. A gap whose sweep was ended by force is open: nothing has covered it."""
    seen = set()
    async for one in client.list_workflows(f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}'"):
        if one.id in seen or one.status in _CLOSES_A_GAP:
            seen.add(one.id)
            continue
        seen.add(one.id)
        noted = await one.memo_value(names.MEMO_GAP, None, type_hint=Gap)
        gap = noted or Gap(since=None, until=one.start_time, reason="unknown")  # started again, by hand
        status = one.status.name.lower() if one.status else ""
        reason = one.typed_search_attributes.get(KEYS[names.ATTENTION_REASON])
        stands = (reason or "sweeping") if one.status is WorkflowExecutionStatus.RUNNING else status
        yield OpenGap(one.id, names.parse_gap_workflow_id(one.id), gap, stands)


async def keep_unreadable(client: Client, message: UnreadableMessage) -> None:
    """Start the workflow that holds a message nobody could read; when this returns, it is durable.

    Safe to repeat, also after somebody has decided on it: a message that is delivered again is not opened again.
    """
    with suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            names.UNREADABLE_MESSAGE_WORKFLOW,
            message,
            id=names.unreadable_message_workflow_id(message.org, message.id),
            task_queue=names.ORDERS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"unreadable message from {message.source}",
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(KEYS[names.SALESFORCE_ORG_ID], message.org),
                    SearchAttributePair(KEYS[names.CHANNEL], message.channel),
                    SearchAttributePair(KEYS[names.ORDER_STAGE], names.OrderStage.ATTENTION),
                    SearchAttributePair(KEYS[names.ATTENTION_REASON], AttentionReason.BAD_MESSAGE),
                ]
            ),
        )
