"""What a process reports about itself: logs with their Temporal context, metrics, traces, liveness and readiness.

One `Telemetry` per process, made before any Temporal client: it owns the SDK's runtime. The SDK's metrics and ours
are in one registry, which the runtime exposes on a private port of the loopback interface; `serve` opens the one public
port. How entries are formatted and masked is the business of `closedwon.telemetry.logs`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, Self

from aiohttp import web
from structlog.typing import EventDict, WrappedLogger
from temporalio import activity, workflow
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from closedwon import settings
from closedwon.encryption.codec import CodecError
from closedwon.errors import AttentionReason, ClosedwonError
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.telemetry import logs, traces

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[object]]
"""Returns when its part is ready, raises when it is not."""

_CHECK_SECONDS: Final = 5.0
"""A check that takes longer is not ready: Kubernetes gives up on a probe much sooner than on a request."""
_ATTEMPTS: Final = 5
"""For a free private port: another process may take it between our look and the SDK's bind."""

WON_TO_WRITTEN_BACK: Final = "closedwon_won_to_written_back"
ACK_LATENCY: Final = "closedwon_ack_latency"
ERP_LATENCY: Final = "closedwon_erp_latency"
_BUCKETS: Final = {
    WON_TO_WRITTEN_BACK: [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0, 604800.0],
    ACK_LATENCY: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
    ERP_LATENCY: [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0],
}
"""Upper bounds in seconds."""


class TelemetryError(ClosedwonError):
    """The port for metrics and health cannot be opened."""


class Metrics:
    """Our own instruments. Make it from `activity.metric_meter()`, `workflow.metric_meter()` or the runtime's.

    Names are stable; the exporter adds `_total` to counters and `_seconds` to durations. Attributes in brackets.
    """

    def __init__(self, meter: MetricMeter) -> None:
        """Create the instruments; the same names on another meter are the same metrics."""
        self.messages = meter.create_counter("closedwon_messages", "Messages taken in [channel, outcome]")
        self.ack_latency = meter.create_histogram_timedelta(
            ACK_LATENCY, "From a request's arrival at intake to its answer [channel, outcome]"
        )
        self.tls_failures = meter.create_counter(
            "closedwon_tls_handshake_failures", "Clients of intake whose TLS handshake failed [reason]"
        )
        self.orders = meter.create_counter("closedwon_orders", "Orders that reached a stage [stage]")
        self.attention = meter.create_counter("closedwon_attention", "Orders that began to need attention [reason]")
        self.gaps = meter.create_counter("closedwon_gaps", "Times from which notifications may be lost [reason]")
        self.restored = meter.create_counter(
            "closedwon_restored", "What Temporal had lost and a running process has registered again [what]"
        )
        self.swept = meter.create_counter("closedwon_swept_records", "Records that sweeps looked at [route, outcome]")
        self.api_calls = meter.create_counter("closedwon_salesforce_api_calls", "Salesforce API calls made [org]")
        self.won_to_written_back = meter.create_histogram_timedelta(
            WON_TO_WRITTEN_BACK, "From the event or the change of the record to the order number in Salesforce"
        )
        self.erp_latency = meter.create_histogram_timedelta(ERP_LATENCY, "Duration of calls to the ERP [erp, outcome]")
        self.api_used = meter.create_gauge("closedwon_salesforce_api_used", "API calls used of the last 24 h [org]")
        self.api_limit = meter.create_gauge("closedwon_salesforce_api_limit", "API calls allowed in 24 h [org]")
        self.api_saving = meter.create_gauge(
            "closedwon_salesforce_api_saving", "1 while this is done because API calls run out [org, measure]"
        )
        self.cursor_lag = meter.create_gauge_float(
            "closedwon_cursor_lag_seconds", "How far the reader is behind the event bus [org, channel]"
        )
        self.started_at = meter.create_gauge_float(
            "closedwon_started_timestamp_seconds", "When this process began to work, Unix time"
        )
        self.certificate_expires_at = meter.create_gauge_float(
            "closedwon_certificate_expires_timestamp_seconds", "When a certificate expires, Unix time [link, side]"
        )
        self.key_age = meter.create_gauge_float(
            "closedwon_key_age_seconds", "Since Temporal first knew a key, or its file was written [key]"
        )
        self.org_limit_used = meter.create_gauge(
            "closedwon_salesforce_limit_used", "What the org has used of one of its limits [org, limit]"
        )
        self.org_limit_max = meter.create_gauge("closedwon_salesforce_limit_max", "The org's limit [org, limit]")
        self.clock_ahead = meter.create_gauge_float(
            "closedwon_clock_ahead_seconds", "By how much this machine's clock is ahead of the org's [org]"
        )
        self.check_failed = meter.create_gauge(
            "closedwon_check_failed", "1 while a safety check of this process fails and orders wait [check, subject]"
        )
        # What the observer sees (workers.observer); every process that observes reports the same.
        self.open_orders = meter.create_gauge("closedwon_open_orders", "Open orders, now [stage]")
        self.oldest_order = meter.create_gauge_float(
            "closedwon_oldest_open_order_seconds", "Age of the oldest unfinished order [stage]"
        )
        self.attention_now = meter.create_gauge(
            "closedwon_attention_now", "Orders, messages and sweeps that need attention, now [reason]"
        )
        self.backlog = meter.create_gauge("closedwon_backlog", "Tasks that wait for a worker [queue, kind]")
        self.backlog_age = meter.create_gauge_float(
            "closedwon_backlog_age_seconds", "How long the first of them has waited [queue, kind]"
        )
        self.pollers = meter.create_gauge("closedwon_pollers", "Processes that live and serve it [queue, kind]")
        self.paused = meter.create_gauge("closedwon_queue_paused", "1 while the queue's rate limit is 0 [queue]")
        self.unreachable = meter.create_gauge(
            "closedwon_queue_unreachable", "1 while workers limit the queue because none can connect to its ERP [queue]"
        )
        self.reader_silence = meter.create_gauge_float(
            "closedwon_reader_silence_seconds",
            "Age of the last proof of the bus that it is read [org, channel]",
        )
        self.reader_state = meter.create_gauge(
            "closedwon_reader_state", "1 for the state of the reader of the bus, 0 for the others [org, channel, state]"
        )
        self.wedged = meter.create_gauge("closedwon_wedged_workflows", "Open workflows that cannot continue, now")
        self.open_gaps = meter.create_gauge("closedwon_open_gaps", "Gaps that no sweep has covered [org, route]")
        self.oldest_gap = meter.create_gauge_float(
            "closedwon_oldest_open_gap_seconds", "Since the oldest open gap began [org, route]"
        )
        self.audit_findings = meter.create_gauge(
            "closedwon_audit_findings", "Records about which the scheduled audit found a disagreement [org, kind]"
        )
        self.observed_at = meter.create_gauge_float(
            "closedwon_observed_timestamp_seconds", "When the observer last saw all of it, Unix time"
        )


