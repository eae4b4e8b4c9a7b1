"""How a question is answered, also where answering breaks."""

from __future__ import annotations

import json
from typing import Any

from zmws import cron, ids
from zmws.core.job import Caller
from zmws.core.limits import Limits
from zmws.core.question import Question
from zmws.core.reads import Filter
from zmws.core.turn import Turn
from zmws.core.writes import DeleteJob
from zmws.wire.messages import NATIVE, ReplyTo


def asked(**fields: Any) -> Question:
    caller = Caller(("client", b"c", ""), ReplyTo(NATIVE, (b"7", b"")))
    return Question(Turn(Limits(), ids.suppliers(cron)), caller, "zmws.x", fields)


def test_an_answer_is_a_status_and_json_and_goes_back_as_the_question_came() -> None:
    question, write = asked(), DeleteJob("j")
    question.answer(200, {"a": 1}, write)
    question.refuse(404, "unknown_job", "none", write)
    first, second = question.turn.sends
    assert (first.peer, first.after) == (("client", b"c", ""), write) and second.after is write
    assert first.message.service == "zmws.x" and first.message.reply_to is question.caller.reply_to
    assert first.message.body == (b"200", b'{"a": 1}')
    assert second.message.body[0] == b"404"
    assert json.loads(second.message.body[1]) == {"code": "unknown_job", "error": "none"}


def test_a_step_that_breaks_is_the_askers_500_and_a_line_of_the_log_that_says_where() -> None:
    question = asked()

    def breaks(_: Question) -> None:
        raise RuntimeError("x" * 600)

    question.safely(breaks)
    (send,) = question.turn.sends
    assert send.message.body[0] == b"500" and b"broker_fault" in send.message.body[1]
    assert question.turn.counters["questions_broken"] == 1
    ((level, text),) = question.turn.log
    assert level == "error" and f"RuntimeError: {'x' * 500}, in safely (question.py:" in text
    assert text.rpartition(", ")[2].startswith("breaks (test_question.py:")
    fine = asked()
    fine.safely(lambda one: one.answer(200, {}))
    assert fine.turn.counters["questions_broken"] == 0 and len(fine.turn.sends) == 1


def test_a_filter_is_made_of_what_was_asked() -> None:
    given = {"service": "E", "state": "failed", "group": "g", "since": 1.0, "before": 2.0}
    assert asked(**given, id="j").filter() == Filter("E", "failed", "g", 1.0, 2.0)
    assert asked().filter() == Filter()
