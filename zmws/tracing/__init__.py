"""The switch of tracing with OpenTelemetry (docs/tracing.md): off, until somebody calls `instrument`.

Rule 1: as long as it is off nothing of OpenTelemetry is imported, and a job costs one look at `on`.
Rule 2: which spans are kept, and where they go, is for the program's own tracer provider to say. Where it has
        set none, no span is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmws.errors import ZmwsError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from zmws.tracing.spans import Spans

on: Spans | None = None  # what makes the spans of this process; None: it is off


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """From now on the clients, the workers and the gateway of this process make spans. `tracer_provider`:
    where those go; None: the global one, which may be set later. May be called again.

    In a worker's file call it at the top, or in `setup()`: then it is called in each process that runs jobs,
    also in the children of `isolate`. Raises ZmwsError where opentelemetry-api is not installed.
    """
    global on
    try:
        from zmws.tracing.spans import Spans
    except ImportError as missing:
        text = f"tracing needs opentelemetry-api: pip install 'zmws[otel]' ({missing})"
        raise ZmwsError(text) from missing
    on = Spans(tracer_provider)


def uninstrument() -> None:
    """From now on no more spans are made. Those that have begun end as they would."""
    global on
    on = None


class Instrumentor:
    """What `opentelemetry-instrument` finds, and calls (the entry point of pyproject.toml)."""

    def instrument(self, **given: Any) -> None:
        """As `instrument`."""
        instrument(given.get("tracer_provider"))

    def uninstrument(self, **given: Any) -> None:
        """As `uninstrument`."""
        uninstrument()