class Telemetry:
    """Logs, metrics and health of one process."""

    def __init__(self, telemetry: settings.TelemetrySettings, runtime: Runtime, exporter: str, service: str) -> None:
        """Use `start`."""
        self._settings = telemetry
        self._traces = traces.start(telemetry.traces, service)
        self.plugins = self._traces.plugins
        """For every Temporal client of the process, too."""
        self._exporter = exporter
        self._server: web.AppRunner | None = None
        self.runtime = runtime
        """For every Temporal client of the process."""
        self.metrics = Metrics(runtime.metric_meter)
        """For code outside activities and workflows."""
        self.address: str | None = None
        """Where `/metrics`, `/livez` and `/readyz` are, once served."""

    @classmethod
    def start(cls, telemetry: settings.TelemetrySettings, service: str) -> Self:
        """Configure logging and make the process's one Temporal runtime. `service` labels entries and metrics."""
        # The context becomes keys of the entry; the SDK would write it into the message as well.
        activity.logger.activity_info_on_message = False
        workflow.logger.workflow_info_on_message = False

        def add_context(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
            return {"service": service, **_temporal_context(), **_in_one_line(_without_sdk_objects(entry))}

        logs.configure(telemetry, context=[add_context])
        for attempt in range(_ATTEMPTS):
            exporter = f"127.0.0.1:{_free_port()}"
            try:
                return cls(telemetry, _runtime(exporter, service), f"http://{exporter}/metrics", service)
            except ValueError as error:
                if "in use" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise TelemetryError(f"The Temporal SDK cannot export metrics on {exporter}: {error}") from error
        raise AssertionError  # pragma: no cover - the loop ends by return or raise

    async def serve(self, checks: Mapping[str, Check]) -> None:
        """Open the public port. `checks` decide `/readyz`. Raises `TelemetryError` when the port is taken."""

        async def ready(_request: web.Request) -> web.Response:
            return await _readiness(checks)

        app = web.Application()
        app.add_routes([web.get("/livez", _alive), web.get("/readyz", ready), web.get("/metrics", self._exported)])
        server = web.AppRunner(app, access_log=None)
        await server.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(server, host, port).start()
        except OSError as error:
            await server.cleanup()
            reason = "is in use already" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
            raise TelemetryError(
                f"Port {port} on {host} {reason}: set telemetry.port in the settings, or CLOSEDWON_TELEMETRY__PORT, "
                "to another port, or to 0 for any free one; telemetry.host must be an address of this machine."
            ) from error
        self._server = server
        self.address = f"http://{host}:{server.addresses[0][1]}"
        _log.info("metrics and health at %s (/metrics, /livez, /readyz)", self.address)

    async def close(self) -> None:
        """Close the public port and send the last spans. The runtime lives as long as the process."""
        if self._server is not None:
            await self._server.cleanup()
            self._server = self.address = None
        await self._traces.close()

    async def _exported(self, _request: web.Request) -> web.Response:
        try:
            async with Http(timeout=timedelta(seconds=_CHECK_SECONDS)) as http:
                page = await http.call("GET", self._exporter)
        except NetworkError as error:
            raise web.HTTPServiceUnavailable(text=f"the SDK's exporter does not answer: {error}") from error
        return web.Response(body=page.body, headers={"Content-Type": _PROMETHEUS})


_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


async def _alive(_request: web.Request) -> web.Response:
    return web.json_response({"alive": True})


async def _readiness(checks: Mapping[str, Check]) -> web.Response:
    states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
    ready = all(state == "ready" for state in states.values())
    return web.json_response({"ready": ready, "checks": states}, status=200 if ready else 503)


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except ClosedwonError as error:
        return logs.mask_text(str(error))
    except Exception as error:  # noqa: BLE001 - whatever a check raises means not ready; the text may hold anything
        return f"failed with {type(error).__name__}"
    return "ready"


def _runtime(exporter: str, service: str) -> Runtime:
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio")),
            ),
            metrics=PrometheusConfig(
                bind_address=exporter,
                counters_total_suffix=True,
                unit_suffix=True,
                durations_as_seconds=True,
                histogram_bucket_overrides=_BUCKETS,
            ),
            attach_service_name=False,
            global_tags={"service": service},
        )
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _temporal_context() -> dict[str, object]:
    """Say which workflow or activity is logging, as far as one is, and in which trace."""
    trace_id = traces.trace_id()
    return _running() if trace_id is None else {**_running(), "trace_id": trace_id}


