"""Schedules: they are kept as they are written, and fire once for each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import finish, has, insert, said, unfinished, unit
from tests.store.disk import by_hand, opened
from zmws.core.reads import ReadSchedules
from zmws.core.rows import Row, ScheduleRow
from zmws.core.writes import NEW, UNKNOWN, FireSchedule, RemoveSchedule, Verdict, WriteSchedule
from zmws.store.base import Store
from zmws.store.sqlite import upkeep

FULL = ScheduleRow(
    name="nightly",
    service="S",
    body=(b"PARAM-JSON: {}", b"\0\xff"),
    options='{"retries": 1, "meta": {"a": "\\ud800"}}',
    cron="0 3 * * *",
    zone="Europe/Berlin",
    missed="all",
    missed_max=7,
    overlap="skip",
    jitter=1.5,
    until=9e9,
    paused=True,
    fixed=True,
    anchor=5.25,
    last_at=1.0,
    fired_at=2.0,
    last_id="x",
    fired=3,
    by="anna",
)
PLAIN = ScheduleRow(name="often", service="T", every=0.5, anchor=1.0)


def schedules(store: Store, name: str | None = None) -> list[tuple[ScheduleRow, Row | None]]:
    return store.read(ReadSchedules(None, name)).schedules


def schedule(store: Store, name: str = "often") -> ScheduleRow:
    ((found, _),) = schedules(store, name)
    return found


def fire(
    nominal: float | None, job_id: str = "cron:1", at: float = 50.0, name: str = "often"
) -> FireSchedule:
    return FireSchedule(name, nominal, at, job_id, back_s=100.0)


def firing(nominal: float | None, job_id: str) -> list[Any]:
    job = insert(job_id)
    job.spare_id = f"{job_id}-spare"
    return unit(fire(nominal, job_id), job)


def told(verdicts: list[Verdict]) -> list[tuple[str, str, bool]]:
    return [(one.verdict, one.job_id, one.by_unit) for one in verdicts]


def test_a_schedule_is_kept_as_it_was_written(store: Store) -> None:
    store.commit([WriteSchedule(PLAIN), WriteSchedule(FULL)])
    assert schedules(store) == [(FULL, None), (PLAIN, None)]
    assert schedules(store, "often") == [(PLAIN, None)] and schedules(store, "nobody") == []
    assert unfinished(store).schedules == [FULL, PLAIN]
    for (kept, _), given in zip(schedules(store), (FULL, PLAIN), strict=True):
        for name in ("paused", "fixed", "body", "fired"):
            assert type(getattr(kept, name)) is type(getattr(given, name))


def test_a_schedule_is_as_it_was_written_last_and_one_that_is_removed_is_no_more(store: Store) -> None:
    store.commit([WriteSchedule(FULL), WriteSchedule(PLAIN), WriteSchedule(replace(PLAIN, name="nightly"))])
    assert schedule(store, "nightly") == replace(PLAIN, name="nightly")
    store.commit([RemoveSchedule("nightly"), RemoveSchedule("nobody")])
    assert [one.name for one in unfinished(store).schedules] == ["often"]


def test_it_fires_once_for_each_time(store: Store) -> None:
    store.commit([WriteSchedule(PLAIN)])
    assert said(store.commit(firing(40.0, "cron:40"))) == [(NEW, "cron:40")] * 2
    assert schedule(store) == replace(PLAIN, last_at=40.0, fired_at=50.0, last_id="cron:40", fired=1)
    # The same time, and one before: nothing of the unit happens.
    for nominal in (40.0, 39.5, -60.0):
        verdicts = store.commit(firing(nominal, "cron:again"))
        assert told(verdicts) == [(UNKNOWN, "cron:again", False), (UNKNOWN, "cron:again", True)]
    assert not has(store, "cron:again") and schedule(store).fired == 1
    # It had fired for a time so far ahead that the clock was wrong then.
    assert said(store.commit(firing(-60.5, "cron:back"))) == [(NEW, "cron:back")] * 2
    assert schedule(store).last_at == -60.5 and schedule(store).fired == 2
    verdicts = store.commit([*firing(1.0, "a"), *firing(1.0, "b"), *firing(2.0, "c")])
    assert [one.verdict for one in verdicts] == [NEW, NEW, UNKNOWN, UNKNOWN, NEW, NEW]
    assert (schedule(store).last_at, schedule(store).last_id, schedule(store).fired) == (2.0, "c", 4)


def test_one_that_is_not_there_does_not_fire(store: Store) -> None:
    verdicts = store.commit(firing(40.0, "cron:40"))
    assert told(verdicts) == [(UNKNOWN, "cron:40", False), (UNKNOWN, "cron:40", True)]
    store.commit([WriteSchedule(PLAIN), RemoveSchedule("often"), *firing(None, "cron:run")])
    assert not has(store, "cron:40") and not has(store, "cron:run")


def test_by_hand_it_fires_whenever_and_its_times_stay(store: Store) -> None:
    store.commit([WriteSchedule(replace(PLAIN, last_at=1e6)), *firing(None, "run-1"), *firing(None, "run-2")])
    assert schedule(store) == replace(PLAIN, last_at=1e6, fired_at=50.0, last_id="run-2", fired=2)
    store.commit([WriteSchedule(PLAIN), *firing(None, "run-3")])
    assert schedule(store).last_at is None


def test_a_job_that_is_there_already_is_no_reason_not_to_have_fired(store: Store) -> None:
    store.commit([WriteSchedule(PLAIN), insert("cron:40"), insert("holder", unique="u")])
    assert said(store.commit(firing(40.0, "cron:40"))) == [(NEW, "cron:40"), ("existing", "cron:40")]
    job = insert("cron:41", unique="u")
    job.spare_id = "spare"
    verdicts = store.commit(unit(fire(41.0, "cron:41"), job))
    assert said(verdicts) == [(NEW, "cron:41"), ("unique_conflict", "holder")]
    assert schedule(store).last_at == 41.0 and schedule(store).fired == 2


def test_its_last_job_is_beside_it_as_lists_have_it(store: Store) -> None:
    store.commit([WriteSchedule(PLAIN), *firing(40.0, "cron:40")])
    store.commit([finish("cron:40", "failed", error={"code": "c", "error": "x" * 999, "traceback": "t"})])
    ((_, last),) = schedules(store)
    assert last is not None and (last["id"], last["state"], last["body"]) == ("cron:40", "failed", ())
    assert last["error"] == {"code": "c", "error": "x" * 200}
    # As a restart needs it, it has none.
    assert unfinished(store).schedules[0].last_id == "cron:40"


def test_a_firing_that_is_refused_with_its_unit_did_not_happen(store: Store) -> None:
    store.commit([WriteSchedule(PLAIN)])
    verdicts = store.commit(
        unit(fire(40.0), RemoveSchedule("often"), WriteSchedule(FULL), insert("x", only_if_known=True))
    )
    assert told(verdicts) == [("full", "x", True), ("full", "x", False)]
    assert schedules(store) == [(PLAIN, None)]


def test_schedules_survive_a_restart(path: Path) -> None:
    store = opened(path)
    store.commit([WriteSchedule(PLAIN), WriteSchedule(FULL), *firing(40.0, "cron:40")])
    store.close()
    store = opened(path)
    assert unfinished(store).schedules == [FULL, schedule(store)] and schedule(store).last_at == 40.0
    assert store.commit(firing(40.0, "cron:40"))[0].verdict == UNKNOWN
    store.close()
    assert upkeep.check(path) == []


@pytest.mark.parametrize(
    "damage", ["options = '[]'", "options = 'x'", "cron = NULL", "every = 1", "fired = -1"]
)
def test_a_check_notices_damage_to_schedules(path: Path, damage: str) -> None:
    store = opened(path)
    store.commit([WriteSchedule(FULL)])
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        connection.execute(f"UPDATE schedules SET {damage}")
    assert upkeep.check(path) == ["1 schedules cannot be read or have no time, one is nightly"]
