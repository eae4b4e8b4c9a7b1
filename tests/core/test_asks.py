"""Questions that change something, asked again."""

from __future__ import annotations

from tests.stage import Scene


def test_a_repeat_gets_the_first_answer_over_whatever_connection() -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask("zmws.cancel", "A", id="j", ask="q") == (200, {"count": 1})
    assert scene.ask("zmws.cancel", "B", id="j", ask="q") == (200, {"count": 1})
    assert scene.ask("zmws.cancel", "B", id="j", ask="other")[0] == 409
    assert scene.counted("jobs_cancelled") == 1


def test_a_repeat_waits_with_the_first_and_each_is_answered_once() -> None:
    scene = Scene()
    scene.submit("j")
    scene.ask("zmws.cancel", id="j")
    scene.hold = True
    for name in ("A", "A", "B"):
        assert scene.ask("zmws.delete", name, id="j", ask="q") is None
    scene.hold = False
    scene.settle()
    for name in ("A", "B"):
        assert scene.answer(name) == (200, {"count": 1}) and scene.answer(name) is None


def test_another_question_under_the_same_ask_is_refused() -> None:
    scene = Scene()
    for job_id in ("j", "k"):
        scene.submit(job_id)
    scene.ask("zmws.cancel", id="j", ask="q")
    for verb, asked in (("zmws.cancel", {"id": "k"}), ("zmws.delete", {"id": "j"})):
        status, error = scene.ask(verb, **asked, ask="q")
        assert (status, error["code"]) == (409, "id_conflict")
    assert scene.state("k") == "waiting"


def test_an_answer_is_kept_for_memory_keep() -> None:
    scene = Scene(limits={"memory_keep_s": 60.0})
    for ask in ("a", "b"):
        assert scene.ask("zmws.pause", service="E", ask=ask)[0] == 200
        scene.pass_time(10)
    asks = scene.core.desk.asks
    for passed, kept in ((39.9, "ab"), (0.1, "b"), (9.9, "b"), (0.1, "")):
        scene.pass_time(passed)
        assert "".join(asks._kept) == kept
    scene.ask("zmws.pause", service="E", ask="c")
    scene.pass_time(60)
    assert not asks._kept


def test_only_so_many_answers_are_kept_and_so_many_questions_are_under_way() -> None:
    scene = Scene(limits={"asks_max": 2})
    for ask in ("a", "b", "c"):
        scene.ask("zmws.pause", service="E", ask=ask)
    assert list(scene.core.desk.asks._kept) == ["b", "c"]
    for n in range(3):
        scene.submit(f"j{n}")
    scene.ask("zmws.cancel", all=True)
    scene.hold = True
    answers = [scene.ask("zmws.delete", id=f"j{n}", ask=f"q{n}") for n in range(3)]
    assert answers[:2] == [None, None] and answers[2][0] == 429
    assert scene.ask("zmws.delete", "B", id="j0", ask="q0") is None, "a repeat is no new one"
    scene.hold = False
    scene.settle()
    assert scene.answer("B") == (200, {"count": 1})


def test_an_answer_to_a_repeat_waits_for_the_write_too() -> None:
    scene = Scene()
    scene.hold = True
    assert scene.ask("zmws.pause", "A", service="E", ask="q") is None
    assert scene.ask("zmws.pause", "B", service="E", ask="q") is None
    scene.commit()
    assert scene.answer("A") == scene.answer("B") == (200, {"service": "E", "paused": True})
