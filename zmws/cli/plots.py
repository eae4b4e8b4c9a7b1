"""Small plots out of characters: a row of bars, each as high as its value."""

from __future__ import annotations

from collections.abc import Sequence

from zmws.cli.output import can_show

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-=+*#@"  # where the terminal has none of those
_UNKNOWN = " "


def plot(values: Sequence[float | None], wide: int, most: float | None = None) -> str:
    """The values from left to right, the last ones at the right edge, in so many columns: where there are
    more values, the greatest of those that share a column. `most`: what is as high as can be, else the
    greatest. Nothing at all is a blank, and 0 the lowest bar."""
    bars = _BARS if can_show(_BARS) else _PLAIN
    columns = _columns(values, wide)
    top = most if most is not None else max((one for one in columns if one is not None), default=0.0)
    shown = [_UNKNOWN if one is None else bars[_height(one, top, len(bars))] for one in columns]
    return "".join(shown).rjust(wide)


def _height(value: float, top: float, bars: int) -> int:
    if top <= 0 or value <= 0:
        return 0
    # Whatever is more than nothing is seen.
    return min(bars - 1, max(1, round(value / top * (bars - 1))))


def _columns(values: Sequence[float | None], wide: int) -> list[float | None]:
    each = -(-len(values) // wide) if wide else 0
    found: list[float | None] = []
    for end in range(len(values), 0, -each) if each else ():
        known = [one for one in values[max(0, end - each) : end] if one is not None]
        found.append(max(known) if known else None)
    return found[::-1]
