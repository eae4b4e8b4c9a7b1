"""Recurring jobs, as they are kept: written, removed, and moved on by each time that they fire.

Rule: `last_at` moves in the transaction that inserts the job of that time, so no time fires twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from zmws.core.writes import NEW, UNKNOWN, FireSchedule, RemoveSchedule, Verdict, WriteSchedule
from zmws.store.rows import schedule_values
from zmws.store.sql.dialect import Connection


def write_schedule(
    connection: Connection, queries: Mapping[str, str], write: WriteSchedule | RemoveSchedule
) -> None:
    """Put it in the place of the one of its name, or take that away."""
    name = write.name if isinstance(write, RemoveSchedule) else write.schedule.name
    connection.execute(queries["remove_schedule"], (name,))
    if isinstance(write, WriteSchedule):
        connection.execute(queries["add_schedule"], schedule_values(write.schedule))


def fire(connection: Connection, queries: Mapping[str, str], write: FireSchedule) -> Verdict:
    """It fires, unless it has for that time."""
    found = connection.execute(queries["last_of_schedule"], (write.name,)).fetchone()
    if found is None:
        return Verdict(UNKNOWN, write.job_id)
    (last_at,), nominal = found, write.nominal
    # Far ahead of its time it fired by a clock that was wrong.
    if nominal is not None and last_at is not None and nominal <= last_at <= nominal + write.back_s:
        return Verdict(UNKNOWN, write.job_id)
    values = (write.nominal, write.at, write.job_id, write.name)
    connection.execute(queries["fire_schedule"], values)
    return Verdict(NEW, write.job_id)
