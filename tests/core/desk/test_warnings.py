"""What is wrong, or will be: zmws.warnings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk import warnings
from zmws.core.options import service_options


def told(scene: Scene) -> dict[str, dict[str, Any]]:
    """The warnings by their codes."""
    status, rows = scene.ask("zmws.warnings", "watcher")
    assert status == 200
    assert all(set(row) == {"code", "text", "next", "service", "worker", "job"} for row in rows)
    return {row["code"]: row for row in rows}


def test_where_all_is_well_nothing_is_said() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j")
    scene.final("W", scene.token("W"))
    scene.pass_time(30)
    assert told(scene) == {}


def test_jobs_that_wait_without_a_worker_are_told_after_a_moment() -> None:
    scene = Scene()
    scene.submit("j")
    scene.pass_time(warnings.NO_WORKER_S - 1)
    assert told(scene) == {}, "it may be about to come"
    scene.pass_time(2)
    row = told(scene)["no_worker"]
    assert row["service"] == "E" and row["text"] == "E has no worker, and one job waits"
    assert "zmws start --workers" in row["next"]
    scene.submit("k")
    assert "2 jobs wait" in told(scene)["no_worker"]["text"]
    scene.ready("W")
    assert "no_worker" not in told(scene)


def test_a_paused_service_is_told_while_jobs_wait_and_nothing_else_of_it() -> None:
    scene = Scene()
    scene.ask("zmws.pause", service="E")
    assert told(scene) == {}
    scene.submit("j")
    scene.pass_time(60)
    assert told(scene)["paused"]["next"] == "zmws resume E" and "no_worker" not in told(scene)


def test_a_batch_that_nobody_closes_is_told_after_a_day_also_after_a_restart() -> None:
    scene = Scene()
    scene.ask("zmws.open", id="b")
    scene.ask("zmws.open", id="c")
    scene.suspended += warnings.OPEN_S - 1
    scene.pass_time(0)
    assert told(scene) == {}
    scene.suspended += 2
    scene.restart()
    row = told(scene)["batches_open"]
    assert row["text"] == "2 of 2 open batches have been open for more than a day; one is 'b'"
    for batch in "bc":
        scene.ask("zmws.close", id=batch)
    assert told(scene) == {}


def test_an_oldest_job_that_gets_older_and_older_is_told() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("runs")
    scene.submit("waits")
    scene.pass_time(warnings.GROWING_S - 5)
    assert "growing" not in told(scene)
    scene.pass_time(30)
    row = told(scene)["growing"]
    assert row["service"] == "E" and row["text"].startswith("the oldest job of E has waited 145 s")
    scene.final("W", scene.token("W"))
    scene.pass_time(1)
    assert "growing" not in told(scene)


@pytest.mark.parametrize("starts", [warnings.FLAPS - 1, warnings.FLAPS + 1])
def test_workers_that_die_again_and_again_are_told(starts: int) -> None:
    scene = Scene()
    for n in range(starts):
        scene.ready(f"W{n}", id=f"w{n}")
        scene.pass_time(100)  # it says nothing any more
    assert ("flapping" in told(scene)) is (starts > warnings.FLAPS)
    scene.pass_time(700)
    assert "flapping" not in told(scene), "that was longer ago than ten minutes"


def test_workers_that_leave_and_are_drained_do_not_flap() -> None:
    scene = Scene()
    for n in range(3 * warnings.FLAPS):
        scene.ready(f"W{n}", id=f"w{n}")
        if n % 2:
            scene.ask("zmws.drain", worker=f"w{n}")
            scene.pass_time(20)
        else:
            scene.work(f"W{n}", b"\x06")
    assert "flapping" not in told(scene)


def test_a_service_most_of_whose_jobs_fail_is_told_and_the_one_beside_it_is_not() -> None:
    scene = Scene(retries=0)
    scene.services["F"] = service_options({})
    scene.ready("W", "E")
    scene.ready("V", "F")
    for n in range(warnings.FAILING_MIN):
        scene.submit(f"e{n}")
        scene.final("W", scene.token("W"), b"FAIL")
        scene.submit(f"f{n}", "F")
        scene.final("V", scene.token("V"))
    row = told(scene)["failing"]
    assert row["service"] == "E" and row["next"] == "zmws failures --service E"
    assert f"{warnings.FAILING_MIN} of the last {warnings.FAILING_MIN} jobs" in row["text"]
    scene.alive |= {"W", "V"}
    scene.pass_time(700)
    assert "failing" not in told(scene), "that was longer ago than ten minutes"


def test_a_worker_that_does_not_let_go_is_told_with_its_job() -> None:
    scene = Scene()
    scene.ready("W")
    scene.alive.add("W")
    scene.submit("j")
    scene.ask("zmws.cancel", id="j")
    scene.pass_time(scene.limits.cancel_grace_s + 1)
    row = told(scene)["worker_hung"]
    assert (row["worker"], row["job"], row["service"]) == ("w", "j", "E")
    assert row["next"] == "zmws job stack j shows where it is"


def test_the_host_is_looked_at() -> None:
    scene = Scene()
    host = scene.core.host
    assert told(scene) == {}
    host.store_is_full, host.store_waits_for = True, "a lock"
    host.descriptors, host.descriptors_max, host.descriptors_warn_percent = 80, 100, 80
    found = told(scene)
    assert set(found) == {"disk_full", "store_waits", "descriptors"}
    assert "a lock" in found["store_waits"]["text"] and "80 of 100" in found["descriptors"]["text"]
    host.descriptors = 79
    assert "descriptors" not in told(scene)


def test_a_disk_that_will_be_full_is_told_by_its_rate() -> None:
    scene = Scene()
    host, free = scene.core.host, 10_000_000_000
    host.free_bytes_min = 1_000_000_000
    for n in range(warnings.DISK_LOOK_S + 10):
        host.free_bytes = free - n * 100_000  # 9 GB at 100 kB/s: 25 hours
        scene.pass_time(1)
    row = told(scene)["disk_filling"]
    assert "full in about 25" in row["text"] and "keep" in row["next"]
    host.store_is_full = True
    assert "disk_filling" not in told(scene), "it is"
    host.store_is_full, host.free_bytes = False, 2 * free
    scene.pass_time(1)
    assert "disk_filling" not in told(scene), "there is more room than before"


def test_one_large_file_fills_no_disk() -> None:
    scene = Scene()
    host = scene.core.host
    host.free_bytes_min = 1_000_000
    for n in range(warnings.DISK_LOOK_S + 10):
        host.free_bytes = 10_000_000_000 if n < 200 else 1_000_000_000
        scene.pass_time(1)
    assert "disk_filling" not in told(scene)


def test_of_very_many_of_a_kind_some_are_told_and_the_rest_is_counted() -> None:
    scene = Scene()
    most = warnings.WARNINGS_MAX + 7
    for n in range(most):
        scene.services[f"S{n}"] = service_options({})
    for n in range(most):
        scene.submit(f"j{n}", f"S{n}")
    scene.pass_time(10)
    rows = scene.ask("zmws.warnings")[1]
    assert len(rows) == warnings.WARNINGS_MAX + 1 and rows[-1]["text"] == "and 7 more like these"
