"""What is known of one job."""

from __future__ import annotations

import pytest

from tests.stage import Scene


def test_only_so_many_records_are_read_at_once() -> None:
    scene = Scene(limits={"waits_max": 2})
    scene.submit("j")
    scene.hold = True
    scene.ask("zmws.pause", "P", service="E")  # a commit is under way, so reads wait
    assert scene.ask("zmws.job", "A", id="j") is None and scene.ask("zmws.events", "B", id="j") is None
    status, error = scene.ask("zmws.job", "D", id="j")
    assert (status, error["code"]) == (429, "too_many_waits")
    scene.hold = False
    scene.settle()
    assert scene.answer("A")[0] == scene.answer("B")[0] == 200
    for _ in range(4):
        assert scene.ask("zmws.job", id="j")[0] == 200
    scene.hold = True
    scene.ask("zmws.pause", "P", service="E")
    answers = [scene.ask("zmws.job", f"R{n}", id="j") for n in range(3)]
    assert answers[:2] == [None, None] and answers[2][0] == 429, "as many as before"


def test_a_record_shows_what_is_on_its_way_to_the_store() -> None:
    scene = Scene(limits={"partials_max": 0})
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.hold = True
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.25, "text": "a"}')
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.5, "text": "b"}')
    scene.partial("W", token, b"CONT", b"x")
    assert scene.ask("zmws.job", "A", id="j") is None
    scene.commit()
    scene.hold = False
    scene.settle()
    record = scene.answer("A")[1]
    assert (record["progress"], record["progress_text"], record["partials_cut"]) == (0.5, "b", 1)
    found = scene.ask("zmws.events", id="j")[1][-1]
    assert (found["kind"], found["done"], found["n"]) == ("progress", 0.5, 4)


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_a_wait_for_a_job_that_has_ended_is_its_record(kind: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", durability="disk" if kind == "stored" else "memory")
    scene.final("W", scene.token("W"), b"COMPLETE", b"PARAM-JSON: 1")
    status, record = scene.ask("zmws.wait", id="j", timeout=5)
    assert (status, record["result"], record["kind"]) == (200, 1, kind)
    assert scene.ask("zmws.stats")[1]["waits"] == 0


def test_a_wait_for_a_job_that_is_here_costs_no_read_of_its_record() -> None:
    scene = Scene(limits={"waits_max": 3})
    scene.submit("j")
    scene.reads.clear()
    scene.hold = True
    scene.ask("zmws.pause", "P", service="E")  # a commit is under way, so reads wait
    for name in ("A", "B"):
        assert scene.ask("zmws.job", name, id="j") is None
    assert scene.ask("zmws.wait", "W1", id="j") is None and scene.ask("zmws.wait", "W2", id="j") is None
    assert scene.ask("zmws.stats")[1]["waits"] == 2
    scene.hold = False
    scene.settle()
    assert len(scene.reads) == 2, "those of zmws.job"


def test_a_wait_that_comes_while_the_end_is_written_is_answered_behind_it() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.hold = True
    scene.final("W", token, b"COMPLETE", b"PARAM-JSON: 1")
    assert scene.ask("zmws.wait", "A", id="j", timeout=5) is None
    scene.hold = False
    scene.settle()
    assert scene.answer("A")[1]["result"] == 1


@pytest.mark.parametrize("verb", ["zmws.wait", "zmws.events"])
def test_who_waits_for_a_job_out_of_the_store_alone_is_told_of_it(verb: str) -> None:
    scene = Scene(limits={"window_jobs_max": 4})
    for n in range(12):
        scene.submit(f"j{n}")
    assert "j11" not in scene.core.held.stored
    more = {"after": 1} if verb == "zmws.events" else {}
    assert scene.ask(verb, "A", id="j11", timeout=50, **more) is None
    scene.ask("zmws.cancel", id="j11")
    status, told = scene.answer("A")
    assert status == 200 and (told[0] if verb == "zmws.events" else told)["state"] == "cancelled"


def test_a_record_that_was_forgotten_before_it_could_be_told_is_404() -> None:
    for verb, more in (("zmws.wait", {}), ("zmws.events", {"after": 3})):
        scene = Scene()
        scene.ready("W")
        scene.submit("j", keep=0)
        token = scene.token("W")
        scene.partial("W", token, b"LOG", b"x")
        scene.ask(verb, "A", id="j", timeout=50, **more)
        scene.lost.add("j")
        scene.final("W", token)
        status, error = scene.answer("A")
        assert (status, error["code"]) == (404, "unknown_job")
