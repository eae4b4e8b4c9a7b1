"""How values are shown on a page: numbers, times, sizes, JSON. Filters of the templates.

Rule 1: numbers are written here, in whole, and never by a browser, which knows none past 2^53.
Rule 2: a time stands as UTC in `datetime` and `title`; the script shows it as the time of the place.
Rule 3: what is too long for a page is cut, and the page says where all of it is.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from zmws.core.amounts import duration_short, size_shown

TEXT_MAX = 6_000  # characters of a value on a page; a link leads to all of it
WORD_MAX = 200
NO_VALUE = "\u2013"
_THIN = "\u202f"  # a narrow space that no line breaks at

GLYPHS = {
    "scheduled": "◷",
    "waiting": "○",
    "running": "▶",
    "complete": "✓",
    "failed": "✕",
    "cancelled": "⊘",
    "expired": "◌",
}


def number(value: float | None) -> str:
    """A number with its thousands apart."""
    if value is None:
        return NO_VALUE
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value != int(value) and abs(value) < 1_000:
            return f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2g}"
        value = round(value)
    return f"{value:,}".replace(",", _THIN)


def span(seconds: float | None) -> str:
    """How long, in two units where there are two: 3 m 12 s, 96 ms."""
    if seconds is None:
        return NO_VALUE
    if seconds <= 0:
        return f"0{_THIN}s"
    if seconds < 60:
        return duration_short(max(0.0, seconds)).replace(" ", _THIN)
    whole = round(seconds)
    for big, small, size, of in (("d", "h", 86_400, 3_600), ("h", "m", 3_600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // of
            return f"{whole // size}{_THIN}{big}" + (f" {rest}{_THIN}{small}" if rest else "")
    return f"{whole}{_THIN}s"


def size(count: int | None) -> str:
    """Bytes."""
    return NO_VALUE if count is None else (size_shown(count) or NO_VALUE).replace(" ", _THIN)


def percent(share: float | None) -> str:
    """A share of 1; what is not all is less than 100 %."""
    if share is None:
        return NO_VALUE
    return f"{100 if share >= 1 else min(99, round(share * 100))}{_THIN}%"


def moment(text: str) -> datetime:
    """A time as the broker tells it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def when(text: str | None) -> Markup | str:
    """A time. Without the script it stands as UTC."""
    if text is None:
        return NO_VALUE
    at = moment(text)
    day = "" if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d} "
    return _time(at, f"{day}{at:%H:%M:%S} UTC", "at")


def ago(text: str | None) -> Markup | str:
    """A time as how long it is ago, or until then."""
    if text is None:
        return NO_VALUE
    at = moment(text)
    passed = (datetime.now(UTC) - at).total_seconds()
    return _time(at, f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}", "ago")


def since(text: str | None) -> Markup | str:
    """How long it has been since then, alone: in a column that says so."""
    if text is None:
        return NO_VALUE
    at = moment(text)
    return _time(at, span((datetime.now(UTC) - at).total_seconds()), "ago")


def _time(at: datetime, text: str, kind: str) -> Markup:
    title = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
    return Markup('<time datetime="{}" title="{}" data-{}>{}</time>').format(
        at.isoformat(timespec="milliseconds"), title, kind, text
    )


def between(start: str | None, end: str | None) -> float | None:
    """The seconds from one time to another, up to now where the end is none; None of no beginning."""
    if start is None:
        return None
    until = datetime.now(UTC) if end is None else moment(end)
    return (until - moment(start)).total_seconds()


def pretty(value: Any) -> str:
    """A value as JSON that a person reads."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except (TypeError, ValueError):  # half a surrogate pair
        return json.dumps(value, indent=2, default=str)


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cut(text: str | None, most: int = WORD_MAX) -> str:
    """A text, and an ellipsis where it is longer."""
    text = "" if text is None else text
    return text if len(text) <= most else f"{text[:most]}…"


def clean(text: str) -> str:
    """A text that can be UTF-8: half a surrogate pair is shown as what cannot be shown."""
    return text.encode("utf-8", "replace").decode()


def state(name: str) -> Markup:
    """A job's state with its glyph."""
    return Markup('<span class="pill s-{0}"><span aria-hidden="true">{1}</span> {0}</span>').format(
        name, GLYPHS.get(name, "·")
    )


def error_line(error: Any) -> str:
    """An ERROR on one line: its type or code, and what it says."""
    if not isinstance(error, dict):
        return "" if error is None else text_of(error)
    kind = error.get("type") or error.get("code") or ""
    said = str(error.get("error") or "")
    first = said.strip().partition("\n")[0]
    return f"{kind}: {first}" if kind and first else str(kind) or first


FILTERS = {
    "number": number,
    "span": span,
    "size": size,
    "percent": percent,
    "when": when,
    "ago": ago,
    "since": since,
    "pretty": pretty,
    "text": text_of,
    "cut": cut,
    "state": state,
    "error_line": error_line,
}
