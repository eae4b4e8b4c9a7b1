"""What zmws relies on beside what its database does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zmws.store.sql.dialect import Connection

INSIGHT_VERSION = 6  # from which on a file has causes and figures
_OF_INSIGHT = frozenset(
    f"check_{what}" for what in ("stray_causes", "unknown_causes", "caused", "hours", "figures", "steps")
)

AUDIT_VERSION = 7  # and from which on it has an audit
WORKFLOWS_VERSION = 8  # batches and schedules
KEYS_VERSION = 9  # keys
_OF_WORKFLOWS = frozenset(
    f"check_{what}"
    for what in (
        *("batches", "ended_batches", "first", "batch_meta", "conclusions", "stray_conclusions"),
        *("concludes", "schedules"),
    )
)


def invariants(connection: Connection, said: Mapping[str, str], version: int) -> Iterator[str]:
    """What is wrong with that, in words. `said`: the statements; `version`: of the schema."""
    run = connection.execute
    for state, n in run(said["check_states"]):
        yield f"{n} jobs are in the state {state!r}, which there is not"
    for service, unique, n in run(said["check_unique"]):
        yield f"service {service}: {n} jobs hold the unique key {unique!r}"
    for name, what in (
        ("check_missing_bodies", "{n} jobs have no body, the first is {first}"),
        ("check_stray_bodies", "{n} bodies belong to no job, the first to number {first}"),
        ("check_stray_history", "{n} pieces of history belong to no job, the first to number {first}"),
        (
            "check_forgetting",
            "{n} jobs are to be forgotten and have not ended, or the reverse; one is {first}",
        ),
        ("check_stray_causes", "{n} jobs are noted for a cause that is not theirs, the first for {first}"),
        ("check_unknown_causes", "{n} jobs are noted for a cause that is not known, the first for {first}"),
        ("check_caused", "{n} jobs are not noted for their cause, the first is {first}"),
        ("check_hours", "{n} causes have hours that cannot be read, the first is {first}"),
        ("check_figures", "{n} figures of a time cannot be read, the first in entry {first}"),
        ("check_steps", "{n} figures are of no minute and of no hour, the first in entry {first}"),
        ("check_details", "{n} acts have a detail that cannot be read, the first is number {first}"),
        # (Of those that have ended, the records may have been forgotten: they cannot be counted.)
        ("check_batches", "{n} batches count more ends than members, or fewer than none; one is {first}"),
        ("check_ended_batches", "{n} batches have ended and are not kept as such, or the reverse: {first}"),
        ("check_first", "{n} batches name members in a way that cannot be read, one is {first}"),
        ("check_batch_meta", "{n} batches have a meta that cannot be read, one is {first}"),
        (
            "check_conclusions",
            "{n} batches are without the job that is to follow, or keep it; one is {first}",
        ),
        (
            "check_stray_conclusions",
            "{n} jobs that are to follow belong to no batch or cannot be read, one to number {first}",
        ),
        ("check_concludes", "{n} jobs tell of their batch what cannot be read, one is {first}"),
        ("check_schedules", "{n} schedules cannot be read or have no time, one is {first}"),
        ("check_keys", "{n} keys have rights that cannot be read, one is {first}"),
    ):
        if version < INSIGHT_VERSION and name in _OF_INSIGHT:
            continue
        if version < AUDIT_VERSION and name == "check_details":
            continue
        if version < WORKFLOWS_VERSION and name in _OF_WORKFLOWS:
            continue
        if version < KEYS_VERSION and name == "check_keys":
            continue
        n, first = run(said[name]).fetchone()
        if n:
            yield what.format(n=n, first=first)
    for cause, n, there in run(said["check_causes"]) if version >= INSIGHT_VERSION else ():
        yield f"cause {cause}: {n} jobs are counted, but there are {there}"
    kept = {(service, state): n for service, state, n in run(said["counts"]) if n}
    there = {(service, state): n for service, state, n in run(said["check_counts"])}
    for service, state in sorted(kept.keys() | there.keys()):
        was, is_ = kept.get((service, state), 0), there.get((service, state), 0)
        if was != is_:
            yield f"service {service}: {was} jobs are counted as {state}, but there are {is_}"
