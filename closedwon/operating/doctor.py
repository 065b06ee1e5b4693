"""What is wrong right now, in order of harm, each with its cure. Looks only; it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, NamedTuple

import aiohttp
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names, temporal, visibility
from closedwon.codec import CodecError
from closedwon.errors import AttentionReason, ClosedwonError
from closedwon.operating import checks, overview
from closedwon.settings import Org, Settings, warnings
from closedwon.settings.values import is_loopback
from workers.connections import Connections
from workflows.order_table import KEPT_BY_RETRY

_WORKFLOWS: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_RETENTION: Final = timedelta(hours=72)
"""The event bus delivers again for so long; closed workflows that are still known make a late duplicate cheap."""
_SILENT: Final = 3
"""Heartbeat timeouts without a sign of life."""
_API_SHARE: Final = 0.8
"""Of the org's calls in 24 hours."""
_ONE_BY_ONE: Final = (*KEPT_BY_RETRY, AttentionReason.UNKNOWN_ORDER)
"""Where a person must decide about each order: one command for all of them would be the wrong one for some."""
_ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - where it listens, not where we do
_PATIENCE: Final = 5.0
"""Seconds for a connection."""
_SKEW: Final = timedelta(seconds=30)
"""JWT logins and signed callouts stop working at some minutes."""


class Harm(StrEnum):
    """How bad it is, the worst first."""

    STOPPED = "stopped"
    """Nothing goes on."""
    LOSS = "loss"
    """What Salesforce says may be lost, sooner or later."""
    WAITING = "waiting"
    """Orders wait that would not have to."""
    RISK = "risk"
    """Nothing yet, but it will cost something."""


class Trouble(NamedTuple):
    """One thing that is wrong."""

    harm: Harm
    subject: str
    text: str
    cure: str


async def examine(settings: Settings, *, old: timedelta = timedelta(hours=1)) -> list[Trouble]:
    """Find all that is wrong; the worst first. An order that is under way for longer than `old` waits for something."""
    of_temporal, of_the_rest = await asyncio.gather(_of_temporal(settings, old), _of_the_rest(settings))
    order = list(Harm)
    stopped = {trouble.subject for trouble in of_temporal if trouble.harm is Harm.STOPPED}  # a worker found the same
    rest = [trouble for trouble in of_the_rest if trouble.harm is not Harm.WAITING or trouble.subject not in stopped]
    return sorted([*of_temporal, *rest], key=lambda trouble: order.index(trouble.harm))


async def _of_temporal(settings: Settings, old: timedelta) -> list[Trouble]:
    try:
        client = await temporal.connect(settings.encryption, patience=timedelta())
        missing = await temporal.missing_search_attributes(client)
    except (ClosedwonError, RPCError) as error:
        cure = "Start it, or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE to where it is."
        return [Trouble(Harm.STOPPED, "temporal", str(error), cure)]
    if missing:
        text = f"the namespace {client.namespace} lacks the search attributes {', '.join(missing)}"
        return [Trouble(Harm.STOPPED, "temporal", text, "Start a worker: it registers them, or says who must.")]
    try:
        seen = await overview.look(client, settings)
    except CodecError as error:
        cure = "Where the workers have the key, only this command lacks it; otherwise orders wait for it."
        return [
            *[trouble async for trouble in _pollers(client, settings)],
            Trouble(Harm.STOPPED, "encryption", str(error), cure),
        ]
    return [
        *_held(seen),
        *[trouble async for trouble in _pollers(client, settings)],
        *[trouble async for trouble in _no_current_build(client, settings)],
        *(trouble for channel in seen.channels for trouble in _channel(channel, settings)),
        *[trouble async for trouble in _intake(client, settings)],
        *_gaps(seen),
        *_paused(seen),
        *_findings(seen),
        *_attention(seen),
        *[trouble async for trouble in _old(client, old)],
        *[trouble async for trouble in _wedged(client)],
        *[trouble async for trouble in _untold(client, old)],
        *[trouble async for trouble in _schedules(client, settings)],
        *[trouble async for trouble in _retention(client)],
    ]


