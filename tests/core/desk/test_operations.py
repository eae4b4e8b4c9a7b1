"""What an operator does to jobs and services: one, many, and what is passed over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.desk.operations import CHUNK_ROWS
from zmws.core.reads import ReadJob, ReadMatching


def ended(scene: Scene, *job_ids: str, **options: Any) -> None:
    """Jobs that were cancelled."""
    for job_id in job_ids:
        scene.submit(job_id, **options)
        scene.ask("zmws.cancel", id=job_id)


STATES = ("scheduled", "waiting", "running", "complete", "failed", "cancelled", "expired")


def one_in(state: str, kind: str = "stored") -> Scene:
    """A scene with one job `j` in this state."""
    scene = Scene()
    more: dict[str, Any] = {"durability": "disk" if kind == "stored" else "memory"}
    if state in ("running", "complete", "failed"):
        scene.ready("W")
        scene.submit("j", **more)
        if state != "running":
            said = () if state == "complete" else (b"FAIL", b'PARAM-JSON: {"retry": false}')
            scene.final("W", scene.token("W"), *said)
            scene.work("W", b"\x06")
        return scene
    if state == "scheduled":
        more["delay"] = 100
    elif state == "expired":
        more["expires"] = 1
    scene.submit("j", **more)
    if state == "cancelled":
        scene.ask("zmws.cancel", id="j")
    elif state == "expired":
        scene.pass_time(1)
    return scene


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("verb", "possible"),
    [
        ("zmws.cancel", {"scheduled", "waiting", "running"}),
        ("zmws.retry", {"failed", "cancelled", "expired"}),
        ("zmws.delete", {"complete", "failed", "cancelled", "expired"}),
    ],
)
@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_what_can_be_done_to_a_job_depends_on_its_state(
    verb: str, possible: set[str], state: str, kind: str
) -> None:
    scene = one_in(state, kind)
    assert scene.state("j") == state
    status, body = scene.ask(verb, id="j")
    if state in possible and (kind == "stored" or verb == "zmws.cancel"):
        assert (status, body) == (200, {"count": 1})
        after = {"zmws.cancel": "cancelled", "zmws.retry": "waiting"}.get(verb)
        assert scene.ask("zmws.job", id="j")[0] == (404 if after is None else 200)
        assert after is None or scene.state("j") == after
        assert scene.ask(verb, id="j")[0] == (404 if after is None else 409)
    else:
        assert (status, body["code"]) == (409, "not_possible") and scene.state("j") == state


def test_of_an_unknown_job_nothing_can_be_done() -> None:
    for verb in ("zmws.cancel", "zmws.retry", "zmws.delete"):
        status, error = Scene().ask(verb, id="j")
        assert (status, error["code"]) == (404, "unknown_job")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("verb", "acts"),
    [
        ("zmws.cancel", {"scheduled", "waiting", "running"}),
        ("zmws.retry", {"failed"}),
        ("zmws.delete", {"complete", "failed", "cancelled", "expired"}),
    ],
)
def test_a_filter_acts_on_stored_jobs_in_the_states_that_the_verb_is_for(
    verb: str, acts: set[str], state: str
) -> None:
    scene = one_in(state)
    told = {"count": int(state in acts)} | ({} if verb == "zmws.cancel" else {"passed_over": 0})
    assert scene.ask(verb, service="E") == (200, told)
    scene = one_in(state, "memory")
    told["count"] = 0
    assert scene.ask(verb, all=True) == (200, told) and scene.state("j") == state


@pytest.mark.parametrize(
    ("verb", "given", "status"),
    [
        ("zmws.cancel", {}, 400),
        ("zmws.cancel", {"all": False}, 400),
        ("zmws.cancel", {"all": True}, 200),
        ("zmws.cancel", {"state": "complete"}, 400),
        ("zmws.cancel", {"state": "running"}, 200),
        ("zmws.retry", {"state": "expired"}, 200),
        ("zmws.retry", {"state": "complete"}, 400),
        ("zmws.delete", {"state": "waiting"}, 400),
        ("zmws.delete", {"group": "g"}, 200),
    ],
)
def test_a_filter_says_something_and_nothing_that_the_verb_is_not_for(
    verb: str, given: dict[str, Any], status: int
) -> None:
    assert Scene().ask(verb, **given)[0] == status


def test_each_field_of_a_filter_counts() -> None:
    for given, hit in (
        ({"service": "F"}, {"f"}),
        ({"state": "scheduled"}, {"s"}),
        ({"group": "g"}, {"g"}),
        ({"since": "2023-11-14T22:13:30Z"}, {"late"}),
        ({"before": "2023-11-14T22:13:30Z"}, {"f", "s", "g", "e"}),
        ({"service": "E", "group": "g"}, {"g"}),
        ({"service": "F", "group": "g"}, set()),
    ):
        scene = Scene()
        scene.services["F"] = scene.services["E"]
        scene.submit("f", "F")
        scene.submit("s", delay=100)
        scene.submit("g", group="g")
        scene.submit("e")
        scene.pass_time(10)
        scene.submit("late")
        assert scene.ask("zmws.cancel", **given) == (200, {"count": len(hit)}), given
        states = {job_id: scene.state(job_id) for job_id in ("f", "s", "g", "e", "late")}
        assert {job_id for job_id, state in states.items() if state == "cancelled"} == hit, given


def test_a_filter_works_in_chunks_and_touches_nothing_that_came_after_it() -> None:
    assert CHUNK_ROWS == 250
    scene = Scene()
    for n in range(CHUNK_ROWS + 5):
        scene.submit(f"j{n}")
    scene.hold = True
    assert scene.ask("zmws.cancel", service="E") is None
    scene.submit("later", name="D")
    scene.hold = False
    scene.settle()
    assert scene.answer() == (200, {"count": CHUNK_ROWS + 5}) and scene.state("later") == "waiting"
    pages = [one for one in scene.reads if isinstance(one, ReadMatching)]
    assert [(one.after, one.limit, one.last) for one in pages][:2] == [(0, 250, 255), (250, 250, 255)]


def test_a_filter_passes_over_jobs_whose_unique_key_is_taken_and_one_that_is_named_says_so() -> None:
    scene = Scene()
    for job_id in ("a", "b", "c"):
        scene.submit(job_id, **({"unique": "k"} if job_id != "c" else {}))
        scene.ask("zmws.cancel", id=job_id)
    scene.submit("holder", unique="k")
    status, error = scene.ask("zmws.retry", id="a")
    assert (status, error["code"]) == (409, "not_possible") and "'holder'" in error["error"]
    assert scene.ask("zmws.retry", state="cancelled") == (200, {"count": 1, "passed_over": 2})
    assert scene.row()["waiting"] == 2 and scene.service().ended["cancelled"] == 2


def test_a_job_out_of_the_store_is_read_without_what_it_was_given() -> None:
    scene = Scene(limits={"window_jobs_max": 4})
    for n in range(12):
        scene.submit(f"j{n}")
    scene.reads.clear()
    assert scene.ask("zmws.cancel", id="j11") == (200, {"count": 1})
    assert [read.whole for read in scene.reads if isinstance(read, ReadJob)] == [False]


def test_a_job_that_is_being_retried_is_left_alone_until_that_is_decided() -> None:
    scene = Scene()
    ended(scene, "j")
    scene.hold = True
    scene.ask("zmws.retry", "A", id="j")
    scene.commit()  # the read; the revival is on its way
    scene.ask("zmws.delete", "B", id="j")
    scene.hold = False
    scene.settle()
    assert scene.answer("A") == (200, {"count": 1})
    assert scene.answer("B")[0] == 409 and scene.state("j") == "waiting"


def test_what_is_deleted_counts_no_more() -> None:
    scene = Scene(retries=0)
    scene.ready("W")
    for n in range(3):
        scene.submit(f"j{n}")
        scene.final("W", scene.token("W"), *(() if n else (b"FAIL",)))
    assert (scene.row()["complete"], scene.row()["failed"]) == (2, 1)
    scene.ask("zmws.delete", id="j1")
    assert (scene.row()["complete"], scene.row()["failed"]) == (1, 1)
    assert scene.ask("zmws.delete", all=True) == (200, {"count": 2, "passed_over": 0})
    assert (scene.row()["complete"], scene.row()["failed"]) == (0, 0)


def test_a_job_that_ends_while_it_is_looked_up_is_looked_up_once_more() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.hold = True
    scene.final("W", token)
    assert scene.ask("zmws.delete", id="j") is None, "its end is not on disk"
    scene.hold = False
    scene.settle()
    assert scene.answer() == (200, {"count": 1})


# ---------------------------------------------------------------- services


def test_a_purge_cancels_all_that_waits_of_both_kinds_and_what_is_kept() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("runs")
    for prefix, more in (("s", {}), ("m", {"durability": "memory"})):
        scene.submit(prefix + "1", **more)
        scene.submit(prefix + "2", delay=100, **more)
    scene.service().options.max_waiting = 1
    for _ in range(2):
        scene.receive("mdp", "M", [b"MDPC02", b"\x01", b"E", b"x"])
    assert scene.row()["waiting"] == 4
    assert scene.ask("zmws.purge", service="E") == (200, {"count": 6})
    assert (scene.row()["waiting"], scene.row()["scheduled"], scene.row()["running"]) == (0, 0, 1)
    assert scene.core.held.overflow.count == 0
    failed = [frames for frames in scene.sent["M"] if frames[3] == b"FAIL: E"]
    assert len(failed) == 2 and b'"code": "cancelled"' in failed[0][4]
    assert scene.counted("jobs_cancelled") == 4


@pytest.mark.parametrize("verb", ["zmws.purge", "zmws.pause", "zmws.resume", "zmws.forget"])
def test_an_unknown_service_is_told(verb: str) -> None:
    status, error = Scene().ask(verb, service="NOPE")
    assert (status, error["code"]) == (404, "unknown_service")


def test_what_an_operator_paused_stays_so_and_beats_the_configuration() -> None:
    scene = Scene(paused=True)
    assert scene.ask("zmws.resume", service="E") == (200, {"service": "E", "paused": False})
    scene.restart()
    assert scene.row()["paused"] is False
    assert scene.ask("zmws.pause", service="E") == (200, {"service": "E", "paused": True})
    scene.restart()
    assert scene.row()["paused"] is True
    texts = [text for level, text in scene.log if level == "info"]
    assert "E is resumed" in texts and "E is paused" in texts


def test_a_service_is_forgotten_only_when_nothing_needs_it() -> None:
    scene = Scene()
    assert "the settings name it" in scene.ask("zmws.forget", service="E")[1]["error"]
    scene.ready("W", "X")
    assert scene.ask("zmws.forget", service="X")[0] == 409
    scene.work("W", b"\x06")
    scene.ask("zmws.lease", "L", service="X", lease="l", wait=5)
    assert scene.ask("zmws.forget", service="X")[0] == 409
    scene.pass_time(5)
    scene.submit("j", "X")
    assert "have not ended" in scene.ask("zmws.forget", service="X")[1]["error"]
    scene.ask("zmws.cancel", id="j")
    scene.ask("zmws.pause", service="X")
    assert scene.ask("zmws.forget", service="X") == (200, {"service": "X"})
    assert "X" in scene.core.held.services, "the record of its job is kept"
    assert [row["service"] for row in scene.ask("zmws.services")[1]] == ["E"]
    scene.restart()
    assert scene.ask("zmws.pause", service="X")[0] == 404
    scene.ready("W", "X")
    assert scene.row("X")["paused"] is False


def test_more_jobs_than_one_chunk_holds_are_cancelled_revived_and_deleted() -> None:
    scene, many = Scene(), 2 * CHUNK_ROWS + 1
    for n in range(many):
        scene.submit(f"j{n}", delay=1000)
    for verb, given in (
        ("zmws.cancel", {}),
        ("zmws.retry", {"state": "cancelled"}),
        ("zmws.cancel", {}),
        ("zmws.delete", {}),
    ):
        assert scene.ask(verb, service="E", **given)[1]["count"] == many
