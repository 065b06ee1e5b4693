"""Traces: the way of one order, from a message to the write-back, as one OpenTelemetry trace.

Off unless `telemetry.traces`, or OpenTelemetry's own environment, names a collector. Here is what all code may use; it
does nothing while traces are off. What records and sends spans is in `exporting`, and needs the extra
`closedwon[traces]`. The context travels in Temporal's headers, which decide nothing in a workflow: replay is untouched.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from temporalio.client import Plugin

from closedwon.errors import ClosedwonError
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart

if TYPE_CHECKING:  # of the extra
    from closedwon.telemetry.exporting import Exporter

ACCEPT: Final = "accept"
"""The span that a trace begins with."""
_LAST_SPANS: Final = 5.0
"""Seconds for the last spans to leave while a process ends."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_tracer = trace.get_tracer("closedwon")


class TracesError(ClosedwonError):
    """Traces are wanted and cannot be made."""


@contextmanager
def accepting(start: OrderStart, message: Message) -> Iterator[None]:
    """Begin a trace with a message; what is done in the block belongs to it."""
    attributes = {
        "closedwon.org": start.org,
        "closedwon.record": start.record,
        "closedwon.route": start.route,
        "closedwon.channel": message.channel,
        "closedwon.message": message.id,
    }
    # In a context of its own: the subscriber's activity does not end, and neither would a trace that hangs on it.
    with _tracer.start_as_current_span(ACCEPT, context=Context(), kind=trace.SpanKind.CONSUMER, attributes=attributes):
        yield


def trace_id() -> str | None:
    """Name the trace that goes on here, if it is recorded."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid and context.trace_flags.sampled else None


class Traces:
    """What a process that traces, or does not, holds."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        """Use `start`."""
        self.plugins: Sequence[Plugin] = () if exporter is None else (exporter.plugin,)
        """For the Temporal client; its workers take them over."""
        self._exporter = exporter

    async def close(self) -> None:
        """Send the last spans. A collector that does not respond delays this by at most a few seconds."""
        if self._exporter is not None:
            sending = asyncio.create_task(asyncio.to_thread(self._exporter.send_last))
            await asyncio.wait({sending}, timeout=_LAST_SPANS)
            await self._exporter.close()


def start(collector: str | None, service: str) -> Traces:
    """Trace this process, where a collector is named; at most once. Raises `TracesError` with the hint."""
    is_named = collector is not None or any(os.environ.get(name) for name in _ENDPOINTS)
    if not is_named or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Traces()
    try:
        from closedwon.telemetry import exporting  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise TracesError(
            "telemetry.traces (or OTEL_EXPORTER_OTLP_ENDPOINT) names a collector, but what sends traces is not "
            "installed: pip install 'closedwon[traces]', or set OTEL_SDK_DISABLED=true."
        ) from error
    return Traces(exporting.start(collector, service))
