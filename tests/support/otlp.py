"""A collector of traces: takes OTLP over HTTP, as real ones do, and keeps the spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span(NamedTuple):
    """What tests ask of a span."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    attributes: dict[str, str]


class Collector:
    """The spans that have arrived, and all bytes of them."""

    def __init__(self) -> None:
        self.address = ""
        self.raw = b""
        self.spans: list[Span] = []

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Collector]:
        """A collector on a free port."""
        collector = cls()
        app = web.Application()
        app.add_routes([web.post("/v1/traces", collector._take)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield collector
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            trace=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            service=about["service.name"],
                            name=span.name,
                            attributes={one.key: one.value.string_value for one in span.attributes},
                        )
                    )
        return web.Response(content_type="application/x-protobuf")
