"""Lists of what there is, their pages and filters, and the counters."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.limits import Limits
from zmws.wire import mdp


def old(scene: Scene, name: str) -> list[dict[str, Any]]:
    """What SERVER-* answers."""
    scene.receive("client", "O", [mdp.MDPC02, b"\x01", name.encode()])
    found: list[dict[str, Any]] = json.loads(scene.sent.pop("O")[0][3])
    return found


def ids(scene: Scene, **asked: Any) -> tuple[list[str], str | None]:
    status, page = scene.ask("zmws.jobs", **asked)
    assert status == 200
    return [job["id"] for job in page["jobs"]], page["next"]


@pytest.mark.parametrize("memory", [False, True])
def test_jobs_come_in_pages_the_newest_first(memory: bool) -> None:
    scene = Scene()
    for n in range(5):
        scene.submit(f"j{n}", durability="memory" if memory else "disk")
    scene.submit("other", durability="disk" if memory else "memory")
    page, cursor = ids(scene, limit=2, memory=memory)
    assert page == ["j4", "j3"] and cursor is not None
    page, cursor = ids(scene, limit=3, cursor=cursor, memory=memory)
    assert page == ["j2", "j1", "j0"]
    if memory:
        assert cursor is None and ids(scene, limit=5, memory=True)[1] is None
        assert ids(scene, limit=4, memory=True)[1] == "2"


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(
    ("given", "hit"),
    [
        ({"service": "F"}, ["f"]),
        ({"state": "scheduled"}, ["s"]),
        ({"group": "g"}, ["g"]),
        ({"since": "2023-11-14T22:13:30Z"}, ["late"]),
        ({"before": "2023-11-14T22:13:30Z"}, ["g", "s", "f"]),
        ({"since": "2023-11-14T22:13:20Z", "before": "2023-11-14T22:13:31Z"}, ["late", "g", "s", "f"]),
        ({"group": "none"}, []),
    ],
)
def test_each_field_of_a_filter_counts(given: dict[str, Any], hit: list[str], memory: bool) -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    kind = {"durability": "memory" if memory else "disk"}
    scene.submit("f", "F", **kind)
    scene.submit("s", delay=100, **kind)
    scene.submit("g", group="g", **kind)
    scene.pass_time(10)
    scene.submit("late", **kind)
    assert ids(scene, memory=memory, **given)[0] == hit


def test_only_so_many_lists_are_made_at_once() -> None:
    scene = Scene(limits={"lists_max": 2})
    for _ in range(5):
        assert scene.ask("zmws.jobs")[0] == 200
    assert scene.core.desk._lists._lists_asked == 0
    scene.core.desk._lists._lists_asked = 1
    assert scene.ask("zmws.jobs")[0] == 200
    scene.core.desk._lists._lists_asked = 2
    status, error = scene.ask("zmws.jobs")
    assert (status, error["code"]) == (429, "too_many_lists")
    assert scene.ask("zmws.jobs", memory=True)[0] == 200, "that one is in memory"


def test_services_are_told_by_name_with_all_their_counts() -> None:
    scene = Scene()
    scene.services["A"] = scene.services["E"]
    scene.ready("W", slots=2)
    scene.submit("runs")
    scene.submit("waits", "A")
    scene.pass_time(2)
    scene.submit("scheduled", "A", delay=9)
    assert scene.ask("zmws.services")[1] == [
        {
            "service": name,
            "waiting": waiting,
            "scheduled": waiting,
            "running": 1 - waiting,
            "failed": 0,
            "complete": 0,
            "workers": 1 - waiting,
            "idle": 1 - waiting,
            "oldest_s": 2.0 if waiting else None,
            "paused": False,
            "calls_complete": 0,
            "calls_failed": 0,
        }
        for name, waiting in (("A", 1), ("E", 0))
    ]


def test_workers_are_told_with_what_they_hold_and_when_they_were_heard() -> None:
    scene = Scene()
    scene.ready("W", host="box", pid=3)
    scene.submit("j")
    scene.pass_time(3)
    scene.foreign("F")
    ours, foreign = scene.ask("zmws.workers")[1]
    assert (ours["host"], ours["pid"], ours["heard_at"]) == ("box", 3, "2023-11-14T22:13:20.000Z")
    assert ours["jobs"] == [
        {"id": "j", "service": "E", "since": "2023-11-14T22:13:20.000Z", "state": "running"}
    ]
    assert (foreign["host"], foreign["pid"], foreign["slots"]) == (None, None, 1)
    assert (foreign["since"], foreign["heard_at"]) == ("2023-11-14T22:13:23.000Z",) * 2


def test_the_statistics_count_what_there_is() -> None:
    scene = Scene(limits={"history_max": 7})
    scene.ready("W")
    scene.submit("runs")
    scene.submit("waits")
    scene.submit("memory", durability="memory")
    scene.ask("zmws.wait", "A", id="waits")
    host = scene.core.desk.host
    host.version, host.pid, host.installation = "1", 7, "here"
    host.store_waits_for, host.descriptors, host.descriptors_max = "a disk", 3, 9
    scene.pass_time(2.5)
    scene.hold = True
    scene.submit("inserting")
    stats = scene.ask("zmws.stats")[1]
    limits, counters = stats.pop("limits"), stats.pop("counters")
    rates = stats.pop("rates")
    assert rates["submitted"] == 1.5 and rates["started"] == 0.5, "3 and 1 in 2 seconds"
    totals = stats.pop("totals")
    assert (totals["submitted"], totals["started"], totals["complete"]) == (3, 1, 0)
    assert limits == {f.name: getattr(scene.core.turn.limits, f.name) for f in fields(Limits)}
    assert limits["history_max"] == 7 and counters == {"workers_ready": 1}
    assert stats == {
        "version": "1",
        "libzmq": "",
        "started_at": "2023-11-14T22:13:20.000Z",
        "uptime_s": 2.5,
        "pid": 7,
        "installation": "here",
        "durability": "disk",
        "store_is_full": False,
        "store_waits_for": "a disk",
        "descriptors": 3,
        "descriptors_max": 9,
        "store_bytes": 0,
        "free_bytes": 0,
        "free_bytes_min": 0,
        "memory_bytes": 0,
        "cpu_s": 0.0,
        "workers": 1,
        "services": 1,
        "memory_jobs": 1,
        "stored_jobs_held": 3,
        "batches_open": 0,
        "waits": 1,
        "strict_held": 0,
        "strict_held_bytes": 0,
    }


def test_the_php_programs_lists() -> None:
    scene = Scene(limits={"list_rows_max": 2, "history_max": 2})
    scene.ready("W", slots=3)
    for n in range(3):
        scene.submit(f"r{n}")
    scene.pass_time(4)
    (worker,) = old(scene, "SERVER-WORKERS")
    assert worker == {"hb": 11.0, "service": "E", "workerid": "w", "state": "busy"}
    assert [job["id"] for job in old(scene, "SERVER-ACTIVE")] == ["r0", "r1"]
    assert old(scene, "SERVER-JOBS") == []
    for job_id, delay in (("w0", 0), ("s0", 9), ("w1", 0)):
        scene.submit(job_id, delay=delay)
    waiting = old(scene, "SERVER-JOBS")
    assert len(waiting) == 2 and waiting[0] == {
        "id": "w0",
        "service": "E",
        "state": "waiting",
        "attempt": 0,
        "created_at": "2023-11-14T22:13:24.000Z",
        "worker": None,
    }
    for job_id in ("r0", "r1", "r2"):
        scene.final("W", scene.job(job_id).token or b"")
    assert old(scene, "SERVER-HIST") == [
        {"id": n, "service": "E", "state": "complete", "ended_at": "2023-11-14T22:13:24.000Z", "attempt": 1}
        for n in ("r1", "r2")
    ]
    for name in ("A", "B"):
        scene.ready(name, id=f"id-{name}")
    assert len(old(scene, "SERVER-WORKERS")) == 2
