"""The spans of jobs: `send SERVICE` where one is submitted, `process SERVICE` for each of its attempts.

The semantic conventions for messaging spans, version 1.30.0, which this is pinned to:
https://github.com/open-telemetry/semantic-conventions/blob/v1.30.0/docs/messaging/messaging-spans.md

Rule 1: each attempt is a trace of its own, with a link to the span that has sent the job. A job may wait for
        days, and be tried again for weeks: as a child each attempt would keep the trace of its caller open.
Rule 2: the context of `send` rides in the job's `meta`, as W3C Trace Context has it (`traceparent`,
        `tracestate`), whatever propagators the program has set. What the caller has put there goes before,
        and no job is refused for want of room there.
Rule 3: an exception is told as the job's ERROR tells it. Its class is the author's, and may fail when it is
        looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zmws import __version__
from zmws.core.table import OBJECT_BYTES_MAX
from zmws.wire.names import is_reserved

SCHEMA_URL = "https://opentelemetry.io/schemas/1.30.0"

_W3C = TraceContextTextMapPropagator()
_PARENT = "traceparent"


class Spans:
    """Makes them."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """`provider`: None, the global one."""
        self._provider = provider
        self._tracer = trace.get_tracer("zmws", __version__, provider, SCHEMA_URL)

    def sending(self, service: str, options: dict[str, Any], broker: str) -> Sending | None:
        """A job is about to be sent: its span, whose context goes into `options["meta"]`. None for what the
        broker itself answers. `options`: checked, with an id; `broker`: its endpoint."""
        if is_reserved(service):
            return None
        own = options.get("meta")
        kind, links = SpanKind.PRODUCER, []
        if own is not None and _PARENT in own:
            # The caller's own context stays; this span is not what the attempts link to.
            kind, links = SpanKind.CLIENT, _links(own)
        attributes = {**_attributes("send", service, str(options["id"])), **_server(broker)}
        span = self._tracer.start_span(f"send {service}", None, kind, attributes, links)
        if kind is SpanKind.PRODUCER and (meta := _with_context(own, span)) is not None:
            options["meta"] = meta
        return Sending(span)

    @contextmanager
    def attempt(self, service: str, job_id: str, attempt: int, meta: object) -> Iterator[Attempt]:
        """The code inside is an attempt at a job, and its span the current one."""
        attributes = {**_attributes("process", service, job_id), "zmws.attempt": attempt}
        span = self._tracer.start_span(
            f"process {service}", contexts.Context(), SpanKind.CONSUMER, attributes, _links(meta)
        )
        with trace.use_span(span, end_on_exit=True):
            yield Attempt(span)

    @contextmanager
    def received(self, headers: Mapping[str, str]) -> Iterator[None]:
        """What is sent inside is a child of the span that the headers of a request name; or of the current
        one, if there is one: then somebody else traces the requests themselves."""
        if trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = contexts.attach(_W3C.extract(headers, contexts.get_current()))
        try:
            yield
        finally:
            contexts.detach(token)

    def linked(self, meta: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The `meta` of a job that is to be linked to the current span; as it is, where there is none."""
        return _with_context(meta, trace.get_current_span()) or (None if meta is None else dict(meta))

    def flush(self) -> None:
        """Export what has ended. Takes as long as the exporter does."""
        flush = getattr(self._provider or trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:  # of the SDK; the API alone has none
            flush()


class Sending:
    """The span of a job that is on its way: from the call to the broker's answer."""

    def __init__(self, span: Span) -> None:
        self._left = [span]  # to take it out is one atomic step: its end may come from two threads

    def end(self, fault: BaseException | None = None, job_id: str | None = None) -> None:
        """It was answered; the first end counts. `fault`: what the caller gets instead of an answer;
        `job_id`: of the job there is, which may be an earlier one (`unique`)."""
        try:
            span = self._left.pop()
        except IndexError:
            return
        if job_id is not None:
            span.set_attribute("messaging.message.id", job_id)
        if fault is not None and not isinstance(fault, CancelledError):
            name = type(fault).__name__
            span.set_attribute("error.type", str(getattr(fault, "code", name)))
            span.record_exception(fault)
            span.set_status(StatusCode.ERROR, f"{name}: {fault}")
        span.end()


class Attempt:
    """The span of an attempt that is under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def over(self, error: Mapping[str, Any] | None, is_retry: bool) -> None:
        """How it ended: `error` is None, or the ERROR of docs/errors.md; `is_retry`: it was a Retry, which is
        no fault."""
        span = self._span
        span.set_attribute("zmws.outcome", _outcome(error, is_retry))
        if error is None:
            return
        kind, text = error.get("type"), str(error["error"])
        if kind is not None:
            told = {"exception.type": kind, "exception.message": text}
            if error.get("traceback"):
                told["exception.stacktrace"] = error["traceback"]
            span.add_event("exception", told)
        if not is_retry:
            span.set_attribute("error.type", str(kind or error["code"]))
            span.set_status(StatusCode.ERROR, text if kind is None else f"{kind}: {text}")


def _outcome(error: Mapping[str, Any] | None, is_retry: bool) -> str:
    if error is None:
        return "complete"
    return "retry" if is_retry else "failed"


def _attributes(operation: str, service: str, job_id: str) -> dict[str, Any]:
    return {
        "messaging.system": "zmws",
        "messaging.destination.name": service,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": job_id,
    }


def _server(endpoint: str) -> dict[str, Any]:
    """Where the broker is."""
    scheme, separator, place = endpoint.partition("://")
    if not separator:
        return {}  # the fake of zmws.testing
    host, _, port = place.rpartition(":")
    if scheme != "tcp" or not port.isdigit():
        return {"server.address": place}
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _links(meta: object) -> list[Link]:
    """To the span that has sent a job, if its `meta` names one."""
    if not isinstance(meta, dict):
        return []
    texts = {name: value for name, value in meta.items() if isinstance(value, str)}
    found = trace.get_current_span(_W3C.extract(texts, contexts.Context())).get_span_context()
    return [Link(found)] if found.is_valid else []


def _with_context(own: Mapping[str, Any] | None, span: Span) -> dict[str, Any] | None:
    """The caller's `meta` with the span's context; None where there is none, or no room for it."""
    told: dict[str, str] = {}
    _W3C.inject(told, trace.set_span_in_context(span, contexts.Context()))
    if not told:
        return None
    for context in (told, {_PARENT: told[_PARENT]}):
        meta = {**(own or {}), **context, **(own or {})}
        if len(json.dumps(meta)) <= OBJECT_BYTES_MAX:  # as the broker measures it
            return meta
    return None
