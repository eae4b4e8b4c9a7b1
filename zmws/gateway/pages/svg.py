"""Plots, swimlanes and the life of a job as inline SVG.

Rule 1: a picture carries no text: axes and legends are HTML, which can be read out, and does not stretch.
Rule 2: colours are classes (`c-failed`), for a page's policy refuses `style=`.
Rule 3: what is not known is a gap, and never a 0.
Rule 4: a picture has a bounded size, however much there is: values beyond `_POINTS_MAX` are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

_POINTS_MAX = 200
_SPARK_POINTS = 48
_FAILED_LEAST = 0.3  # of a bar, so that it is seen
_SHARE_LEAST = 6.0  # of a thousand, of a share, so that it is seen
_LEAST = 1e-9  # that an axis can end at
_NICE = (1, 2, 3, 5, 10)
_NICE_S = (
    *(60 * one for one in (1, 2, 3, 6, 9, 15, 30)),
    *(3_600 * one for one in (1, 2, 3, 6, 12, 24, 48, 72)),
)

Values = Sequence[float | None]


class Curve(NamedTuple):
    """One line of a plot: the class of its colour, its values."""

    colour: str
    values: Values


class Bar(NamedTuple):
    """A time in a lane or a life, in seconds from its beginning; `title` is told when one points at it.
    `failed` is the share of it that has."""

    start: float
    end: float
    colour: str
    title: str
    row: int = 0
    href: str | None = None
    failed: float = 0.0


def nice_top(values: Iterable[float | None], are_seconds: bool = False) -> float:
    """The end of an axis: a round number that no value is above."""
    top = max((one for one in values if one is not None), default=0.0)
    if top <= _LEAST:
        return 1.0 if top <= 0 else _LEAST
    if are_seconds and 10 < top <= _NICE_S[-1]:
        return next((30.0 if top <= 30 else one) for one in _NICE_S if one >= top)
    size = 10.0 ** _exponent(top)
    return next((size * one for one in _NICE if size * one >= top * 0.9999), size * 10)


def _exponent(value: float) -> int:
    exponent = 0
    while value >= 10:
        value, exponent = value / 10, exponent + 1
    while value < 1:
        value, exponent = value * 10, exponent - 1
    return exponent


def thinned(values: Values, most: int = _POINTS_MAX) -> list[float | None]:
    """At most so many: neighbours are put together, the largest counts."""
    if len(values) <= most:
        return list(values)
    each = -(-len(values) // most)
    found: list[float | None] = []
    for begin in range(0, len(values), each):
        known = [one for one in values[begin : begin + each] if one is not None]
        found.append(max(known) if known else None)
    return found


def plot(curves: Sequence[Curve], top: float, marks: Sequence[float] = (), height: int = 120) -> Markup:
    """Lines over time, all of equal length. `marks`: where something happened, as shares of the width."""
    width = 600
    parts = [
        f'<line class="grid" x1="0" x2="{width}" y1="{y:g}" y2="{y:g}"/>' for y in (0, height / 2, height)
    ]
    parts += [
        f'<line class="mark" x1="{at * width:.1f}" x2="{at * width:.1f}" y1="0" y2="{height}"/>'
        for at in marks
        if 0 <= at <= 1
    ]
    for colour, values in curves:
        if path := _path(thinned(values), width, height, top):
            parts.append(f'<path class="line c-{escape(colour)}" d="{path}"/>')
    return _svg("plot", width, height, parts)


def spark(values: Values, colour: str) -> Markup:
    """A small plot for a row of a table."""
    width, height = 110, 22
    shown = thinned(values, _SPARK_POINTS)
    top = max((one for one in shown if one is not None), default=0.0) or 1.0
    line = _path(shown, width, height, top)
    parts = [f'<path class="line c-{escape(colour)}" d="{line}"/>'] if line else []
    return _svg("spark", width, height, parts)


def columns(values: Sequence[float], colour: str) -> Markup:
    """A column for each, such as one an hour."""
    width, height = 5 * max(1, len(values)), 22
    top = max(values, default=0) or 1
    parts = [
        f'<rect class="f-{escape(colour)}" x="{n * 5}" y="{height - tall:.1f}" width="4" '
        f'height="{tall:.1f}"/>'
        for n, one in enumerate(values)
        if (tall := max(1.5, one / top * height) if one else 0.0)
    ]
    return _svg("spark", width, height, parts)


def _path(values: Values, width: float, height: float, top: float) -> str:
    """A line that is broken where nothing is known."""
    step = width / max(1, len(values) - 1)
    parts: list[str] = []
    pen_is_down = False
    for n, one in enumerate(values):
        if one is None:
            pen_is_down = False
            continue
        y = height - min(1.0, max(0.0, one / top)) * height
        parts.append(f"{'L' if pen_is_down else 'M'}{n * step:.1f} {y:.1f}")
        if not pen_is_down and (n + 1 == len(values) or values[n + 1] is None):
            parts.append("h3")  # alone it would not be seen
        pen_is_down = True
    return "".join(parts)


def lane(bars: Sequence[Bar], length_s: float, rows: int = 1) -> Markup:
    """What one worker did: a bar an attempt."""
    width = 1000.0
    name = f"lane rows-{min(rows, 4)}" if rows > 1 else "lane"
    return _svg(name, width, 10 * rows, (_rect(one, width / length_s, 10) for one in bars))


def life(bars: Sequence[Bar]) -> Markup:
    """One after the other, in one line. Each can be seen, however short it was."""
    width = 1000.0
    least = 6.0
    shown = [max(0.0, one.end - one.start) for one in bars]
    total = sum(shown) or 1.0
    room = max(0.0, width - least * len(bars))
    parts, x = [], 0.0
    for one, seconds in zip(bars, shown, strict=True):
        wide = least + room * seconds / total
        parts.append(_rect(one._replace(start=x, end=x + wide - 1.5), 1.0, 10))
        x += wide
    return _svg("life", width, 10, parts)


def shares(parts: Sequence[tuple[str, int]], total: int) -> Markup:
    """How much of a whole is of each kind: the colour and the count of each. The rest is left empty."""
    width = 1000.0
    rects, x = [], 0.0
    for colour, count in parts:
        if count and total:
            wide = max(_SHARE_LEAST, width * count / total)
            rects.append(_rect(Bar(x, min(width, x + wide), colour, f"{count:,} {colour}"), 1.0, 10))
            x = min(width - _SHARE_LEAST, x + wide)
    return _svg("shares", width, 10, rects)


def _rect(bar: Bar, scale: float, height: float) -> str:
    x, wide = bar.start * scale, max(1.2, (bar.end - bar.start) * scale)
    top, high = bar.row * height + 0.5, height - 1
    rect = (
        f'<rect class="f-{escape(bar.colour)}" x="{x:.1f}" y="{top:g}" width="{wide:.1f}" '
        f'height="{high:g}"><title>{escape(bar.title)}</title></rect>'
    )
    if bar.failed:
        part = high * max(_FAILED_LEAST, bar.failed)
        rect += (
            f'<rect class="f-failed" x="{x:.1f}" y="{top + high - part:.1f}" width="{wide:.1f}" '
            f'height="{part:.1f}"/>'
        )
    return rect if bar.href is None else f'<a href="{escape(bar.href)}" tabindex="-1">{rect}</a>'


def _svg(name: str, width: float, height: float, parts: Iterable[str]) -> Markup:
    """Told in words beside it, so that it is hidden from who reads by ear."""
    inner = "".join(parts)
    return Markup(
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false">{inner}</svg>'
    )


def ticks(top: float, words: Any) -> list[str]:
    """What stands beside a plot's three lines, from the top down."""
    return [words(top * share) for share in (1, 0.5, 0)]


def places(marks: Iterable[Mapping[str, Any]], begin: float, length_s: float) -> list[float]:
    """Where marks stand, as shares of the width; `at_s` of each is in seconds, as `begin` is."""
    return [(one["at_s"] - begin) / length_s for one in marks if length_s > 0]
