"""A job's record as a person reads it."""

from __future__ import annotations

import json
from typing import Any

from zmws.cli.ends import zmws
from zmws.cli.output import echo, say
from zmws.cli.tables import INDENT, clock, plain, show_json, show_text
from zmws.core.states import REVIVABLE


def show_record(record: dict[str, Any], as_json: bool) -> None:
    """Print a record: its fields, and what happened in each attempt."""
    if as_json:
        show_json(record)
        return
    for name, value in record.items():
        if value is None or value == []:
            continue
        if name == "attempts":
            _show_attempts(value)
        elif name == "error":
            _show_error(value, record["attempts"])
        elif name in ("partials", "log"):
            echo(f"{name}:")
            for entry in value:
                show_lines(_text(entry), "  ")
        else:
            _show_field(name, value)
    if record["state"] in REVIVABLE:
        say(f"'{zmws()} job retry {record['id']}' lets it wait again")


def show_fields(row: dict[str, Any]) -> None:
    """Print what there is of it, a line each."""
    for name, value in row.items():
        if value is not None and value != []:
            _show_field(name, value)


def _show_field(name: str, value: Any) -> None:
    text = _text(value)
    if "\n" in text:
        echo(f"{name}:")
        show_lines(text, "  ")
    else:
        show_text(f"{name}: {plain(text)}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def error_line(error: dict[str, Any]) -> str:
    """An ERROR on one line: code, the type of the exception, text."""
    kind = f"{error['type']}: " if error.get("type") else ""
    return plain(f"{error.get('code')}: {kind}{error.get('error') or ''}".rstrip(": "))


def _show_error(error: dict[str, Any], attempts: list[dict[str, Any]]) -> None:
    show_text(f"error: {error_line(error)}")
    trace = error.get("traceback")
    # The attempt in which it happened shows it; of a job with very many attempts the oldest are not kept.
    if trace and all(trace != _trace_of(attempt) for attempt in attempts):
        show_lines(trace, "  ")


def _show_attempts(attempts: list[dict[str, Any]]) -> None:
    echo("attempts:")
    for attempt in attempts:
        times = " - ".join(clock(at) for at in (attempt["started_at"], attempt["ended_at"]) if at)
        show_text(plain(f"  {attempt['attempt']}: {times}, worker {attempt['worker'] or '-'}"), " " * 5)
        if attempt.get("error"):
            show_text(f"     {error_line(attempt['error'])}", " " * 5)
            show_lines(_trace_of(attempt) or "", "     ")


def _trace_of(attempt: dict[str, Any]) -> str | None:
    return (attempt.get("error") or {}).get("traceback")


def show_lines(text: str, indent: str) -> None:
    """Line by line: what a worker wrote may not move the cursor."""
    for line in str(text).splitlines():
        show_text(indent + plain(line), indent + INDENT)