def _running() -> dict[str, object]:
    if activity.in_activity():
        running = activity.info()
        return {
            "workflow_id": running.workflow_id,
            "activity": running.activity_type,
            "attempt": running.attempt,
            "task_queue": running.task_queue,
        }
    if workflow.in_workflow():
        run = workflow.info()
        return {"workflow_id": run.workflow_id, "workflow": run.workflow_type, "task_queue": run.task_queue}
    return {}


def _in_one_line(entry: EventDict) -> EventDict:
    """Write an activity's typed failure without its stack trace: it is an expected outcome, and Temporal's UI shows it.

    If its text may quote the deal, only the reason is written, because logs are not encrypted. A missing encryption key
    is only the cause of the error that the SDK raises when it cannot decode the activity's input, so it is added.
    """
    error = (entry.get("exc_info") or (None, None))[1]
    if not isinstance(error, ApplicationError):
        return entry
    cause, text = error.__cause__, str(error)
    reason = getattr(error.details[0], "reason", None) if error.details else None
    if isinstance(cause, CodecError):
        text = f"{error}: {cause}"
    elif isinstance(reason, AttentionReason) and reason.quotes:
        text = f"{error.type}: {reason}; see `closedwon orders show`"
    return {**entry, "exc_info": None, "event": "attempt failed", "error": text}


def _without_sdk_objects(entry: EventDict) -> EventDict:
    """Leave out what the SDK attaches to its log records: it repeats the context, or is not a plain value."""
    return {key: value for key, value in entry.items() if not key.lstrip("_").startswith("temporal_")}
