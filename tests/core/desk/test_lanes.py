"""zmws.lanes: bars in rows, merged as asked, bounded; who is gone; what runs."""

from __future__ import annotations

import itertools
from typing import Any

from tests.stage import Scene
from zmws.core.ahead import JOBS_MIN
from zmws.core.desk import lanes_page
from zmws.core.desk.lanes_page import BARS_MAX, LaneShown, LanesPage, in_rows, merged
from zmws.core.lane import Bar, Lane
from zmws.core.rows import Rows
from zmws.core.states import COMPLETE, FAILED
from zmws.wire import mdp


def lanes(scene: Scene, **asked: Any) -> dict[str, Any]:
    """What zmws.lanes answers."""
    status, told = scene.ask("zmws.lanes", **asked)
    assert status == 200, told
    found: dict[str, Any] = told
    return found


def works(scene: Scene, name: str, *jobs: str, takes: float = 2.0) -> None:
    """A worker does these, one after the other."""
    for job_id in jobs:
        scene.submit(job_id)
        scene.pass_time(takes)
        scene.final(name, scene.token(name))


def drawn(bars: list[tuple[float, float]], running: tuple[float, ...] = (), step: float = 0.5) -> Any:
    """Start, end, row and jobs of the bars of a picture, of attempts from when to when."""
    ended = [Bar(start, end, "E", "j") for start, end in bars]
    found = in_rows(ended, [(start, "E", "r") for start in running], step)
    return [(one.start, one.end, one.row, one.jobs) for one in found]


def test_a_worker_is_told_with_its_bars_and_what_it_runs() -> None:
    scene = Scene()
    scene.ready("W", host="h", pid=7)
    scene.alive.add("W")
    scene.pass_time(10)
    works(scene, "W", "a", "b")
    scene.submit("c")
    scene.pass_time(3)
    told = lanes(scene)
    assert (told["now"], told["from"]) == ("2023-11-14T22:13:37.000Z", "2023-11-14T22:08:37.000Z")
    (lane,) = told["lanes"]
    bars = lane.pop("bars")
    assert lane == {
        **{"worker": "w", "host": "h", "pid": 7, "services": ["E"], "slots": 1},
        **{"since": "2023-11-14T22:13:20.000Z", "state": "busy", "gone_at": None, "why": None},
    }
    assert bars[0] == {
        **{"start": 293.0, "end": 295.0, "row": 0, "service": "E"},
        **{"jobs": 1, "failed": 0, "other": 0, "id": "a"},
    }
    assert [(one["start"], one["end"], one["id"]) for one in bars[1:]] == [
        *((295.0, 297.0, "b"), (297.0, None, "c")),
    ]
    assert (told["more"], told["step"], told["marks"][0]["kind"]) == (0, 1.0, "broker")


def test_who_vanished_is_told_as_gone_after_those_that_are_here() -> None:
    scene = Scene()
    for name in ("B", "A", "V"):
        scene.ready(name)
    scene.ready("D", "F")
    scene.alive |= {"A", "B", "D"}
    scene.unreach("V", "gone")
    scene.pass_time(20)
    scene.alive.discard("B")
    scene.work("B", mdp.W_DISCONNECT)
    told = lanes(scene)["lanes"]
    states = [(one["worker"], one["state"], one["why"]) for one in told]
    assert states[:3] == [("a", "idle", None), ("d", "idle", None), ("b", "gone", "left")]
    assert states[3][:2] == ("v", "gone") and states[3][2]
    assert told[2]["gone_at"] == "2023-11-14T22:13:40.000Z" > told[3]["gone_at"]
    since = "2023-11-14T22:13:39Z"
    assert [one["worker"] for one in lanes(scene, since=since)["lanes"]] == ["a", "d", "b"]


def test_those_of_a_service_or_one_or_only_so_many_may_be_asked_for() -> None:
    scene = Scene(limits={"lanes_workers_max": 3})
    for name, service in (("A", "E"), ("B", "E"), ("C", "F"), ("D", "E")):
        scene.ready(name, service)

    def named(**asked: Any) -> tuple[list[str], int]:
        told = lanes(scene, **asked)
        return [one["worker"] for one in told["lanes"]], told["more"]

    assert named() == (["a", "b", "c"], 1), "one has no lane"
    assert named(service="E") == (["a", "b"], 1)
    assert named(service="F") == (["c"], 0)
    assert named(worker="b") == (["b"], 0)
    assert named(worker="d") == ([], 1)
    assert named(limit=1) == (["a"], 3)
    assert scene.ask("zmws.lanes", worker="x")[1]["code"] == "unknown_worker"
    assert scene.ask("zmws.lanes", service="X")[1]["code"] == "unknown_service"


def test_only_what_ended_since_then_is_told_and_what_runs() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    works(scene, "W", "a", "b")
    scene.submit("c")
    (lane,) = lanes(scene, since="2023-11-14T22:13:23Z")["lanes"]
    assert [(one["id"], one["start"]) for one in lane["bars"]] == [("b", -1.0), ("c", 1.0)]
    told = lanes(scene, since="2033-01-01T00:00:00Z")
    assert told["from"] == told["now"]


