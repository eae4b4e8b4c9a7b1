"""Who waits for an answer about a job, and what they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene


def news(scene: Scene) -> list[tuple[str, dict[str, Any]]]:
    return [(topic.decode(), json.loads(body)) for topic, body in scene.sent.pop("news", [])]


def test_who_waits_is_told_at_the_end_or_that_it_is_not_over_yet() -> None:
    scene = Scene()
    scene.submit("j")
    for name, timeout in (("A", 5), ("B", 10), ("C1", 3600)):
        assert scene.ask("zmws.wait", name, id="j", timeout=timeout) is None
    assert scene.ask("zmws.stats")[1]["waits"] == 3
    scene.pass_time(4.9)
    assert scene.answer("A") is None
    scene.pass_time(0.1)
    assert scene.answer("A") == (202, {"id": "j"}) and scene.answer("B") is None
    assert scene.ask("zmws.stats")[1]["waits"] == 2
    scene.ready("W")
    scene.final("W", scene.token("W"), b"COMPLETE", b"PARAM-JSON: 4")
    for name in ("B", "C1"):
        status, record = scene.answer(name)
        assert (status, record["state"], record["result"]) == (200, "complete", 4)
    assert scene.ask("zmws.stats")[1]["waits"] == 0
    scene.pass_time(20)
    assert scene.answer("B") is None and scene.core.watchers.waits == {}


def test_a_repeat_of_a_wait_waits_no_longer_than_the_first() -> None:
    scene = Scene()
    scene.submit("j")
    scene.ask("zmws.wait", "A", id="j", timeout=5)
    scene.ask("zmws.wait", "A", id="j", timeout=50)
    assert scene.ask("zmws.stats")[1]["waits"] == 1
    scene.pass_time(5)
    assert scene.answer("A") == (202, {"id": "j"}) and scene.answer("A") is None
    assert scene.core.watchers.waits == {}


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_the_record_that_ends_a_wait_has_its_partials_and_its_log(kind: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j", durability="disk" if kind == "stored" else "memory")
    scene.ask("zmws.wait", "A", id="j")
    token = scene.token("W")
    scene.partial("W", token, b"LOG", b"said")
    scene.partial("W", token, b"CONT", b"PARAM-JSON: 1")
    scene.final("W", token)
    status, record = scene.answer("A")
    assert (status, record["log"], record["partials"], record["kind"]) == (200, ["said"], [1], kind)


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_who_looks_on_is_told_of_the_next_event_and_of_nothing_at_the_timeout(kind: str) -> None:
    scene = Scene()
    scene.submit("j", durability="disk" if kind == "stored" else "memory")
    assert scene.ask("zmws.events", "A", id="j")[1][0]["state"] == "waiting"
    assert scene.ask("zmws.events", "A", id="j", after=1) == (200, [])
    assert scene.ask("zmws.events", "A", id="j", after=1, timeout=5) is None
    assert scene.ask("zmws.events", "B", id="j", after=3, timeout=7) is None
    scene.ask("zmws.events", "B", id="j", after=3, timeout=70)
    assert scene.ask("zmws.stats")[1]["waits"] == 2
    scene.pass_time(4.9)
    assert scene.answer("A") is None
    scene.pass_time(0.1)
    assert scene.answer("A") == (200, []) and scene.ask("zmws.stats")[1]["waits"] == 1
    scene.ready("W")  # event 2: it runs
    assert scene.answer("B") is None
    token = scene.token("W")
    scene.partial("W", token, b"LOG", b"three")
    assert scene.answer("B") is None
    scene.partial("W", token, b"LOG", b"four")
    status, events = scene.answer("B")
    assert status == 200 and [(one["n"], one["kind"], one["text"]) for one in events] == [(4, "log", "four")]
    assert scene.ask("zmws.stats")[1]["waits"] == 0
    scene.ask("zmws.events", "B", id="j", after=4, timeout=2)
    scene.pass_time(2)
    assert scene.answer("B") == (200, [])
    scene.final("W", token)
    assert scene.ask("zmws.events", "B", id="j", after=5, timeout=2) == (200, []), "it has ended"


def test_an_answer_has_at_most_so_many_events() -> None:
    scene = Scene(limits={"list_rows_max": 3})
    scene.ready("W")
    scene.submit("j")
    for n in range(4):
        scene.partial("W", scene.job("j").token or b"", b"LOG", b"%d" % n)
    assert [event["n"] for event in scene.ask("zmws.events", id="j")[1]] == [1, 2, 3]
    assert [event["n"] for event in scene.ask("zmws.events", id="j", after=3)[1]] == [4, 5, 6]


def test_a_watch_that_was_answered_early_goes_on_for_the_rest_of_its_time() -> None:
    scene = Scene()
    scene.submit("j")
    scene.ask("zmws.events", "A", id="j", after=9, timeout=10)
    scene.pass_time(6)
    scene.ready("W")
    assert scene.answer("A") is None
    scene.pass_time(3.75)
    assert scene.answer("A") is None
    scene.pass_time(0.25)
    assert scene.answer("A") == (200, [])


def test_who_looks_on_past_the_last_log_line_costs_no_read_until_there_is_more() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.partial("W", token, b"LOG", b"three")
    reads = scene.reads
    reads.clear()
    assert scene.ask("zmws.events", "A", id="j", after=3, timeout=60) is None
    assert len(reads) == 1
    scene.pass_time(3)
    assert len(reads) == 1
    scene.partial("W", token, b"LOG", b"four")
    assert [event["n"] for event in scene.answer("A")[1]] == [4] and len(reads) == 2


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_who_looks_on_past_a_later_event_is_told_at_the_end(kind: str) -> None:
    scene = Scene()
    scene.submit("j", durability="disk" if kind == "stored" else "memory")
    for name, after in (("A", 1), ("B", 50)):
        scene.ask("zmws.events", name, id="j", after=after, timeout=60)
    scene.ready("W")
    assert scene.answer("A")[1][0]["state"] == "running" and scene.answer("B") is None
    assert scene.ask("zmws.stats")[1]["waits"] == 1
    scene.final("W", scene.token("W"))
    assert scene.answer("B") == (200, []) and scene.ask("zmws.stats")[1]["waits"] == 0


# ---------------------------------------------------------------- the stack


def test_the_stack_is_asked_for_once_and_told_to_all_who_ask() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    for name in ("A", "B", "A"):
        assert scene.ask("zmws.stack", name, id="j") is None
    assert scene.sent["W"] == [[b"MDPW02", b"\x05", b"STACK " + token]]
    assert scene.ask("zmws.stats")[1]["waits"] == 2
    scene.partial("W", token, b"STACK", b"line 7")
    for name in ("A", "B"):
        told = {"stack": "line 7", "worker": "w", "at": "2023-11-14T22:13:20.000Z"}
        assert scene.answer(name) == (200, told) and scene.answer(name) is None
    assert scene.ask("zmws.stats")[1]["waits"] == 0


def test_a_worker_that_tells_no_stack_in_time_is_told_of_so() -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    scene.ask("zmws.stack", "A", id="j")
    scene.ask("zmws.stack", "B", id="j", timeout=20)
    scene.pass_time(4.9)
    assert scene.answer("A") is None
    scene.pass_time(0.1)
    status, error = scene.answer("A")
    assert (status, error["code"]) == (503, "no_answer")
    assert scene.answer("B") is None and scene.ask("zmws.stats")[1]["waits"] == 1
    scene.pass_time(15)
    assert scene.answer("B")[0] == 503 and scene.ask("zmws.stats")[1]["waits"] == 0
    scene.sent.clear()
    scene.ask("zmws.stack", "A", id="j")
    assert len(scene.sent["W"]) == 1, "it is asked anew"


def test_only_a_job_that_runs_with_a_worker_of_ours_has_a_stack() -> None:
    scene = Scene()
    assert scene.ask("zmws.stack", id="j")[0] == 409
    scene.submit("j")
    assert scene.ask("zmws.stack", id="j")[0] == 409
    scene.foreign("F")
    assert scene.ask("zmws.stack", id="j")[0] == 503
    scene.submit("k")
    scene.ask("zmws.lease", service="E", lease="l")
    assert scene.ask("zmws.stack", id="k")[0] == 503


@pytest.mark.parametrize("verb", ["zmws.wait", "zmws.events", "zmws.stack"])
def test_only_so_many_requests_wait_at_once(verb: str) -> None:
    scene = Scene(limits={"waits_max": 2})
    scene.ready("W")
    scene.submit("j")
    given: dict[str, Any] = {"id": "j", "timeout": 5} | ({"after": 9} if verb == "zmws.events" else {})
    answers = [scene.ask(verb, f"A{n}", **given) for n in range(3)]
    assert answers[:2] == [None, None] and answers[2][0] == 429 and answers[2][1]["code"] == "too_many_waits"
    scene.pass_time(5)
    assert scene.ask(verb, "B", **given) is None


# ---------------------------------------------------------------- news, refusals


def test_each_state_and_the_progress_are_news() -> None:
    scene = Scene(backoff=1)
    scene.news_wanted = True
    scene.ready("W")
    scene.submit("j", delay=1)
    scene.pass_time(1)
    scene.partial("W", scene.token("W"), b"PROGRESS", b'{"done": 0.5, "text": "half"}')
    scene.final("W", scene.job("j").token or b"")
    told = news(scene)
    assert [topic for topic, _ in told] == [
        *("worker.ready", "E.scheduled", "E.waiting", "E.running", "E.progress", "E.complete"),
    ]
    at = "2023-11-14T22:13:21.000Z"
    assert told[3][1] == {"id": "j", "service": "E", "state": "running", "attempt": 1, "at": at}
    assert told[4][1] == {"id": "j", "service": "E", "done": 0.5, "text": "half", "at": at}
    scene.core.turn.news_wanted = False
    scene.submit("k", "SYNC-E")
    assert "news" not in scene.sent


def test_a_refusal_is_counted_by_its_code() -> None:
    scene = Scene()
    frames = scene.submit("j", "NOPE")
    assert frames[3] == b"FAIL: NOPE [j]" and json.loads(frames[4][12:])["code"] == "unknown_service"
    assert scene.counted("refused_unknown_service") == 1
    assert scene.asked("zmws.submit", [{"service": "NOPE", "id": "x"}]) == (
        200,
        [
            {
                "id": "x",
                "code": "unknown_service",
                "error": "no worker ever registered the service 'NOPE' and no configuration names it",
            }
        ],
    )
    assert scene.counted("refused_unknown_service") == 2


def test_nobody_is_told_of_what_is_not_on_disk() -> None:
    scene = Scene()
    scene.news_wanted = True
    scene.ready("W")
    scene.submit("j")
    scene.ask("zmws.wait", "A", id="j")
    token = scene.token("W")
    news(scene)
    scene.hold = True
    scene.final("W", token)
    assert scene.answer("A") is None and news(scene) == []
    scene.commit()
    assert scene.answer("A")[1]["state"] == "complete" and news(scene)[0][0] == "E.complete"
