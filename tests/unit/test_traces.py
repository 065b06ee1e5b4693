"""Traces are off unless somebody wants them, say what is missing, and keep to themselves what errors quote."""

from __future__ import annotations

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased

from closedwon import telemetry
from closedwon.telemetry import exporting, traces
from closedwon.telemetry.traces import TracesError

COLLECTOR = "http://127.0.0.1:4318"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_collector_nothing_is_traced() -> None:
    """Anyone who has no collector pays nothing for traces."""
    assert () == traces.start(None, "orders").plugins
    assert traces.trace_id() is None


def test_opentelemetrys_own_switch_turns_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster puts into every process's environment can be turned off for one of them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert () == traces.start(None, "orders").plugins


@pytest.mark.parametrize("by_setting", [True, False])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, *, by_setting: bool) -> None:
    """Anyone who asks for traces without the packages for it reads which to install."""
    monkeypatch.setitem(sys.modules, "closedwon.telemetry.exporting", None)
    monkeypatch.delattr(telemetry, "exporting", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "" if by_setting else COLLECTOR)
    with pytest.raises(TracesError, match=r"pip install 'closedwon\[traces\]'"):
        traces.start(COLLECTOR if by_setting else None, "orders")


def test_an_invalid_share_is_reported_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped share stops the start, instead of tracing all or nothing."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "10%")
    with pytest.raises(TracesError, match="OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1"):
        traces.start(COLLECTOR, "orders")


def test_what_an_error_quotes_stays_here() -> None:
    """The collector learns which kind of error it was; the ERP's words about a customer stay in Temporal."""
    sent = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(exporting._Reticent(sent))
    words = "Credit limit of Edge Communications exceeded"
    with pytest.raises(ValueError, match="Edge"), provider.get_tracer("t").start_as_current_span("RunActivity:x"):
        raise ValueError(words)
    provider.shutdown()

    (span,) = sent.get_finished_spans()
    assert words not in span.to_json()
    assert ("RunActivity:x", False) == (span.name, span.status.is_ok)
    assert {"exception.type": "ValueError"} == dict(span.events[0].attributes or {})


def test_a_trace_begins_with_a_message_only() -> None:
    """What a process does for itself, such as polling, leaves no traces; what belongs to one goes on with it."""
    provider = TracerProvider(sampler=ParentBased(exporting._BeginsWithAMessage()), shutdown_on_exit=False)
    tracer = provider.get_tracer("t")

    assert not tracer.start_span("QueryWorkflow:gaps").is_recording()
    with tracer.start_as_current_span(traces.ACCEPT) as accept:
        assert accept.is_recording()
        assert accept.get_span_context().trace_id == int(str(traces.trace_id()), 16)
        assert tracer.start_span("StartWorkflow:OrderWorkflow").is_recording()
