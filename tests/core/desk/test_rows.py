"""Each row of the lists, whole, and how long a list may be."""

from __future__ import annotations

import json
from typing import Any

from tests.stage import Scene
from zmws.core.options import service_options
from zmws.wire import mdp

START = "2023-11-14T22:13:20.000Z"


def at(seconds: float) -> str:
    """The stage's time so many seconds after its start (less than 40)."""
    return f"2023-11-14T22:13:{20 + seconds:06.3f}Z"


def ids(page: Any) -> list[str]:
    status, body = page
    assert status == 200, body
    return [job["id"] for job in body["jobs"]]


def of_old(scene: Scene, name: str) -> list[dict[str, Any]]:
    scene.sent.pop("C", None)
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", name.encode()])
    ((*_, frame),) = scene.sent.pop("C")
    found: list[dict[str, Any]] = json.loads(frame)
    return found


def test_a_page_has_at_most_a_hundred_jobs_unless_told_and_never_more_than_list_rows_max() -> None:
    scene = Scene(limits={"list_rows_max": 120})
    for n in range(121):
        scene.submit(f"j{n}")
    assert len(ids(scene.ask("zmws.jobs"))) == 100 and len(ids(scene.ask("zmws.jobs", limit=120))) == 120
    status, body = scene.ask("zmws.jobs", limit=121)
    assert status == 400 and body["error"] == "'limit' is 121, but must be a whole number from 1 to 120"
    assert scene.ask("zmws.jobs", limit=0)[0] == 400
    assert len(ids(Scene(limits={"list_rows_max": 5}).ask("zmws.jobs"))) == 0


def test_a_list_leaves_out_parameters_and_cuts_errors() -> None:
    scene = Scene()
    scene.submit("j", retries=0, durability="memory")
    scene.ready("W")
    error = json.dumps({"code": "c", "error": "e" * 300, "type": "T", "traceback": "long"}).encode()
    scene.final("W", scene.token("W"), b"FAIL", b"PARAM-JSON: " + error)
    ((job,), _) = scene.ask("zmws.jobs", memory=True)[1].values()
    assert job["error"] == {"code": "c", "error": "e" * 200, "type": "T"}
    assert not {"params", "result", "attempts", "partials", "log"} & set(job)


def test_only_so_many_lists_are_made_at_once_and_those_of_memory_do_not_count() -> None:
    scene = Scene(limits={"lists_max": 2})
    assert scene.node.recovered
    scene.still = True
    for name in ("A", "B", "C"):
        scene.ask("zmws.jobs", name)
    scene.ask("zmws.jobs", "D", memory=True)
    scene.still = False
    scene.settle()
    assert [scene.answer(name)[0] for name in "ABD"] == [200, 200, 200]
    status, body = scene.answer("C")
    assert (status, body["code"]) == (429, "too_many_lists") and "lists_max" in body["error"]
    for _ in range(4):
        assert scene.ask("zmws.jobs")[0] == 200


def test_a_row_of_services_counts_all_that_there_is() -> None:
    scene = Scene()
    scene.services["A"] = service_options({"paused": True})
    for n in range(3):
        scene.submit(f"w{n}")
    scene.submit("later", delay=60)
    scene.submit("memory", durability="memory", priority=-5)
    scene.pass_time(2)
    names = [row["service"] for row in scene.ask("zmws.services")[1]]
    assert names == ["A", "E"]
    row = {
        "service": "E",
        "waiting": 4,
        "scheduled": 1,
        "running": 0,
        "failed": 0,
        "complete": 0,
        "workers": 0,
    }
    row |= {"idle": 0, "oldest_s": 2.0, "paused": False, "calls_complete": 0, "calls_failed": 0}
    assert scene.row() == row and scene.row("A")["paused"] is True
    scene.ready("W", slots=5)
    tokens = {frames[2].split(b"/")[0]: frames[2] for frames in scene.requests("W")}
    row |= {"waiting": 0, "running": 4, "workers": 1, "idle": 1, "oldest_s": None}
    assert scene.row() == row
    scene.final("W", tokens[b"w0"])
    scene.final("W", tokens[b"w1"], b"FAIL", b'PARAM-JSON: {"retry": false}')
    scene.final("W", tokens[b"memory"])
    assert scene.row() == row | {"running": 1, "failed": 1, "complete": 1, "calls_complete": 1}
    scene.submit("call", "SYNC-E")
    scene.final("W", scene.token("W"), b"FAIL")
    assert scene.row() == row | {
        "running": 1,
        "failed": 1,
        "complete": 1,
        "calls_complete": 1,
        "calls_failed": 1,
    }


def test_a_forgotten_service_is_in_no_list() -> None:
    scene = Scene()
    scene.ready("W", "F")
    scene.submit("j", "F")
    scene.final("W", scene.token("W"))
    scene.work("W", mdp.W_DISCONNECT)
    assert scene.ask("zmws.forget", service="F") == (200, {"service": "F"})
    assert [row["service"] for row in scene.ask("zmws.services")[1]] == ["E"]
    assert [scene.ask(f"zmws.{verb}")[0] for verb in ("services", "workers", "stats")] == [200] * 3


