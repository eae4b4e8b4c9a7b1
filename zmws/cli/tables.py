"""What people are shown: tables as wide as their terminal, times as ages, results as text."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click


def show_json(value: Any) -> None:
    """For programs: one JSON text."""
    click.echo(json.dumps(value, ensure_ascii=False))


def show_result(value: Any, as_json: bool) -> None:
    """A job's result: text as it is, bytes as they are, nothing for none, else JSON. The frames of a worker
    of another kind are a list of bytes: each as it is, on a line of its own."""
    frames = value if isinstance(value, list) and any(isinstance(one, bytes) for one in value) else []
    if as_json:
        show_json([_base64(frame) for frame in frames] if frames else _base64(value))
    elif isinstance(value, bytes) or frames:
        sys.stdout.buffer.write(b"".join(frame + b"\n" for frame in frames) or value)
        sys.stdout.buffer.flush()
    elif isinstance(value, str):
        click.echo(value)
    elif value is not None:
        click.echo(json.dumps(value, ensure_ascii=False))


def _base64(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def show_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as they need; the last one is cut at the terminal's edge."""
    import shutil  # not at the top: `zmws call` shows no table and must start fast

    texts = [["-" if cell is None else plain(str(cell)) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(heads, *texts, strict=True)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for line in [list(heads), *texts]:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip()[:edge])


def plain(text: str) -> str:
    """A text on one line: what a worker wrote must not move the cursor of whoever looks."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def clock(at: str) -> str:
    """An ISO 8601 time as the time of day here, to the millisecond."""
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def age(at: str | None) -> str | None:
    """An ISO 8601 time as how long ago it is: 12 s, 5 min, 3 h, 9 d."""
    if at is None:
        return None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    return duration(max(0.0, seconds))


def duration(seconds: float | None) -> str | None:
    """Seconds in the unit that a person would use."""
    if seconds is None:
        return None
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
