"""Figures over time: seconds in memory, rows a minute and an hour in the store, marks, usual durations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.figures import BUCKETS, COUNTED
from zmws.core.options import service_options
from zmws.core.series import ALL, COLUMNS, GAUGES, OTHER, SECONDS_KEPT, added
from zmws.core.writes import WriteSeries
from zmws.wire import mdp

START = int(WALL_AT_START)  # the first minute ends 40 s later


def lines(scene: Scene, name: str = "E") -> list[dict[str, Any] | None]:
    """The seconds of a service that memory has, the oldest first; None: the process stood still."""
    series = scene.core.series
    track = {ALL: series.all, OTHER: series.other}.get(name) or series.tracks[name]
    return [None if line is None else dict(zip(COLUMNS, line, strict=True)) for line in track.lines]


def rows(scene: Scene, name: str = "E", step: int = 60) -> dict[int, dict[str, Any]]:
    """The rows of a service in the store, by the seconds from the start to when their time began."""
    return {
        at - START: figures
        for (service, each, at), figures in sorted(scene.store.figures.items())  # type: ignore[attr-defined]
        if (service, each) == (name, step)
    }


def marks(scene: Scene) -> list[tuple[str, str, str | None]]:
    """Kind, text and service of each mark."""
    return [(mark.kind, mark.text, mark.service) for mark in scene.store.marks]  # type: ignore[attr-defined]


def stop(scene: Scene) -> None:
    """The broker ends in order."""
    scene.node.stop()
    scene.settle()


def works(scene: Scene, *jobs: str, takes: float = 0.0) -> None:
    """These are submitted and done by W, one after the other."""
    for job_id in jobs:
        scene.submit(job_id)
        scene.pass_time(takes)
        scene.final("W", scene.job(job_id).token or b"")


# ---------------------------------------------------------------- seconds


def test_a_sample_that_comes_just_before_its_second_is_over_is_the_only_one_of_it() -> None:
    scene = Scene()
    scene.pass_time(3)
    before = len(lines(scene, ALL))
    scene.steady_from -= 0.005
    scene.pass_time(10.5)
    assert len(lines(scene, ALL)) == before + 10 and None not in lines(scene, ALL)


def test_a_second_has_what_happened_in_it_and_how_it_was_at_its_end() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("a")
    scene.submit("b")
    scene.pass_time(1.5)
    scene.final("W", scene.job("a").token or b"")
    scene.pass_time(2.5)
    first, second, third, _ = lines(scene)
    assert first and second and third
    assert (first["submitted"], first["started"], first["complete"]) == (2, 1, 0)
    assert (first["waiting"], first["running"], first["slots"], first["oldest_s"]) == (1, 1, 1, 1.0)
    assert first["slots"] == 1 and (first["ran"], first["run_s"]) == (0, 0.0)
    assert (second["submitted"], second["started"], second["complete"]) == (0, 1, 1)
    assert (second["ran"], second["run_s"], second["wait_s"]) == (1, 1.5, 1.5)
    assert (second["waiting"], second["running"], second["oldest_s"]) == (0, 1, 0.0)
    assert not any(third[name] for name in COUNTED)


def test_the_seconds_for_each_reason_stand_in_the_line() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(1.25)
    scene.ask("zmws.pause", service="E")
    scene.pass_time(0.75)
    first, second = lines(scene)
    assert first and second
    assert (first["no_worker_s"], first["paused_s"]) == (1.0, 0.0)
    assert (second["no_worker_s"], second["paused_s"]) == (0.25, 0.75)


def test_ten_minutes_of_seconds_are_kept_and_what_does_not_change_is_kept_once() -> None:
    scene = Scene()
    scene.pass_time(SECONDS_KEPT + 100)
    assert len(lines(scene)) == len(lines(scene, ALL)) == len(lines(scene, OTHER)) == SECONDS_KEPT
    assert len({id(line) for line in scene.core.series.tracks["E"].lines}) == 1


def test_all_together_are_the_sum_of_each() -> None:
    scene = Scene(limits={"series_services_max": 1})
    for name in "FG":
        scene.services[name] = service_options({})
    for n, name in enumerate("EFGG"):
        scene.submit(f"j{n}", name)
    scene.pass_time(1)
    for name, count in (("E", 1), (OTHER, 3), (ALL, 4)):
        (line,) = lines(scene, name)
        assert line and (line["submitted"], line["waiting"]) == (count, count)
    assert set(scene.core.series.tracks) == {"E"}


def test_where_the_process_stood_still_the_seconds_have_no_lines_and_the_next_has_it_all() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(2)
    scene.now += 5  # nothing was done meanwhile
    scene.submit("b")
    scene.pass_time(1)
    *before, none, last, after = lines(scene)
    assert none is None and last and after
    assert before.count(None) == 3 and len(before) == 5, "two lines, and three that there are not"
    assert (last["submitted"], last["no_worker_s"]) == (1, 5.0) and after["no_worker_s"] == 1.0


def test_a_suspend_is_a_time_in_which_the_process_stood_still() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(2)
    scene.suspended += 3600
    scene.pass_time(2)
    found = lines(scene)
    assert len(found) == SECONDS_KEPT and found.count(None) == SECONDS_KEPT - 2
    assert sum(line["no_worker_s"] for line in found if line) == 3602.0


@pytest.mark.parametrize("late_s", [0.2, 0.6, 0.9])
def test_samples_that_come_late_shift_no_line(late_s: float) -> None:
    scene = Scene()
    scene.pass_time(10.1)
    for n in range(20):
        scene.now += 0.9 + late_s
        scene.pass_time(0.0)
        scene.pass_time(1.1 - late_s)
        if n == 9:
            scene.submit("j")
    series = scene.core.series
    first = series.second - len(series.all.lines)
    found = [first + n for n, line in enumerate(lines(scene, ALL)) if line and line["submitted"]]
    assert found == [START + 30] and series.second == START + 50 and len(series.all.lines) == 50


def test_lines_end_with_whole_seconds_wherever_the_broker_started() -> None:
    scene = Scene()
    scene.now += 0.7
    scene.pass_time(10)
    assert scene.core.series.sampled == pytest.approx(START + 10.0, abs=0.001)
    assert scene.core.series.second - len(lines(scene)) == START


def test_rates_are_those_of_the_last_minute() -> None:
    scene = Scene()
    for n in range(30):
        scene.submit(f"j{n}")
    scene.pass_time(10)
    assert scene.ask("zmws.stats")[1]["rates"]["submitted"] == 3.0
    scene.pass_time(45)
    assert scene.ask("zmws.stats")[1]["rates"]["submitted"] == pytest.approx(30 / 55, abs=0.001)
    scene.pass_time(10)
    assert scene.ask("zmws.stats")[1]["rates"] == dict.fromkeys(COUNTED, 0.0)


# ---------------------------------------------------------------- minutes and hours


def test_a_minute_goes_to_the_store_when_it_is_over_with_its_sums_and_histograms() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    works(scene, "a", "b", takes=3)
    assert not rows(scene)
    scene.pass_time(36)
    found = rows(scene)[-20]
    assert (found["submitted"], found["started"], found["complete"], found["ran"]) == (2, 2, 2, 2)
    assert found["run_s"] == 6.0 and found["run"] == {"11": 2}
    assert found["wait"] == {"0": 2} and "wait_s" not in found, "what is 0 is left out"
    assert found["running"] == 1 and "waiting" not in found, "of gauges the greatest stays"
    scene.pass_time(60)
    assert rows(scene)[40] == {"slots": 1}, "nothing was done in it"
    assert rows(scene, ALL)[-20]["run"] == {"11": 2}


def test_an_hour_is_the_sum_of_its_minutes() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    for n in range(40):
        works(scene, f"j{n}", takes=n % 7)
        scene.pass_time(170)
    stop(scene)
    for name in ("E", ALL):
        for hour, figures in rows(scene, name, 3600).items():
            minutes = [one for at, one in rows(scene, name).items() if hour <= at < hour + 3600]
            assert figures == added(minutes)
    assert sum(one.get("complete", 0) for one in rows(scene, "E", 3600).values()) == 40
    assert len(rows(scene, "E", 3600)) == 3


def test_what_there_is_of_a_minute_is_written_when_the_broker_stops_and_the_next_adds_to_it() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(10)
    stop(scene)
    assert rows(scene)[-20]["submitted"] == 1
    scene.now += 5
    scene.restart()
    scene.submit("b")
    scene.pass_time(0.25)
    stop(scene)
    assert rows(scene)[-20]["submitted"] == 2 and rows(scene)[-20]["no_worker_s"] == 10.25
    assert rows(scene, step=3600)[-800]["submitted"] == 2


def test_what_was_counted_before_the_first_sample_is_in_the_histograms_too() -> None:
    scene = Scene()
    scene.ready("W", "G")
    scene.submit("a", "G")
    scene.final("W", scene.token("W"))
    scene.pass_time(41)
    assert rows(scene, "G")[-20]["wait"] == {"0": 1} and rows(scene, "G")[-20]["run"] == {"0": 1}


def test_what_is_older_than_is_to_be_kept_is_forgotten() -> None:
    scene = Scene(limits={"series_minutes_keep_s": 300.0, "series_hours_keep_s": 7200.0})
    scene.pass_time(3 * 3600)
    assert min(rows(scene, ALL)) >= 3 * 3600 - 400 and len(rows(scene, ALL)) in (4, 5)
    assert len(rows(scene, ALL, 3600)) in (2, 3) and not marks(scene)


def test_a_batch_of_figures_is_one_write_a_minute() -> None:
    scene = Scene()
    scene.submit("a")
    scene.pass_time(600)
    written = [write for write in scene.written if isinstance(write, WriteSeries)]
    assert [write.at - START for write in written] == [-20 + 60 * n for n in range(10)]


# ---------------------------------------------------------------- services, and their places


def test_services_beyond_series_services_max_count_together_as_other() -> None:
    scene = Scene(limits={"series_services_max": 2})
    for name in "FGH":
        scene.services[name] = service_options({})
    for n, name in enumerate("EFGHH"):
        scene.submit(f"j{n}", name)
    scene.pass_time(41)
    assert set(scene.core.series.tracks) == {"E", "F"}
    assert {name: rows(scene, name)[-20]["submitted"] for name in ("E", "F", OTHER, ALL)} == {
        "E": 1,
        "F": 1,
        OTHER: 3,
        ALL: 5,
    }
    assert not rows(scene, "G") and not rows(scene, "H")
    assert scene.ask("zmws.series", service=OTHER)[1]["total"]["submitted"] == 3
    assert scene.ask("zmws.series", service="H")[1]["total"]["submitted"] == 3, "they have no others"


def strictly(scene: Scene, service: str) -> None:
    """A strict client asks for a service that nobody serves."""
    scene.receive("mdp", "S", [mdp.MDPC02, b"\x01", service.encode(), b"x"])


def test_a_service_that_is_forgotten_frees_its_place_when_its_minute_is_written() -> None:
    scene = Scene(limits={"series_services_max": 2, "unknown_service_ttl_s": 5.0})
    strictly(scene, "U")
    assert scene.service("U").clocks is not None
    scene.pass_time(6)
    assert "U" not in scene.core.held.services
    strictly(scene, "V")
    assert scene.service("V").clocks is None, "what U has counted is not written yet"
    scene.pass_time(36)
    strictly(scene, "X")
    assert scene.service("X").clocks is not None
    strictly(scene, "Y")
    assert scene.service("Y").clocks is None


def test_what_a_service_counted_that_is_forgotten_is_written_with_its_end() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 5.0})
    strictly(scene, "U")
    scene.pass_time(7)
    assert "U" not in scene.core.held.services
    last = lines(scene, ALL)[-1]
    assert last and (last["waiting"], last["oldest_s"]) == (0, 0.0)
    scene.pass_time(34)
    found = rows(scene, "U")[-20]
    assert (found["submitted"], found["expired"], found["no_worker_s"]) == (1, 1, 5.0)
    assert rows(scene, ALL)[-20]["expired"] == 1
    assert "U" not in scene.core.series.tracks


def test_a_service_that_comes_again_within_its_minute_counts_on() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 5.0})
    for _ in range(3):
        strictly(scene, "U")
        scene.pass_time(8)
    scene.pass_time(60)
    found = rows(scene, "U")[-20]
    assert (found["submitted"], found["expired"], found["no_worker_s"]) == (3, 3, 15.0)


def test_a_service_that_goes_before_its_first_sample_ends_nothing() -> None:
    scene = Scene(limits={"unknown_service_ttl_s": 0.25})
    strictly(scene, "U")
    scene.core.series.track_of(scene.service("U"))  # as a look at it does
    scene.pass_time(41)
    assert rows(scene, "U")[-20]["expired"] == 1


# ---------------------------------------------------------------- marks


def test_the_start_of_the_broker_is_marked_and_each_minutes_new_workers_are() -> None:
    scene = Scene()
    scene.pass_time(11)  # those of an earlier life are not told from others before
    for name in ("W", "V"):
        scene.ready(name)
    scene.ready("X", "G")
    scene.pass_time(30)
    assert marks(scene) == [
        ("broker", "the broker started, version ?", None),
        ("worker", "2 workers started", "E"),
        ("worker", "a worker started", "G"),
    ]
    scene.pass_time(120)
    assert len(marks(scene)) == 3


def test_a_worker_that_comes_back_is_no_new_one() -> None:
    scene = Scene()
    scene.pass_time(11)
    scene.ready("W")
    scene.pass_time(60)
    scene.work("W", b"\x06")
    scene.ready("W")
    scene.pass_time(60)
    assert [kind for kind, *_ in marks(scene)] == ["broker", "worker"]


def test_workers_that_come_back_after_a_restart_of_the_broker_are_not_marked_and_later_ones_are() -> None:
    scene = Scene()
    scene.pass_time(11)
    scene.ready("W")
    scene.pass_time(60)
    scene.restart()
    scene.pass_time(3)
    scene.ready("W")
    scene.pass_time(60)
    assert [kind for kind, *_ in marks(scene)] == ["broker", "worker", "broker"]
    scene.ready("V")
    scene.pass_time(60)
    assert [kind for kind, *_ in marks(scene)] == ["broker", "worker", "broker", "worker"]


def test_a_worker_that_was_started_just_before_the_stop_is_marked() -> None:
    scene = Scene()
    scene.pass_time(11)
    scene.ready("W")
    stop(scene)
    assert marks(scene)[-1] == ("worker", "a worker started", "E")


def test_workers_of_services_without_figures_of_their_own_are_marked_as_others() -> None:
    scene = Scene(limits={"series_services_max": 1})
    scene.pass_time(11)
    scene.ready("W", "G")
    scene.pass_time(60)
    assert marks(scene)[-1] == ("worker", "a worker started", OTHER)


# ---------------------------------------------------------------- usual durations


def usual(scene: Scene, which: str = "run") -> list[float]:
    return scene.core.series.track_of(scene.service()).usual(which)


def test_the_usual_durations_survive_a_restart() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    works(scene, *(f"j{n}" for n in range(9)), takes=15)
    before = scene.ask("zmws.why", id="j0")[1]["usual"]
    assert 10.0 < before["run"]["p50"] <= 20.0 and before["wait"]["p50"] <= 0.001
    stop(scene)
    scene.restart()
    assert scene.ask("zmws.why", id="j0")[1]["usual"]["run"] == pytest.approx(before["run"], rel=0.01)
    assert sum(usual(scene)) == pytest.approx(9, rel=0.05), "each counts once"


def test_what_was_usual_fades_in_a_day() -> None:
    scene = Scene()
    scene.ready("W")
    works(scene, "a", takes=15)
    assert sum(usual(scene)) == 1.0 and len(usual(scene)) == BUCKETS
    scene.pass_time(120)
    assert 0.99 < sum(usual(scene)) < 1.0
    stop(scene)
    scene.now += 43_200 - 120
    scene.restart()
    assert sum(usual(scene)) == pytest.approx(0.5, abs=0.02)
    stop(scene)
    scene.now += 90_000
    scene.restart()
    assert sum(usual(scene)) == 0.0


def test_figures_are_added_and_of_gauges_the_greatest_stays() -> None:
    one = {"submitted": 2, "waiting": 5, "wait": {"0": 1, "3": 2}}
    other = {"submitted": 3, "waiting": 4, "wait": {"3": 1}, "paused_s": 0.25}
    assert added([one, other]) == {
        "submitted": 5,
        "waiting": 5,
        "wait": {"0": 1, "3": 3},
        "paused_s": 0.25,
    }
    assert len(set(COLUMNS)) == len(COLUMNS), "each has a name of its own"
    assert added([]) == {} and set(GAUGES) == {"waiting", "running", "slots", "oldest_s"}


def test_a_service_that_is_called_other_counts_with_all_that_have_no_figures_of_their_own() -> None:
    scene = Scene(limits={"series_services_max": 2})
    for name in ("other", "F", "G"):
        scene.services[name] = service_options({})
    for name in ("other", "E", "F", "G"):
        scene.submit(f"of-{name}", name)
    scene.pass_time(2)
    status, told = scene.ask("zmws.series", service="other")
    assert status == 200 and told["total"]["submitted"] == 2
    rows = {row["service"]: row["submitted"] for row in scene.ask("zmws.metrics")[1]["services"]}
    assert rows == {"E": 1, "F": 1, "other": 2}
