"""Checks the health of an installation: problems in order of harm, each with a hint. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkerDeploymentRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.encryption.codec import CodecError, KeyMissingError, KeyUnfitError
from closedwon.errors import ClosedwonError
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.operations import checks, overview
from closedwon.operations.causes import needing_attention
from closedwon.operations.troubles import Harm, Trouble, clock, hours
from closedwon.operations.undecryptable import undecryptable
from closedwon.operations.waiting import orders_at_the_erp, paused_erps, without_idle_reports
from closedwon.salesforce.api.quota import measures
from closedwon.settings import Org, Settings, warnings
from closedwon.settings.values import is_loopback
from closedwon.temporal import census, visibility
from closedwon.temporal.channels import failure_text
from closedwon.temporal.client import NO_NAMESPACE, connect, is_namespace_missing
from closedwon.temporal.key_checks import key_checks
from closedwon.temporal.queues import ACTIVITIES, WORKFLOWS, queue_state
from closedwon.temporal.search_attributes import missing_search_attributes
from workers.connections import Connections

_RETENTION: Final = timedelta(hours=72)
"""The event bus redelivers for so long; a closed workflow that is still known makes a late duplicate cheap."""
_SILENT: Final = 3
"""Number of heartbeat timeouts after which a reader counts as silent."""
_ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - where it listens, not where we do
_BY_ITSELF: Final = "A running process registers {} within a minute"
"""The hint for what Temporal has lost (`workers.registration`)."""
_PATIENCE: Final = 5.0
"""Seconds for a connection."""
_SAMPLE: Final = 20
"""Wedged workflows whose histories are read."""
_RECOVER: Final = (
    'They do not continue by themselves: see "When something was written with a wrong key" in '
    "docs/operate/encryption.md. List them: closedwon codec undecryptable"
)
_SKEW: Final = timedelta(seconds=30)
"""JWT logins and signed callouts stop working at some minutes."""


async def examine(settings: Settings, *, old: timedelta = timedelta(hours=1)) -> list[Trouble]:
    """Find all problems, the worst first. An order that is open for longer than `old` is reported as waiting."""
    of_temporal, of_the_rest = await asyncio.gather(_of_temporal(settings, old), _of_the_rest(settings))
    order = list(Harm)
    stopped = {trouble.subject for trouble in of_temporal if trouble.harm is Harm.STOPPED}  # a worker found the same
    rest = [trouble for trouble in of_the_rest if trouble.harm is not Harm.WAITING or trouble.subject not in stopped]
    return sorted(without_idle_reports([*of_temporal, *rest]), key=lambda trouble: order.index(trouble.harm))


async def _of_temporal(settings: Settings, old: timedelta) -> list[Trouble]:
    try:
        client = await connect(settings.encryption, patience=timedelta())
        missing = await missing_search_attributes(client)
    except (ClosedwonError, RPCError) as error:
        hint = "Start it, or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE to where it is."
        if isinstance(error, RPCError) and is_namespace_missing(error):
            hint = f"{NO_NAMESPACE} Processes that run continue by themselves when it exists."
        return [Trouble(Harm.STOPPED, "temporal", str(error), hint)]
    if missing:
        text = f"the namespace {client.namespace} lacks the search attributes {', '.join(missing)}"
        hint = f"{_BY_ITSELF.format('them')}, or its log says who must. If none runs, start `closedwon worker`."
        return [Trouble(Harm.STOPPED, "temporal", text, hint)]
    wrong = [checks.of_key(one) for one in await key_checks(client) if one.differs]
    if wrong:
        return [
            *(Trouble(Harm.STOPPED, one.subject, one.text, one.hint) for one in wrong),
            *[trouble async for trouble in _pollers(client, settings)],
        ]
    try:
        seen = await overview.look(client, settings)
    except CodecError as error:
        hint = "If the workers have the key, only this command lacks it; otherwise orders wait for it."
        return [
            *[trouble async for trouble in _pollers(client, settings)],
            Trouble(Harm.STOPPED, "encryption", str(error), _RECOVER if isinstance(error, KeyUnfitError) else hint),
        ]
    return [
        *_held(seen),
        *[trouble async for trouble in _pollers(client, settings)],
        *[trouble async for trouble in _no_current_build(client, settings)],
        *(trouble for channel in seen.channels for trouble in _channel(channel, settings)),
        *[trouble async for trouble in _intake(client, settings)],
        *_gaps(seen),
        *paused_erps(seen),
        *orders_at_the_erp(seen),
        *_findings(seen),
        *await needing_attention(client, seen),
        *[trouble async for trouble in _old(client, old)],
        *[trouble async for trouble in _wedged(client)],
        *[trouble async for trouble in _undelivered_alerts(client, old)],
        *[trouble async for trouble in _schedules(client, settings)],
        *[trouble async for trouble in _retention(client)],
    ]


def _held(seen: overview.Overview) -> Iterator[Trouble]:
    """Safety checks that fail in running workers: all orders of an org or an ERP wait."""
    for held in seen.held:
        text = f"{held.failed.text}. Its orders have been waiting since {clock(held.since)}; nothing is lost"
        hint = f"{held.failed.hint} Workers check again every 15 minutes and at start; the orders then continue."
        yield Trouble(Harm.STOPPED, held.failed.subject, text, hint)


async def _pollers(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Queues without pollers. `worker` serves the orders and the ERPs, `subscriber` the event bus."""
    wanted = {names.ORDERS_QUEUE: WORKFLOWS}
    wanted |= {names.erp_queue(erp): ACTIVITIES for erp in (*(erp.name for erp in settings.erps), None)}
    if any(route.events for route in settings.routes):
        wanted[names.SUBSCRIBER_QUEUE] = WORKFLOWS
    for queue, kind in wanted.items():
        if not (await queue_state(client, queue, kind)).pollers:
            command = "subscriber" if queue == names.SUBSCRIBER_QUEUE else "worker"
            hint = f"Start `closedwon {command}`. If one is running, compare its settings and its TEMPORAL_ADDRESS."
            yield Trouble(Harm.STOPPED, f"queue {queue}", "no pollers", hint)


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
        return  # no versioned worker has ever polled, which is reported already
    if not answer.worker_deployment_info.routing_config.current_deployment_version.build_id:
        hint = (
            f"temporal worker deployment set-current-version --deployment-name {names.DEPLOYMENT} "
            f"--build-id {build} --yes"
        )
        yield Trouble(Harm.STOPPED, "worker versions", "no build is current, so versioned workers get no work", hint)


