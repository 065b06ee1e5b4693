"""Recording spans and sending them to a collector by OTLP over HTTP. Needs the extra `closedwon[traces]`.

A trace begins with a message and nowhere else: what a process does for itself, such as polling, leaves none. Spans
leave with ids and kinds of errors only, for the text of an error may quote what a remote system says of a customer.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, Status, TraceState
from opentelemetry.util.types import Attributes
from temporalio.client import Plugin
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider

from closedwon.network.blocking import HttpAdapter
from closedwon.network.http import Http
from closedwon.telemetry.traces import ACCEPT, TracesError

_SHARE: Final = "OTEL_TRACES_SAMPLER_ARG"
_KIND_OF_ERROR: Final = "exception.type"
_TIMEOUT: Final = timedelta(seconds=10)
"""For one batch; what OpenTelemetry recommends."""
_OWN_CERTIFICATES: Final = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{kind}"
    for signal in ("", "TRACES_")
    for kind in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)
"""OpenTelemetry's own settings of TLS. With one of them, its own transport is used."""


class Exporter(NamedTuple):
    """What records and sends."""

    plugin: Plugin
    send_last: Callable[[], None]
    """Sends the last spans; to be called in a thread."""
    close: Callable[[], Awaitable[None]]
    """Ends what is still being sent."""


def start(collector: str | None, service: str) -> Exporter:
    """Begin to record and send, by the event loop that is running.

    `collector` is its base address; None leaves it to OpenTelemetry's environment. Raises `TracesError`.
    """
    endpoint = None if collector is None else f"{collector.rstrip('/')}/v1/traces"
    name = os.environ.get("OTEL_SERVICE_NAME") or f"closedwon-{service}"
    provider = create_tracer_provider(
        sampler=ParentBased(_BeginsWithAMessage()),
        resource=Resource.create({"service.name": name}),
        shutdown_on_exit=False,
    )
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.ERROR)  # it would log every retry
    http = Http(timeout=_TIMEOUT)
    adapter = HttpAdapter(http)
    adapter.loop = asyncio.get_running_loop()
    session = None if any(os.environ.get(name) for name in _OWN_CERTIFICATES) else requests.Session()
    if session is not None:
        session.trust_env = False  # `Http` knows the rules of the network
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
    provider.add_span_processor(_Reticent(OTLPSpanExporter(endpoint=endpoint, session=session)))
    trace.set_tracer_provider(provider)

    async def close() -> None:
        adapter.close()
        await http.close()

    return Exporter(OpenTelemetryPlugin(add_temporal_spans=True), provider.shutdown, close)


class _BeginsWithAMessage(Sampler):
    """Decides where a trace may begin; what belongs to one goes on as it began."""

    def __init__(self) -> None:
        try:
            self._share = TraceIdRatioBased(float(os.environ.get(_SHARE) or 1))
        except ValueError:
            raise TracesError(f"{_SHARE} is not a number from 0 to 1: the share of messages that are traced") from None

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sampler = self._share if name == ACCEPT else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"BeginsWithAMessage{{{self._share.get_description()}}}"


class _Reticent(BatchSpanProcessor):
    """Sends spans in batches, without the texts of errors."""

    def on_end(self, span: ReadableSpan) -> None:
        events = [
            Event(
                event.name,
                {key: value for key, value in (event.attributes or {}).items() if key == _KIND_OF_ERROR},
                event.timestamp,
            )
            for event in span.events
        ]
        super().on_end(
            ReadableSpan(
                span.name,
                context=span.context,
                parent=span.parent,
                resource=span.resource,
                attributes=span.attributes,
                events=events,
                links=span.links,
                kind=span.kind,
                status=Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )
