"""What people are shown: tables that fit their terminal, times as ages, results as text."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from zmws.cli.output import can_show, echo, echo_bytes, has_colours, painted
from zmws.core.amounts import duration

GAP = "  "
INDENT = "    "  # of what did not fit beside the rest
CUT_WIDTH_MIN = 16  # a column that may be cut is cut no further

# Red before yellow before green: `running, hung` is red.
_STATE_COLOURS = {
    31: frozenset({"fatal", "died", "failed", "hung", "deaf", "silent", "lost"}),
    33: frozenset({"waiting", "starting", "backoff", "stopping", "draining", "scheduled", "adopted"}),
    32: frozenset({"running", "idle", "busy", "complete"}),
    90: frozenset({"stopped", "cancelled", "expired"}),
}


def show_json(value: Any) -> None:
    """For programs: one JSON text, on one line."""
    echo(json.dumps(value, ensure_ascii=False))


def show_done(value: Any, text: str, as_json: bool) -> None:
    """What was done: JSON for programs, a line for people."""
    if as_json:
        show_json(value)
    else:
        echo(text)


def show_result(value: Any, as_json: bool) -> None:
    """A job's result: text as it is, bytes as they are, nothing for none, else JSON. The frames of a worker
    of another kind are a list of bytes: each as it is, on a line of its own."""
    frames = value if isinstance(value, list) and any(isinstance(one, bytes) for one in value) else []
    if as_json:
        show_json([_base64(frame) for frame in frames] if frames else _base64(value))
    elif isinstance(value, bytes) or frames:
        echo_bytes(b"".join(frame + b"\n" for frame in frames) or value)
    elif isinstance(value, str):
        echo(value)
    elif value is not None:
        show_json(value)


def _base64(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def show_table(heads: Sequence[str], rows: Sequence[Sequence[Any]], may_cut: Sequence[str] = ()) -> None:
    """Columns as wide as they need. On a terminal that is narrower the columns `may_cut` are cut, with an
    ellipsis; what still does not fit stands on a second line under the first, heads too. A terminal shows
    states in colours."""
    texts = [["-" if cell is None else plain(str(cell)) for cell in row] for row in rows]
    edge = terminal_width()
    widths = [max(map(width, column)) for column in zip(heads, *texts, strict=True)]
    widest = {n: min(widths[n], CUT_WIDTH_MIN) for n, head in enumerate(heads) if head in may_cut}
    for n, least in widest.items():
        too_wide = sum(widths) + len(GAP) * (len(widths) - 1) - edge
        widths[n] -= max(0, min(too_wide, widths[n] - least))
    lines = _folded(widths, edge)
    for first, *others in lines[1:]:
        # Alone on its line a column that was cut has room again.
        if not others and first in widest:
            widths[first] = max(width(row[first]) for row in [list(heads), *texts])
            widths[first] = min(widths[first], edge - len(INDENT))
    colours, head = has_colours(), list(heads)
    state = head.index("STATE") if "STATE" in head else -1
    for row in [head, *texts]:
        for n, columns in enumerate(lines):
            cells = [cut(row[at], widths[at]) if at in widest else row[at] for at in columns]
            padded = [_padded(cell, widths[at]) for cell, at in zip(cells, columns, strict=True)]
            if colours and row is not head and state in columns:
                at = columns.index(state)
                padded[at] = _state_painted(padded[at])
            line = GAP.join(padded)
            if n == 0 or any(cell not in ("", "-") for cell in cells):
                echo((INDENT if n else "") + line.rstrip())


def _state_painted(cell: str) -> str:
    """A state in its colour: what is well, what passes, what is wrong."""
    words = set(cell.replace(",", " ").split())
    for colour, states in _STATE_COLOURS.items():
        if words & states:
            return painted(cell, colour)
    return cell


def _folded(widths: Sequence[int], edge: int) -> list[list[int]]:
    """Which columns stand on the first line of a row, and which on those under it."""
    lines: list[list[int]] = [[]]
    left = edge
    for column, wide in enumerate(widths):
        needed = wide + (len(GAP) if lines[-1] else 0)
        if needed > left and lines[-1]:
            lines.append([])
            left, needed = edge - len(INDENT), wide
        lines[-1].append(column)
        left -= needed
    return lines


def show_text(text: str, more: str = INDENT) -> None:
    """A text on one line, or on as many as the terminal needs: parted at spaces where it can be, all but the
    first behind `more`."""
    edge = terminal_width()
    while width(text) > edge > len(more) + 1:
        fits, left = 0, edge
        while (left := left - _columns_of(text[fits])) >= 0:
            fits += 1
        at = text.rfind(" ", 0, fits + 1)
        if at <= len(text) - len(text.lstrip()):
            at = fits
        echo(text[:at].rstrip())
        text = more + text[at:].lstrip()
    echo(text)


def terminal_width() -> int:
    """Columns of the terminal; what goes into a file or a pipe has as many as it needs."""
    if sys.stdout is None or not sys.stdout.isatty():
        return 1_000_000
    import shutil  # not at the top: `zmws call` shows no table and must start fast

    return shutil.get_terminal_size().columns


def width(text: str) -> int:
    """The columns that a text takes up on a terminal: two for each wide character of East Asia."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(one) for one in text)


def _columns_of(one: str) -> int:
    import unicodedata  # not at the top, as above

    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def cut(text: str, most: int) -> str:
    """The text, or as much of it as fits with an ellipsis behind it."""
    if width(text) <= most:
        return text
    mark = "…" if can_show("…") else "..."
    left, kept = most - len(mark), []
    for one in text:
        left -= _columns_of(one)
        if left < 0:
            break
        kept.append(one)
    return "".join(kept) + mark


def fitting(text: str) -> str:
    """The text, cut where it is longer than a line of the terminal."""
    return cut(text, terminal_width())


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - width(text))


def plain(text: str) -> str:
    """A text on one line: what a worker wrote must not move the cursor of whoever looks."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def clock(at: str) -> str:
    """An ISO 8601 time as the time of day here, to the millisecond."""
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def age(at: str | None) -> str | None:
    """An ISO 8601 time as how long ago it is: 12 s, 5 min, 3 h, 9 d."""
    return None if at is None else duration(max(0.0, -_seconds_until(at)))


def until(at: str) -> str:
    """An ISO 8601 time to come as how long that is from now."""
    left = _seconds_until(at)
    return f"in {duration(left)}" if left > 0 else "now"


def _seconds_until(at: str) -> float:
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