def _channel(channel: overview.ChannelStatus, settings: Settings) -> Iterator[Trouble]:
    state, subject = channel.state, f"events of {channel.org.name}"
    silent_since = datetime.now(UTC) - _SILENT * settings.subscriber.heartbeat_timeout
    kept = "Salesforce keeps events for 72 hours."
    read = state.cursor.event_time if state.cursor else None
    if read is not None:
        kept = f"Salesforce keeps events for 72 hours; the last one that was read is of {clock(read)}."
    if not state.is_started:
        text = f"no subscription reads {channel.name}" + (f": {state.problem}" if state.problem else "")
        hint = f"{_BY_ITSELF.format('it')}. If none runs, start `closedwon subscriber`."
        if state.problem:
            hint = "Start or restart `closedwon subscriber`: one that runs does not begin again what was ended by hand."
        yield Trouble(Harm.LOSS, subject, text, f"{hint} {kept}")
    elif not state.is_reading:
        workflow_id = names.subscription_workflow_id(channel.org.id, channel.name)
        hint = f"Its details in Temporal's UI say why ({workflow_id}); it tries again every 5 minutes. {kept}"
        yield Trouble(Harm.LOSS, subject, f"Salesforce refuses {channel.name}", hint)
    elif state.heartbeat is None and state.attempt > _SILENT:
        text = f"reading {channel.name} has failed {state.attempt - 1} times: {state.problem}"
        yield Trouble(
            Harm.LOSS, subject, text, f"Check that the org responds and that the integration user may log in. {kept}"
        )
    elif state.heartbeat is not None and state.heartbeat < silent_since:
        why = f": {state.problem}" if state.problem else ""
        text = f"the reader of {channel.name} has sent no heartbeat since {clock(state.heartbeat)}{why}"
        hint = f"Start `closedwon subscriber`; if one is running, check that the org responds. {kept}"
        yield Trouble(Harm.LOSS, subject, text, hint)