def test_a_row_of_workers_says_all_of_each() -> None:
    scene = Scene()
    scene.ready("W", host="box", pid=7, slots=2)
    scene.foreign("F")
    for job_id in ("a", "b", "c"):
        scene.submit(job_id)
    ours = {frames[2].split(b"/")[0]: frames[2] for frames in scene.requests("W")}
    scene.pass_time(1)
    scene.final("W", ours[b"a"])
    scene.beat("W", b"MEMORY 4096")
    scene.pass_time(1)
    mine, foreign = scene.ask("zmws.workers")[1]
    job = {"id": "c", "service": "E", "since": START, "state": "running"}
    row: dict[str, Any] = {"id": "w", "host": "box", "pid": 7, "services": ["E"], "slots": 2, "state": "busy"}
    row |= {"jobs": [job], "since": START, "done": 1, "failed": 0, "memory_bytes": 4_096, "heard_at": at(1)}
    assert mine == row
    assert foreign["id"].startswith("foreign-")
    job = {"id": "b", "service": "E", "since": START, "state": "running"}
    row = {"id": foreign["id"], "host": None, "pid": None, "services": ["E"], "slots": 1, "state": "busy"}
    row |= {"jobs": [job], "since": START, "done": 0, "failed": 0, "memory_bytes": None, "heard_at": START}
    assert foreign == row
    scene.ask("zmws.cancel", id="c")
    scene.pass_time(5)
    scene.beat("W")
    assert scene.ask("zmws.workers")[1][0]["jobs"][0]["state"] == "hung"
    scene.final("W", ours[b"c"], b"FAIL")
    assert scene.ask("zmws.workers")[1][0]["failed"] == 0, "what is over is none of its failures"


def test_stats_tell_of_the_process_the_jobs_the_counters_and_the_limits() -> None:
    scene = Scene(limits={"strict_held_bytes_max": 9_999}, max_waiting=4)
    host = scene.core.desk.host
    host.started_at, host.pid, host.installation = 1_700_000_000.0, 4_711, "abc"
    host.version, host.libzmq = "1.2.3", "4.3.5"
    host.store_bytes, host.free_bytes, host.memory_bytes, host.cpu_s = 1, 2, 3, 0.5
    host.store_is_full, host.store_waits_for, host.descriptors, host.descriptors_max = True, "a lock", 5, 64
    scene.submit("stored")
    for n in range(3):
        scene.submit(f"m{n}", durability="memory")
    for _ in range(2):
        scene.receive("mdp", "S", [mdp.MDPC02, b"\x01", b"E", b"xy"])
        scene.receive("mdp", "S", [mdp.MDPC02, b"\x01", b"E", b"xy"])
    scene.ask("zmws.wait", "V", id="stored")
    scene.foreign("F1", "F")
    scene.pass_time(2.0006)
    scene.hold = True
    scene.submit("on-its-way", "F", delay=9)
    _, stats = scene.ask("zmws.stats")
    overflow = scene.core.held.overflow
    told = {"started_at": START, "uptime_s": 2.001, "pid": 4_711, "installation": "abc", "durability": "disk"}
    told |= {"version": "1.2.3", "libzmq": "4.3.5"}
    told |= {"store_is_full": True, "store_waits_for": "a lock", "descriptors": 5, "descriptors_max": 64}
    told |= {
        "workers": 1,
        "services": 2,
        "memory_jobs": 4,
        "stored_jobs_held": 2,
        "waits": 1,
        "batches_open": 0,
    }
    told |= {"store_bytes": 1, "free_bytes": 2, "free_bytes_min": 0, "memory_bytes": 3, "cpu_s": 0.5}
    told |= {"strict_held": 3, "strict_held_bytes": overflow.bytes}
    assert {name: stats[name] for name in told} == told and overflow.bytes == 3 * (400 + 64 + 2)
    assert set(stats) == {*told, "counters", "limits", "rates", "totals"}
    assert stats["counters"]["strict_requests_held"] == 3 and list(stats["counters"]) == sorted(
        stats["counters"]
    )
    assert stats["limits"]["strict_held_bytes_max"] == 9_999


def test_server_jobs_lists_what_waits_and_what_is_scheduled_up_to_a_page() -> None:
    scene = Scene(limits={"list_rows_max": 4})
    scene.services["F"] = service_options({})
    for n in range(2):
        scene.submit(f"w{n}")
    scene.submit("s", delay=60)
    row = {"id": "w0", "service": "E", "state": "waiting", "attempt": 0, "created_at": START, "worker": None}
    assert of_old(scene, "SERVER-JOBS")[0] == row
    assert [(job["id"], job["state"]) for job in of_old(scene, "SERVER-JOBS")] == [
        ("w0", "waiting"),
        ("w1", "waiting"),
        ("s", "scheduled"),
    ]
    scene.submit("f0", "F")
    scene.submit("f1", "F")
    assert [job["id"] for job in of_old(scene, "SERVER-JOBS")] == ["w0", "w1", "s", "f0"]


def test_server_active_lists_what_runs_and_server_workers_who_is_there_up_to_a_page() -> None:
    scene = Scene(limits={"list_rows_max": 2})
    for n in range(3):
        scene.submit(f"j{n}")
        scene.ready(f"W{n}")
    scene.pass_time(2.0012)
    assert [(job["id"], job["worker"], job["attempt"]) for job in of_old(scene, "SERVER-ACTIVE")] == [
        ("j0", "w0", 1),
        ("j1", "w1", 1),
    ]
    rows = of_old(scene, "SERVER-WORKERS")
    assert rows[0] == {"hb": 12.999, "service": "E", "workerid": "w0", "state": "busy"} and len(rows) == 2
