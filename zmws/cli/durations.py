"""Seconds and times as people write them on a command line: 90, 90s, 5m, 1h30m, 2d."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from zmws.core.amounts import seconds_in
from zmws.core.table import YEAR_S


def seconds_of(text: str | float) -> float | None:
    """The seconds of a number, or of numbers with their units; None where the text is neither."""
    try:
        return float(text)
    except ValueError:
        return seconds_in(str(text))


def wait_time(text: str | float) -> float:
    """The seconds that a flag says. Raises BadParameter."""
    found = seconds_of(text)
    if found is None or not 0 <= found <= YEAR_S:
        raise click.BadParameter(f"'{text}' is no duration: seconds, or such as 90s, 5m, 1h30m, 2d")
    return found


def wait_time_above_0(text: str) -> float:
    """As `wait_time`, and 0 is not allowed."""
    found = wait_time(text)
    if not found:
        raise click.BadParameter("it must be above 0")
    return found


def moment(text: str) -> str:
    """The time that a flag says, in ISO 8601 or as how long ago that is: ISO 8601. Raises BadParameter."""
    ago = seconds_in(text)
    if ago is not None and ago <= YEAR_S:
        return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat(timespec="milliseconds")
    try:
        known = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        known = False
    if not known:
        example = "such as 2027-01-31T08:00:00Z, or how long ago: 90s, 1h, 2d"
        raise click.BadParameter(f"'{text}' is no ISO 8601 time with its zone, {example}")
    return text