def _held(seen: overview.Overview) -> Iterator[Trouble]:
    """Safety checks that fail in running workers: all orders of an org or an ERP wait."""
    for held in seen.held:
        text = f"{held.failed.text}. Its orders have waited since {_clock(held.since)}; nothing is lost"
        cure = f"{held.failed.hint} Workers check again every 15 minutes and when they start; orders then go on."
        yield Trouble(Harm.STOPPED, held.failed.subject, text, cure)


async def _pollers(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Queues that nobody works on. `worker` serves the orders and the ERPs, `subscriber` the event bus."""
    wanted = {names.ORDERS_QUEUE: _WORKFLOWS}
    wanted |= {names.erp_queue(erp): _ACTIVITIES for erp in (*(erp.name for erp in settings.erps), None)}
    if any(route.events for route in settings.routes):
        wanted[names.SUBSCRIBER_QUEUE] = _WORKFLOWS
    for queue, kind in wanted.items():
        if not await _is_polled(client, queue, kind):
            command = "subscriber" if queue == names.SUBSCRIBER_QUEUE else "worker"
            cure = f"Start `closedwon {command}`; one that runs has other settings, or another Temporal."
            yield Trouble(Harm.STOPPED, f"queue {queue}", "no worker asks for its work", cure)


async def _is_polled(client: Client, queue: str, kind: TaskQueueType.ValueType) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    return bool((await client.workflow_service.describe_task_queue(request)).pollers)


async def _no_current_build(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Versioned workers get no work until a build is made current."""
    build = settings.workers.build_id
    if build is None:
        return
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=names.DEPLOYMENT)
    try:
        answer = await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return  # no versioned worker has ever asked for work: that is told already
    if not answer.worker_deployment_info.routing_config.current_deployment_version.build_id:
        cure = (
            f"temporal worker deployment set-current-version --deployment-name {names.DEPLOYMENT} "
            f"--build-id {build} --yes"
        )
        yield Trouble(Harm.STOPPED, "worker versions", "no build is current, so versioned workers get no work", cure)


def _channel(channel: overview.Channel, settings: Settings) -> Iterator[Trouble]:
    subject = f"events of {channel.org.name}"
    silent_since = datetime.now(UTC) - _SILENT * settings.subscriber.heartbeat_timeout
    kept = "Salesforce keeps events for 72 hours."
    read = channel.cursor.event_time if channel.cursor else None
    if read is not None:
        kept = f"Salesforce keeps events for 72 hours; the last one that was read is of {_clock(read)}."
    if not channel.is_started:
        text = f"nobody reads {channel.name}" + (f": {channel.problem}" if channel.problem else "")
        yield Trouble(Harm.LOSS, subject, text, f"Start `closedwon subscriber`. {kept}")
    elif not channel.is_reading:
        workflow_id = names.subscription_workflow_id(channel.org.id, channel.name)
        cure = f"Its details in Temporal's UI say why ({workflow_id}); it tries again every 5 minutes. {kept}"
        yield Trouble(Harm.LOSS, subject, f"Salesforce refuses {channel.name}", cure)
    elif channel.beat is None and channel.attempt > _SILENT:
        text = f"reading {channel.name} has failed {channel.attempt - 1} times: {channel.problem}"
        yield Trouble(Harm.LOSS, subject, text, f"See that the org answers and that our user may log in. {kept}")
    elif channel.beat is not None and channel.beat < silent_since:
        why = f": {channel.problem}" if channel.problem else ""
        text = f"the reader of {channel.name} has given no sign of life since {_clock(channel.beat)}{why}"
        cure = f"Start `closedwon subscriber`; where one runs, see that the org answers. {kept}"
        yield Trouble(Harm.LOSS, subject, text, cure)


