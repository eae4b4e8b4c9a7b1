"""Figures over time, marks beside them, and how many jobs are ahead of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import finish, insert, unit, update
from tests.store.disk import by_hand, opened
from zmws.core.reads import ReadAhead, ReadSeries, ReadUsual
from zmws.core.rows import SeriesMark
from zmws.core.writes import FULL, WriteMark, WriteSeries
from zmws.store.base import Store
from zmws.store.sql.sql_files import queries
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

MINUTE, HOUR = 60, 3600
LAST = float(1 << 40)


def minute(
    at: int, minutes_from: float = 0.0, hours_from: float = 0.0, /, **services: dict[str, Any]
) -> WriteSeries:
    """The figures of services; those of `all` are of all together."""
    figures = [("" if name == "all" else name, one) for name, one in services.items()]
    return WriteSeries(at, figures, minutes_from, hours_from)


def mark(at: float, text: str = "deploy", service: str | None = None, by: str | None = None) -> WriteMark:
    return WriteMark(at, "mark", text, service, by)


def series(
    store: Store, service: str | None = None, step: int = MINUTE, since: float = 0.0, before: float = LAST
) -> list[tuple[int, str, dict[str, Any]]]:
    return store.read(ReadSeries(None, service, step, since, before, 1_000)).series


def marks(store: Store, service: str | None = None, since: float = 0.0, limit: int = 100) -> list[str]:
    read = ReadSeries(None, service, 0, since, LAST, limit)
    return [one.text for one in store.read(read).marks]


# ---------------------------------------------------------------- figures


def test_a_minute_is_kept_and_counts_in_its_hour(store: Store) -> None:
    figures = {"started": 3, "waiting": 7, "wait_s": 0.25, "wait": {"3": 2, "11": 1}}
    store.commit([minute(HOUR + MINUTE, S=figures, all={"started": 9})])
    assert series(store, "S") == [(HOUR + MINUTE, "", {"started": 9}), (HOUR + MINUTE, "S", figures)]
    assert series(store, "S", HOUR) == [(HOUR, "", {"started": 9}), (HOUR, "S", figures)]
    assert series(store) == [(HOUR + MINUTE, "", {"started": 9})]
    assert series(store, "T") == series(store)
    assert series(store, "S", 0) == []


def test_an_hour_is_the_sum_of_its_minutes_and_the_greatest_of_their_gauges(store: Store) -> None:
    for n, at in enumerate((0, MINUTE, HOUR - MINUTE, HOUR)):
        more = {"started": 1, "run_s": 0.125, "waiting": (5, 9, 2, 4)[n], "run": {str(n % 2): 1, "7": 2}}
        store.commit([minute(at, S=more)])
    assert series(store, "S", HOUR) == [
        (0, "S", {"started": 3, "run_s": 0.375, "waiting": 9, "run": {"0": 2, "7": 6, "1": 1}}),
        (HOUR, "S", {"started": 1, "run_s": 0.125, "waiting": 4, "run": {"1": 1, "7": 2}}),
    ]
    assert [at for at, _, _ in series(store, "S")] == [0, MINUTE, HOUR - MINUTE, HOUR]


def test_what_is_told_of_a_minute_twice_is_added_up(store: Store) -> None:
    # A broker that was restarted within it; the clock of its second run begins anew.
    store.commit([minute(MINUTE, S={"failed": 1, "oldest_s": 3.5}), minute(MINUTE, S={"complete": 2})])
    store.commit([minute(MINUTE + 30, S={"failed": 1, "complete": 1, "oldest_s": 1.5})])
    expected = {"failed": 2, "complete": 3, "oldest_s": 3.5}
    assert series(store, "S") == [(MINUTE, "S", expected)]
    assert series(store, "S", HOUR) == [(0, "S", expected)]


def test_a_service_and_all_together_are_told_by_time_the_earliest_first(store: Store) -> None:
    for n in (3, 1, 2):
        store.commit([minute(n * MINUTE, T={"started": n}, S={"started": 10 * n}, all={"started": 11 * n})])
    told = [(at, name, figures["started"]) for at, name, figures in series(store, "S")]
    assert told == [(n * MINUTE, name, k * n) for n in (1, 2, 3) for name, k in (("", 11), ("S", 10))]
    # From a time on, and before another.
    told = [(at, name) for at, name, _ in series(store, "T", MINUTE, 2.0 * MINUTE, 3.0 * MINUTE)]
    assert told == [(2 * MINUTE, ""), (2 * MINUTE, "T")]
    assert series(store, "T", MINUTE, 3.0 * MINUTE + 1) == []


def test_an_answer_has_no_more_times_than_it_may(store: Store) -> None:
    store.commit([minute(n * MINUTE, S={"started": n}, all={}) for n in range(1, 9)])
    found = store.read(ReadSeries(None, "S", MINUTE, 0.0, LAST, 3)).series
    assert found == series(store, "S")[:6]
    assert store.read(ReadSeries(None, None, MINUTE, 0.0, LAST, 3)).series == series(store)[:6]


def test_minutes_hours_and_marks_are_forgotten_by_their_age(store: Store) -> None:
    for n in range(4):
        store.commit([minute(n * HOUR, S={"started": 1}), mark(float(n * HOUR), f"m{n}")])
    store.commit([minute(4 * HOUR, 2.0 * HOUR, 1.0 * HOUR, S={"started": 1})])
    assert [at // HOUR for at, _, _ in series(store, "S")] == [2, 3, 4]
    assert [at // HOUR for at, _, _ in series(store, "S", HOUR)] == [1, 2, 3, 4]
    assert marks(store) == ["m1", "m2", "m3"]
    store.commit([minute(5 * HOUR, 2.0 * HOUR + 1, 1.0 * HOUR + 1, S={})])
    assert [at // HOUR for at, _, _ in series(store, "S")] == [3, 4, 5]
    assert [at // HOUR for at, _, _ in series(store, "S", HOUR)] == [2, 3, 4, 5]
    assert marks(store) == ["m2", "m3"]
    # Of a minute that is too old already nothing stays.
    store.commit([minute(0, 9.0 * HOUR, 9.0 * HOUR, S={"started": 1})])
    assert series(store, "S") == series(store, "S", HOUR) == [] and marks(store) == []


def test_the_usual_is_of_the_hours_of_all_services(store: Store) -> None:
    for n in range(3):
        store.commit([minute(n * HOUR, S={"run": {"1": n}}, T={"run": {"2": n}}, all={"run": {"3": n}})])
    found = store.read(ReadUsual(None, 1.0 * HOUR)).series
    assert [at for at, _, _ in found] == [HOUR] * 3 + [2 * HOUR] * 3
    assert sorted(found, key=lambda one: one[:2]) == [
        (n * HOUR, name, {"run": {bucket: n}})
        for n in (1, 2)
        for name, bucket in (("", "3"), ("S", "1"), ("T", "2"))
    ]
    assert store.read(ReadUsual(None, 2.0 * HOUR + 1)).series == []


def test_figures_and_marks_of_a_refused_unit_are_not_there(store: Store) -> None:
    store.commit([minute(0, S={"started": 1}), mark(1.0, "first")])
    refused = insert("x", only_if_known=True)
    told = store.commit(unit(minute(0, S={"started": 1}), mark(2.0, "second"), refused))
    assert [one.verdict for one in told] == [FULL]
    assert series(store, "S") == [(0, "S", {"started": 1})] and marks(store) == ["first"]


def test_very_many_old_figures_are_forgotten_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmws.store.sql.series.FORGOTTEN_MAX", 10)
    store = MemoryStore()
    store.commit([minute(n * MINUTE, S={"started": 1}) for n in range(25)])
    store.commit([mark(float(n), f"m{n}") for n in range(25)])
    left = []
    for _ in range(4):
        store.commit([minute(100 * HOUR, 99.0 * HOUR, 99.0 * HOUR, S={})])
        left.append((len(series(store, "S")) - 1, len(marks(store))))
    assert left == [(15, 15), (5, 5), (0, 0), (0, 0)]
    assert series(store, "S")[-1][0] == 100 * HOUR


# ---------------------------------------------------------------- marks


def test_a_mark_is_kept_with_who_made_it(store: Store) -> None:
    store.commit([WriteMark(5.5, "broker", "the broker started", None, None)])
    store.commit([WriteMark(6.5, "mark", "version 2 für S", "S", "anna")])
    assert store.read(ReadSeries(None, None, 0, 0.0, LAST, 9)).marks == [
        SeriesMark(5.5, "broker", "the broker started", None, None),
        SeriesMark(6.5, "mark", "version 2 für S", "S", "anna"),
    ]


def test_marks_are_by_time_and_of_a_service_or_of_all(store: Store) -> None:
    store.commit(
        [mark(3.0, "c"), mark(1.0, "a", "S"), mark(2.0, "b", "T"), mark(4.0, "d", "S"), mark(2.0, "b2")]
    )
    assert marks(store) == ["a", "b", "b2", "c", "d"]
    assert marks(store, "S") == ["a", "b2", "c", "d"]
    assert marks(store, "T") == ["b", "b2", "c"]
    assert marks(store, "nobody") == ["b2", "c"]
    assert marks(store, since=2.0) == ["b", "b2", "c", "d"]
    assert [one.text for one in store.read(ReadSeries(None, "S", 0, 1.5, 4.0, 9)).marks] == ["b2", "c"]
    # Of too many the newest.
    assert marks(store, limit=2) == ["c", "d"] and marks(store, "T", limit=2) == ["b2", "c"]


def test_marks_come_with_the_figures_of_their_time(store: Store) -> None:
    store.commit([minute(MINUTE, S={"started": 1}), mark(70.0, "in"), mark(500.0, "out")])
    found = store.read(ReadSeries(None, "S", MINUTE, 60.0, 120.0, 9))
    assert len(found.series) == 1 and [one.text for one in found.marks] == ["in"]


# ---------------------------------------------------------------- ahead


def ahead(store: Store, rank: float, number: int, limit: int = 100, **keys: Any) -> int | None:
    known = {"service": "S", "group": None} | keys
    return store.read(ReadAhead(None, key=(rank, number), since=0.0, limit=limit, **known)).next


def test_ahead_are_those_that_wait_in_the_group_by_rank_and_number(store: Store) -> None:
    writes = [insert(f"j{n}", rank=float(n // 3)) for n in range(9)]
    store.commit(writes)
    store.commit([insert("g", group="g", rank=0.0), insert("t", service="T", rank=0.0)])
    store.commit([insert("later", state="scheduled", rank=0.0), insert("done", rank=0.0), finish("done")])
    for n, write in enumerate(writes):
        assert ahead(store, float(n // 3), write.row["number"]) == n
    assert ahead(store, 99.0, 0) == 9 and ahead(store, -1.0, 1 << 40) == 0
    assert ahead(store, 99.0, 0, group="g") == 1 == ahead(store, 99.0, 0, service="T")
    assert ahead(store, 99.0, 0, group="nobody's") == 0
    # Counted up to a limit, wherever that falls.
    for limit in range(1, 12):
        assert ahead(store, 2.0, writes[7].row["number"], limit) == min(limit, 7)
    store.commit([update("j0", state="running")])
    assert ahead(store, 0.0, writes[1].row["number"]) == 0


def test_of_a_job_that_does_not_wait_nobody_is_ahead_and_the_minutes_are_told(store: Store) -> None:
    for n in range(5):
        told = {"started": n, "slots": 3, "slots_s": 1.5e-05 + n, "paused_s": n}
        store.commit([minute(n * MINUTE, S=told, T={}, all={"started": n, "seconds": 60})])
    store.commit([insert("a", rank=0.0)])
    found = store.read(ReadAhead(None, "S", None, None, 2.0 * MINUTE, 10))
    assert found.next is None
    clocks = ("seconds", "slots_s", "paused_s")
    assert found.series == [
        (at, name, {one: figures[one] for one in clocks if figures.get(one)})
        for at, name, figures in series(store, "S", MINUTE, 2.0 * MINUTE)
    ]
    assert store.read(ReadAhead(None, "S", None, (1.0, 0), LAST - 1, 10)).series == []


# ---------------------------------------------------------------- on disk


def test_figures_and_marks_are_there_after_the_file_was_opened_again(path: Path) -> None:
    store = opened(path)
    store.commit([minute(0, S={"started": 1, "run": {"4": 2}}, all={}), mark(5.0, "half \ud800")])
    before = store.read(ReadSeries(None, "S", MINUTE, 0.0, LAST, 9))
    store.close()
    store = opened(path)
    assert store.read(ReadSeries(None, "S", MINUTE, 0.0, LAST, 9)) == before
    assert before.marks[0].text == "half ?"
    store.commit([minute(0, S={"started": 1, "run": {"4": 1, "5": 1}})])
    assert series(store, "S")[-1] == (0, "S", {"started": 2, "run": {"4": 3, "5": 1}})
    store.close()


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        (
            "series",
            ("S", "", 60, 0, 9, 9),
            "sqlite_autoindex_series_1 (service=? AND step=? AND at>? AND at<?)",
        ),
        ("series_of_all", (0,), "series_age (step=? AND at>?)"),
        ("figures", ("S", 60, 0), "sqlite_autoindex_series_1 (service=? AND step=? AND at=?)"),
        ("forget_figures", (60, 0, 9), "COVERING INDEX series_age (step=? AND at<?)"),
        ("marks", (0, 9, "S", "S", 9), "marks_at (at>? AND at<?)"),
        ("forget_marks", (0, 9), "COVERING INDEX marks_at (at<?)"),
        ("causes", (0, "", 9), "causes_last ((last_at,cause)<(?,?))"),
        ("causes_of_service", ("S", 0, "", 9), "causes_of_service (service=? AND (last_at,cause)<(?,?))"),
        ("old_causes", (0, 9), "causes_last (last_at<?)"),
        ("ahead", ("S", "", 0, 0, 9), "jobs_waiting (service=? AND group=? AND rank<?)"),
        ("ahead", ("S", "", 0, 0, 9), "jobs_waiting (service=? AND group=? AND rank=? AND number<?)"),
    ],
)
def test_what_people_ask_of_figures_and_causes_goes_by_an_index(
    path: Path, name: str, values: tuple[Any, ...], index: str
) -> None:
    opened(path).close()
    with by_hand(path) as connection:
        text = "EXPLAIN QUERY PLAN " + queries()[name]
        plan = [row[3] for row in connection.execute(text, values)]
    assert any(index in step for step in plan), plan
    if name != "series":  # which sorts the little that it has
        assert not any("TEMP B-TREE" in step for step in plan), plan


DAMAGES = {
    "UPDATE series SET figures = 'nothing' WHERE step = 60": "1 figures of a time cannot be read",
    "UPDATE series SET figures = '[]' WHERE step = 3600": "1 figures of a time cannot be read",
    "UPDATE series SET figures = x'00'": "2 figures of a time cannot be read",
    "UPDATE series SET step = 61 WHERE step = 60": "1 figures are of no minute and of no hour",
    "UPDATE series SET at = 61 WHERE step = 60": "1 figures are of no minute and of no hour",
    "UPDATE series SET at = 60 WHERE step = 3600": "1 figures are of no minute and of no hour",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_check_notices_damage_to_figures(path: Path, damage: str) -> None:
    store = opened(path)
    store.commit([minute(HOUR, S={"started": 1}), mark(1.0)])
    store.close()
    assert upkeep.check(path) == []
    with by_hand(path) as connection:
        connection.execute(damage)
    problems = upkeep.check(path)
    assert any(DAMAGES[damage] in problem for problem in problems), problems


def test_figures_are_stored_as_short_as_can_be(path: Path) -> None:
    store = opened(path)
    store.commit([minute(0, S={"started": 1, "run": {"4": 2}})])
    store.close()
    with by_hand(path) as connection:
        found = connection.execute("SELECT figures FROM series").fetchall()
    assert {text for (text,) in found} == {'{"started":1,"run":{"4":2}}'}
    assert json.loads(found[0][0]) == {"started": 1, "run": {"4": 2}}