def test_a_wall_that_was_stepped_moves_the_times_and_no_bar() -> None:
    scene = Scene()
    scene.ready("W")
    works(scene, "W", "a")
    scene.stepped = 3600.0
    told = lanes(scene)
    assert told["now"] == "2023-11-14T23:13:22.000Z"
    assert [(one["start"], one["end"]) for one in told["lanes"][0]["bars"]] == [(298.0, 300.0)]


def test_slots_are_rows_and_an_attempt_has_the_lowest_that_is_free() -> None:
    assert drawn([(0, 10), (1, 3), (2, 4), (3, 5)]) == [
        *((0, 10, 0, 1), (1, 3, 1, 1), (2, 4, 2, 1), (3, 5, 1, 1)),
    ]
    assert drawn([(1, 5), (6, 9)], running=(0, 4)) == [
        (0, None, 0, 1),
        (1, 5, 1, 1),
        (4, None, 2, 1),
        (6, 9, 1, 1),
    ]
    assert [one[2] for one in drawn([(0, 1), (0, 3), (0, 2), (4, 9), (5, 9), (6, 9)])] == [0, 1, 2, 0, 1, 2]
    scene = Scene()
    scene.ready("W", slots=2)
    scene.submit("a")
    scene.submit("b")
    assert [one["row"] for one in lanes(scene)["lanes"][0]["bars"]] == [0, 1]


def test_an_end_that_is_rounded_past_the_next_beginning_opens_no_row() -> None:
    near = 1.7e9
    assert [one[2] for one in drawn([(near, near + 2.0000004), (near + 2, near + 4)])] == [0, 0]


def test_short_bars_nearer_than_the_step_are_one_and_long_ones_stay() -> None:
    bars = [(0.0, 0.4), (0.6, 0.9), (1.0, 1.2), (1.3, 4.0), (4.1, 4.2)]
    assert drawn(bars, step=1.0) == [(0.0, 0.9, 0, 2), (1.0, 1.2, 0, 1), (1.3, 4.0, 0, 1), (4.1, 4.2, 0, 1)]
    assert [one[3] for one in drawn(bars, step=0.5)] == [1, 2, 1, 1]
    one = in_rows([Bar(0.0, 0.4, "E", "a"), Bar(0.6, 0.9, "F", "b")], [], 1.0)[0]
    assert (one.service, one.job_id) == (None, None)
    again = merged(in_rows([Bar(start, end, "E", "j") for start, end in bars], [(4.3, "E", "r")], 0.5), 8.0)
    assert [(one.start, one.end, one.jobs) for one in again] == [(0.0, 4.2, 5), (4.3, None, 1)]
    again = merged(
        in_rows([Bar(0.0, 0.4, "E", "a"), Bar(0.5, 4.0, "E", "b"), Bar(4.1, 4.2, "E", "c")], [], 0.5), 2.0
    )
    assert [(one.start, one.job_id) for one in again] == [(0.0, "a"), (0.5, "b"), (4.1, "c")]


def busy(jobs: int, takes: float) -> LaneShown:
    """A worker that has done so many jobs without pause."""
    lane = Lane(1000.0)
    for n in range(jobs):
        lane.ended((n + 1) * takes, takes, "E", f"j{n}", FAILED if n % 10 == 0 else COMPLETE)
    return LaneShown({"worker": "w"}, lane.since(0.0), [])


def test_there_are_no_more_bars_in_an_answer_than_so_many_and_none_is_left_out() -> None:
    import json

    for takes in (0.02, 0.5, 0.9):
        many = [busy(int(300 / takes), takes) for _ in range(60)]
        page = LanesPage(300.0, 0.0, 0.0, 0.5, many, 0)
        told = json.loads(page.render(Rows()))
        bars = list(itertools.chain.from_iterable(one["bars"] for one in told["lanes"]))
        assert len(bars) <= BARS_MAX and told["step"] > 0.5
        assert sum(one["jobs"] for one in bars) == 60 * int(300 / takes)
        assert sum(one["failed"] for one in bars) == 60 * len(range(0, int(300 / takes), 10))


def test_of_very_many_that_run_at_once_some_are_told() -> None:
    scene = Scene()
    scene.ready("W", slots=300)
    for n in range(150):
        scene.submit(f"j{n}")
    (lane,) = lanes(scene)["lanes"]
    assert len(lane["bars"]) == lanes_page.IN_HAND_MAX and lane["bars"][0]["id"] == "j0"


def test_what_was_sent_ahead_is_not_told_as_running() -> None:
    scene = Scene()
    scene.ready("W", prefetch=2)
    for n in range(JOBS_MIN):
        scene.submit(f"q{n}")
        scene.now += 0.001
        scene.final("W", scene.token("W"))
    for n in range(3):
        scene.submit(f"j{n}")
    (lane,) = lanes(scene)["lanes"]
    assert [one["id"] for one in lane["bars"] if one["end"] is None] == ["j0"]


def test_a_broker_that_was_started_anew_knows_what_runs_since_when() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("a")
    token = scene.token("W")
    scene.pass_time(1)
    scene.restart()
    scene.ready("W", holding=[token.decode()])
    scene.pass_time(1)
    (lane,) = lanes(scene)["lanes"]
    assert [(one["id"], one["start"], one["end"]) for one in lane["bars"]] == [("a", 298.0, None)]
    scene.final("W", token)
    (lane,) = lanes(scene)["lanes"]
    assert [(one["id"], one["start"], one["end"]) for one in lane["bars"]] == [("a", 298.0, 300.0)]
