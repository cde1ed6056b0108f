"""Spans by OpenTelemetry, sent by OTLP over HTTP. Imported only if an exporter is configured."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class OtelTracer:
    """Sends spans in the background. What cannot be sent is dropped, and nothing else changes.

    Where to is read from OpenTelemetry's own variables. What is left is sent when the process ends.
    """

    def __init__(self, service: str) -> None:
        resource = Resource.create(
            {"service.name": f"turnstream-{service}", "service.version": version("turnstream")}
        )
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = provider.get_tracer("turnstream")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, parent: str | None, attributes: Mapping[str, str]) -> Generator[str]:
        """See `Tracer`. An error's text is not recorded: it may quote a user."""
        with self._tracer.start_as_current_span(
            name,
            self._context(parent),
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            found = span.get_span_context()
            flags = f"{found.trace_flags:02x}"
            yield f"00-{format_trace_id(found.trace_id)}-{format_span_id(found.span_id)}-{flags}"

    def record(
        self, name: str, parent: str | None, attributes: Mapping[str, str], began: int, ended: int
    ) -> None:
        """See `Tracer`."""
        span = self._tracer.start_span(
            name, self._context(parent), attributes=attributes, start_time=began
        )
        span.end(ended)

    def _context(self, parent: str | None) -> Context:
        headers = {} if parent is None else {"traceparent": parent}
        return self._propagator.extract(headers, Context())
