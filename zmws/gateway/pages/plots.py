"""The figures of `zmws.series` as plots of a page: which curves, their axes, their marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from zmws.gateway.pages import svg
from zmws.gateway.pages.shown import moment, number, span

Told = dict[str, Any]

# What may be looked at: the name in an address, the words, the step, how far back in seconds.
RANGES = {
    "10m": ("10 minutes", "second", 600),
    "24h": ("24 hours", "minute", 86_400),
    "30d": ("30 days", "hour", 30 * 86_400),
}
_MARKS_MAX = 12  # named under a plot


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and what stands around it. `legend`: colour and words of each curve; `summary`: in one
    sentence, for who cannot see it."""

    title: str
    picture: Markup | None
    ticks: list[str]
    legend: list[tuple[str, str]]
    summary: str
    began: str | None
    marks: list[dict[str, Any]] = field(default_factory=list)


def plot(
    told: Told,
    title: str,
    curves: Sequence[tuple[str, str, Sequence[float | None]]],
    words: Callable[[Any], str],
) -> Plot:
    """A plot of these: the colour, the name and the values of each, of the answer of zmws.series."""
    values = [one for _, _, curve in curves for one in curve if one is not None]
    legend = [(colour, name) for colour, name, _ in curves]
    if not values:
        return Plot(title, None, [], legend, "Nothing is known of this time yet.", None)
    top = svg.nice_top(values, words is span)
    begin = moment(told["from"]).timestamp()
    marks = [{**one, "at_s": moment(one["at"]).timestamp()} for one in told["marks"]]
    places = svg.places(marks, begin, told["points"] * told["step"])
    picture = svg.plot([svg.Curve(colour, curve) for colour, _, curve in curves], top, places)
    lasts = ", ".join(f"{name} {words(last(curve))} now" for _, name, curve in curves)
    summary = f"{title}: {lasts}; {words(max(values))} at most."
    return Plot(title, picture, svg.ticks(top, words), legend, summary, told["from"], marks[-_MARKS_MAX:])


def last(values: Sequence[float | None]) -> float | None:
    """The latest that is known."""
    return next((one for one in reversed(values) if one is not None), None)


def per_second(values: Sequence[float | None], step: float) -> list[float | None]:
    """Counts of steps as how many a second."""
    if step == 1:  # of single seconds it would jump: of three together
        return [
            None if one is None else sum(known) / len(known)
            for n, one in enumerate(values)
            for known in [[v for v in values[max(0, n - 2) : n + 1] if v is not None]]
        ]
    return [None if one is None else one / step for one in values]


def rate(value: float | None) -> str:
    """How many a second."""
    return f"{number(None if value is None else float(value))}\u202f/s"


def ends(told: Told) -> Plot:
    """How many jobs a second end."""
    figures, step = told["figures"], told["step"]
    done, failed = (per_second(figures[name], step) for name in ("complete", "failed"))
    return plot(told, "Ends per second", [("complete", "complete", done), ("failed", "failed", failed)], rate)


def oldest(told: Told) -> Plot:
    """How long the oldest job has waited."""
    values = told["figures"]["oldest_s"]
    return plot(told, "Age of the oldest waiting job", [("waiting", "oldest", values)], span)


def load(told: Told) -> Plot:
    """How many wait and run."""
    figures = told["figures"]
    curves = [("waiting", "waiting", figures["waiting"]), ("running", "running", figures["running"])]
    return plot(told, "Waiting and running", curves, number)


def times(told: Told) -> Plot:
    """How long jobs run: of minutes and hours half of them and 95 of 100, of seconds the mean."""
    figures = told["figures"]
    if told["step"] == 1:
        means = [
            None if not ran else spent / ran
            for spent, ran in zip(figures["run_s"], figures["ran"], strict=True)
        ]
        return plot(told, "How long jobs run", [("running", "mean", means)], span)
    curves = [
        ("running", "half take less", figures["run_p50"]),
        ("scheduled", "95 of 100", figures["run_p95"]),
    ]
    return plot(told, "How long jobs run", curves, span)


def since(back_s: float) -> dict[str, str]:
    """The beginning of a question: so long ago, to the minute: those who ask together ask the same."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return {"since": (now - timedelta(seconds=back_s)).isoformat()}
