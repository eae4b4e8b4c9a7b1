"""How long something takes and how large it is, in the units that a person uses."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|min|[smhdw])", re.ASCII)


def duration(seconds: float | None) -> str | None:
    """Seconds in the unit that a person would use: 0.5 s, 12 s, 5 min, 3 h, 9 d; None of None."""
    if seconds is None:
        return None
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def duration_short(seconds: float | None) -> str:
    """Seconds in a unit that shows milliseconds too; "-" of None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    return duration(seconds) or "-"


def size_shown(count: int | None) -> str | None:
    """Bytes in the unit that a person would use."""
    if count is None:
        return None
    for unit, of in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= of:
            return f"{count / of:.1f} {unit}" if count < 10 * of else f"{count / of:.0f} {unit}"
    return f"{count} B"


def seconds_in(text: str) -> float | None:
    """The seconds of numbers with their units: 90s, 10 min, 1h30m, 2d; None where it is something else."""
    text = text.strip().replace(" ", "").lower()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