async def _intake(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Nobody listens where Salesforce's messages come in, as far as that can be seen from here.

    An address of loopback says nothing about another machine: it counts where Temporal is on this one, too.
    """
    intake, temporals = settings.intake, client.service_client.config.target_host.rpartition(":")[0]
    if intake is None or not intake.port or not any(route.outbound or route.callouts for route in settings.routes):
        return
    host = "127.0.0.1" if intake.host in _ANY_HOST else intake.host
    if is_loopback(host) and not is_loopback(temporals):
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, intake.port)
    except (OSError, TimeoutError):
        kept = "Salesforce sends outbound messages again for 24 hours; callouts fail."
        text = f"nobody takes what Salesforce sends to port {intake.port} of {intake.host}"
        yield Trouble(Harm.LOSS, "intake", text, f"Start `closedwon intake`; its log says why it does not stay. {kept}")
    else:
        writer.close()


def _gaps(seen: overview.Overview) -> Iterator[Trouble]:
    for one in seen.gaps:
        since = _clock(one.gap.since) if one.gap.since else "an unknown time"
        text = f"a gap from {since} to {_clock(one.gap.until)}, {one.gap.reason}: {one.stands}"
        if one.stands == "sweeping":
            yield Trouble(Harm.RISK, f"route {one.key.route}", text, "Nothing: its sweep is under way.")
        else:
            cure = f"Deals of that time may have no order; the details of {one.workflow_id} say what to mend."
            yield Trouble(Harm.LOSS, f"route {one.key.route}", text, cure)


def _paused(seen: overview.Overview) -> Iterator[Trouble]:
    for queue in seen.queues:
        if queue.erp is not None and queue.limit is not None:
            why = f" ({queue.reason}; {queue.by})"
            since = _clock(queue.since) if queue.since else "an unknown time"
            text = f"{queue.stands} since {since}{why}; {queue.backlog} wait"
            harm = Harm.WAITING if queue.is_paused else Harm.RISK
            yield Trouble(harm, f"erp {queue.erp}", text, f"When it may go on: closedwon erp resume {queue.erp}")


def _findings(seen: overview.Overview) -> Iterator[Trouble]:
    """What the newest scheduled audit has found."""
    for one in seen.findings:
        text = f"{one.number} {one.kind}: {one.title}; e.g. {one.examples[0]}" if one.examples else one.text
        yield Trouble(Harm.WAITING, "audit", text, f"{one.hint} Which they are: closedwon audit")


def _attention(seen: overview.Overview) -> Iterator[Trouble]:
    for word, number in seen.reasons.most_common():
        try:
            reason = AttentionReason(word)
        except ValueError:  # of a later version
            reason = AttentionReason.UNFORESEEN
        text = f"{number} need attention. {reason.sentence}"
        then = "Which they are: closedwon orders list" if reason in _ONE_BY_ONE else "Then: closedwon orders retry"
        yield Trouble(Harm.WAITING, word, text, f"{reason.cure} {then} --reason {word}")


async def _old(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Orders that wait for the ERP or Salesforce for long; one of them says for what."""
    stages = ", ".join(f"'{stage}'" for stage in names.UNFINISHED if stage is not names.OrderStage.ATTENTION)
    before = (datetime.now(UTC) - old).isoformat()
    query = f"ExecutionStatus = 'Running' AND {names.ORDER_STAGE} IN ({stages}) AND StartTime < '{before}'"
    found = await visibility.census(client, query)
    if not found.number:
        return
    text = f"{found.number} under way for more than {_hours(old)}, the oldest for {_hours(found.oldest)}"
    async for one in client.list_workflows(query, limit=1):
        pending = (await client.get_workflow_handle(one.id).describe()).raw_description.pending_activities
        for step in pending:
            text += f"; e.g. {one.id}, {step.activity_id}, attempt {step.attempt}"
            if step.HasField("last_failure"):
                text += f": {await overview.failure_text(client, step)}"
            queue = step.activity_options.task_queue.name
            if queue and not await _is_polled(client, queue, _ACTIVITIES):
                text += f"; no worker asks for the work of queue {queue}"
    yield Trouble(Harm.WAITING, "old orders", text, "When the other side is back: closedwon orders retry --all")


async def _wedged(client: Client) -> AsyncIterator[Trouble]:
    query = "ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL"
    number = (await client.count_workflows(query)).count
    if number:
        text = f"{number} cannot go on: their code fails, does not fit their history, or lacks a key"
        cure = f'The workers\' log says why; they go on by themselves then. temporal workflow list -q "{query}"'
        yield Trouble(Harm.WAITING, "wedged workflows", text, cure)


async def _untold(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Alerts that the webhook does not take: whoever relies on them is not told."""
    is_ours, before = f"WorkflowType = '{names.ALERT_WORKFLOW}'", (datetime.now(UTC) - old).isoformat()
    waiting = f"{is_ours} AND ExecutionStatus = 'Running' AND StartTime < '{before}'"
    number = (await client.count_workflows(waiting)).count
    given_up = (await client.count_workflows(f"{is_ours} AND ExecutionStatus = 'Failed'")).count
    if number or given_up:
        text = f"{number} not taken by the webhook for more than {_hours(old)}, {given_up} given up"
        cure = f'Mend `alerts` in the settings, or the webhook; see why: temporal workflow list -q "{is_ours}"'
        yield Trouble(Harm.RISK, "alerts", text, cure)


async def _schedules(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Sweeps that do not take place: what is lost on its way from Salesforce is not found by itself."""
    for route in settings.routes:
        if route.sweep is None:
            text = "it is not swept: what is lost on its way from Salesforce is found by an audit only"
            cure = "Add [routes.sweep] to the route in closedwon.toml and restart the workers."
            yield Trouble(Harm.RISK, f"route {route.name}", text, cure)
            continue
        schedule_id = names.sweep_schedule_id(settings.org(route.org).id, route.name)
        async for trouble in _schedule(client, schedule_id, f"route {route.name}", "its sweeps are"):
            yield trouble
    for org in settings.orgs if settings.audit.enabled else ():
        async for trouble in _schedule(client, names.audit_schedule_id(org.id), f"org {org.name}", "its audits are"):
            yield trouble


async def _schedule(client: Client, schedule_id: str, subject: str, what: str) -> AsyncIterator[Trouble]:
    try:
        found = await client.get_schedule_handle(schedule_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        yield Trouble(Harm.RISK, subject, f"{what} not scheduled", "Start a worker: it makes the schedule.")
        return
    state = found.schedule.state
    if state.paused:
        text = f"{what} paused" + (f": {state.note}" if state.note else "")
        cure = f"temporal schedule toggle --schedule-id {schedule_id} --unpause --reason …"
        yield Trouble(Harm.RISK, subject, text, cure)


async def _retention(client: Client) -> AsyncIterator[Trouble]:
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    kept = answer.config.workflow_execution_retention_ttl.ToTimedelta()
    if kept < _RETENTION:
        text = f"closed workflows are kept for {_hours(kept)}, but Salesforce may tell again for 72 h"
        cure = f"temporal operator namespace update -n {client.namespace} --retention 168h"
        yield Trouble(Harm.RISK, "retention", text, cure)


async def _of_the_rest(settings: Settings) -> list[Trouble]:
    """What `config check` asks, each org's share of API calls, and the clock."""
    async with Connections(settings) as connections:
        asked = [finding async for finding in checks.remote(settings, connections)]
        wrong = [finding for finding in asked if finding.wrong]
        found = [Trouble(Harm.WAITING, finding.subject, finding.text, finding.cure) for finding in wrong]
        found += [Trouble(Harm.RISK, one.subject, one.text, one.cure) for one in asked if one.warns]
        for org in settings.orgs:
            usage = connections.salesforce[org.id].usage
            if usage is not None and usage.used > _API_SHARE * usage.max:
                text = f"{usage.used} of {usage.max} API calls of 24 hours are used"
                cure = "See in Setup, Company Information, who calls; at the limit orders wait, but are not lost."
                found.append(Trouble(Harm.RISK, f"org {org.name}", text, cure))
            found += [trouble async for trouble in _skew(org)]
    return [*found, *(Trouble(Harm.RISK, "intake", warning, "") for warning in warnings(settings))]


async def _skew(org: Org) -> AsyncIterator[Trouble]:
    """Compare this machine's clock with that of the org's servers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.head(f"{org.url}/services/data") as response,
        ):
            theirs = parsedate_to_datetime(response.headers["Date"])
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        return  # that it does not answer is told already
    off = datetime.now(UTC) - theirs
    if abs(off) > _SKEW:
        side = "ahead of" if off > timedelta() else "behind"
        text = f"this machine's clock is {abs(off).total_seconds():.0f} s {side} Salesforce's"
        yield Trouble(Harm.RISK, "clock", text, "Set it by NTP: JWT logins and signed callouts depend on it.")


def _clock(at: datetime) -> str:
    return f"{at:%m-%d %H:%M} UTC"


def _hours(age: timedelta) -> str:
    hours = age / timedelta(hours=1)
    return f"{hours:.0f} h" if hours >= 1 else f"{age / timedelta(minutes=1):.0f} min"