async def _intake(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Whether intake listens, as far as this machine can see.

    A loopback address is checked only if Temporal is on this machine, too: intake may run on another one.
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
        text = f"no process listens on port {intake.port} of {intake.host}"
        yield Trouble(Harm.LOSS, "intake", text, f"Start `closedwon intake`; if it stops, its log says why. {kept}")
    else:
        writer.close()


def _gaps(seen: overview.Overview) -> Iterator[Trouble]:
    for one in seen.gaps:
        since = clock(one.gap.since) if one.gap.since else "an unknown time"
        text = f"a gap from {since} to {clock(one.gap.until)}, {one.gap.reason}: {one.status}"
        if one.status == "sweeping":
            yield Trouble(Harm.RISK, f"route {one.key.route}", text, "No action: its sweep is running.")
        else:
            hint = f"Deals of that time may have no order; the details of {one.workflow_id} say what to fix."
            yield Trouble(Harm.LOSS, f"route {one.key.route}", text, hint)


def _findings(seen: overview.Overview) -> Iterator[Trouble]:
    """What the newest scheduled audit has found."""
    for one in seen.findings:
        text = f"{one.number} {one.kind}: {one.title}; e.g. {one.examples[0]}" if one.examples else one.text
        yield Trouble(Harm.WAITING, "audit", text, f"{one.hint} List them: closedwon audit")


async def _old(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Orders that have waited long for the ERP or Salesforce, with the failure of one of them."""
    stages = [stage for stage in names.UNFINISHED if stage is not names.OrderStage.ATTENTION]
    query = visibility.all_of(visibility.at_stage(*stages), visibility.started_before(datetime.now(UTC) - old))
    found = await census.census(client, query)
    if not found.number:
        return
    text = f"{found.number} open for more than {hours(old)}, the oldest for {hours(found.oldest)}"
    async for one in client.list_workflows(query, limit=1):
        pending = (await client.get_workflow_handle(one.id).describe()).raw_description.pending_activities
        for step in pending:
            text += f"; e.g. {one.id}, {step.activity_id}, attempt {step.attempt}"
            if step.HasField("last_failure"):
                text += f": {await failure_text(client, step)}"
            queue = step.activity_options.task_queue.name
            if queue and not (await queue_state(client, queue, ACTIVITIES)).pollers:
                text += f"; no pollers on task queue {queue}"
    yield Trouble(Harm.WAITING, "old orders", text, "When the system responds again: closedwon orders retry --all")


async def _wedged(client: Client) -> AsyncIterator[Trouble]:
    number = (await client.count_workflows(visibility.WEDGED)).count
    if not number:
        return
    text = f"{number} cannot continue: their code fails, does not fit their history, or lacks a key"
    which = f'temporal workflow list -q "{visibility.WEDGED}"'
    hint = f"The log of the workers says why; they continue once that is fixed. {which}"
    with suppress(KeyMissingError):
        async for one in undecryptable(client, visibility.WEDGED, limit=_SAMPLE):
            text = f"{number} cannot continue; e.g. {one.id} was written with a wrong encryption key"
            hint = _RECOVER
            break
    yield Trouble(Harm.WAITING, "wedged workflows", text, hint)


async def _undelivered_alerts(client: Client, old: timedelta) -> AsyncIterator[Trouble]:
    """Alerts that the webhook does not accept."""
    is_ours, before = visibility.of_type(names.ALERT_WORKFLOW), datetime.now(UTC) - old
    waiting = visibility.all_of(is_ours, visibility.RUNNING, visibility.started_before(before))
    number = (await client.count_workflows(waiting)).count
    failed = (await client.count_workflows(visibility.all_of(is_ours, visibility.has_status("Failed")))).count
    if number or failed:
        text = f"{number} not accepted by the webhook for more than {hours(old)}, {failed} failed for good"
        hint = f'Correct `alerts` in the settings, or the webhook. The reason: temporal workflow list -q "{is_ours}"'
        yield Trouble(Harm.RISK, "alerts", text, hint)


async def _schedules(client: Client, settings: Settings) -> AsyncIterator[Trouble]:
    """Sweeps and audits that do not run: lost notifications are then not found automatically."""
    for route in settings.routes:
        if route.sweep is None:
            text = "it is not swept: only an audit finds lost notifications"
            hint = "Add [routes.sweep] to the route in closedwon.toml and restart the workers."
            yield Trouble(Harm.RISK, f"route {route.name}", text, hint)
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
        hint = f"{_BY_ITSELF.format('the schedule')}. If none runs, start `closedwon worker`."
        yield Trouble(Harm.RISK, subject, f"{what} not scheduled", hint)
        return
    state = found.schedule.state
    if state.paused:
        text = f"{what} paused" + (f": {state.note}" if state.note else "")
        hint = f"temporal schedule toggle --schedule-id {schedule_id} --unpause --reason …"
        yield Trouble(Harm.RISK, subject, text, hint)


async def _retention(client: Client) -> AsyncIterator[Trouble]:
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    kept = answer.config.workflow_execution_retention_ttl.ToTimedelta()
    if kept < _RETENTION:
        text = f"closed workflows are kept for {hours(kept)}, but Salesforce may send a message again for 72 h"
        hint = f"temporal operator namespace update -n {client.namespace} --retention 168h"
        yield Trouble(Harm.RISK, "retention", text, hint)


async def _of_the_rest(settings: Settings) -> list[Trouble]:
    """The checks of `config check`, each org's share of API calls, and the clock."""
    async with Connections(settings) as connections:
        asked = [finding async for finding in checks.remote(settings, connections)]
        wrong = [finding for finding in asked if finding.wrong]
        found = [Trouble(Harm.WAITING, finding.subject, finding.text, finding.hint) for finding in wrong]
        found += [Trouble(Harm.RISK, one.subject, one.text, one.hint) for one in asked if one.warns]
        for org in settings.orgs:
            usage = connections.salesforce[org.id].usage
            taken = measures(usage, sweep_share=settings.sweep_share(org.name)) if usage else []
            if taken:
                text = f"{usage}: {', '.join(measure.text for measure in taken)}"
                hint = "See in Setup, Company Information, who calls; at the limit orders wait, but are not lost."
                found.append(Trouble(Harm.RISK, f"org {org.name}", text, hint))
            found += [trouble async for trouble in _skew(org)]
    return [*found, *(Trouble(Harm.RISK, "intake", warning, "") for warning in warnings(settings))]


async def _skew(org: Org) -> AsyncIterator[Trouble]:
    """Compare this machine's clock with that of the org's servers."""
    try:
        async with Http(timeout=timedelta(seconds=10)) as http:
            theirs = parsedate_to_datetime((await http.call("HEAD", f"{org.url}/services/data")).headers["Date"])
    except (NetworkError, KeyError, ValueError):
        return  # reported already: it does not respond
    off = datetime.now(UTC) - theirs
    if abs(off) > _SKEW:
        side = "ahead of" if off > timedelta() else "behind"
        text = f"this machine's clock is {abs(off).total_seconds():.0f} s {side} Salesforce's"
        yield Trouble(Harm.RISK, "clock", text, "Synchronize it by NTP: JWT logins and signed callouts depend on it.")
