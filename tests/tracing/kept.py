"""Spans that tests look at: those of this process, in memory, and those of others, a line each in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from tests.peers import wait_until

Context = tuple[str, str]  # trace and span, in hexadecimal


class Kept:
    """A provider, and the spans that have ended in it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self, name: str | None = None) -> list[ReadableSpan]:
        """In the order in which they have ended."""
        return [one for one in self._exporter.get_finished_spans() if name in (None, one.name)]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.all(name)
        return span

    def await_all(self, name: str, count: int) -> list[ReadableSpan]:
        """When so many have ended."""
        wait_until(lambda: len(self.all(name)) >= count, what=f"{count} of {name}")
        return self.all(name)


def context_of(span: ReadableSpan) -> Context:
    assert span.context is not None
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


def parent_of(span: ReadableSpan) -> Context | None:
    if span.parent is None:
        return None
    return format_trace_id(span.parent.trace_id), format_span_id(span.parent.span_id)


def links_of(span: ReadableSpan) -> list[Context]:
    return [
        (format_trace_id(one.context.trace_id), format_span_id(one.context.span_id)) for one in span.links
    ]


def traceparent_of(context: Context) -> str:
    return f"00-{context[0]}-{context[1]}-01"


def context_in(meta: Any) -> Context:
    """That a job's meta names. (The flags behind it depend on the version of the SDK.)"""
    _, trace, span, _ = meta["traceparent"].split("-")
    return trace, span


# What a worker's file begins with, so that its spans are lines of a file.
HEAD = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from zmws.tracing import instrument

provider = TracerProvider()
lines = open({file!r}, "a", buffering=1)
exporter = ConsoleSpanExporter(out=lines, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider.add_span_processor({processor}(exporter))
trace.set_tracer_provider(provider)
instrument()
"""


def head(file: Path, processor: str = "SimpleSpanProcessor") -> str:
    return HEAD.format(file=str(file), processor=processor)


class Told:
    """A span of another process."""

    def __init__(self, line: str) -> None:
        said = json.loads(line)
        self.name: str = said["name"]
        self.kind: str = said["kind"]
        self.attributes: dict[str, Any] = said["attributes"]
        self.status: str = said["status"]["status_code"]
        self.events: list[dict[str, Any]] = said["events"]
        self.context = _context(said["context"])
        self.parent = None if said["parent_id"] is None else (self.context[0], _bare(said["parent_id"]))
        self.links = [_context(one["context"]) for one in said["links"]]


def _context(said: dict[str, str]) -> Context:
    return _bare(said["trace_id"]), _bare(said["span_id"])


def _bare(number: str) -> str:
    return number.removeprefix("0x")


def told_in(file: Path, count: int, name: str | None = None) -> list[Told]:
    """The spans of this name, when there are so many of them."""
    found: list[Told] = []

    def there() -> bool:
        text = file.read_text() if file.exists() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        found[:] = [one for one in map(Told, whole) if name in (None, one.name)]
        return len(found) >= count

    wait_until(there, 20, f"{count} spans in {file.name}")
    return found
