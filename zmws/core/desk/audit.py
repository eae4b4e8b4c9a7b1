"""What operators did, kept in the store: zmws.audit, and zmws.acted for what was done outside of the broker
(docs/protocol.md).

Rule 1: a change that says who acts (`by`) is written when its answer is made, once, done or refused; and the
        answer leaves when that is on disk. What is malformed (400), and what only counts, is no act.
Rule 2: parameters of jobs are not in it, nor their `meta`: they are the users' own.
Rule 3: it is bounded by age and by rows, and each of its rows by bytes; what one key is refused also by the
        minute, or it would push out all else.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from zmws.core.desk.lists import Lists
from zmws.core.desk.questions import QUESTIONS
from zmws.core.job import iso
from zmws.core.question import Question
from zmws.core.reads import ReadAudit
from zmws.core.rows import Act, Rows
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.writes import ForgetActs, WriteAct

DONE = "done"
FORGET_EACH_S = 3600.0  # what is old goes, also where nobody acts
DETAIL_BYTES_MAX = 2_000
TEXT_CHARS_MAX = 200  # of one value in it, and of what was acted on
_ON = ("id", "worker", "name", "service")  # the first of these that is given
_LEFT_OUT = frozenset({"ask", "by", "params", "params_base64", "meta", "proof"})


class Audit:
    """Who did what, to what, and what became of it."""

    def __init__(self, turn: Turn, lists: Lists) -> None:
        self._turn = turn
        self._lists = lists
        self._reminder = Reminder[None](lambda _: self._forget())
        self._minute = 0  # the one under way
        self._refused: Counter[str] = Counter()  # acts in it, by the key

    def start(self) -> None:
        """The broker has recovered."""
        self._turn.timers.add(self._turn.now + FORGET_EACH_S, self._reminder, None)

    def answered(self, came_from: str | None, question: Question, status: int, body: Any) -> WriteAct | None:
        """A change by somebody is about to be answered: the write that says so, if it is an act. `came_from`:
        the key that has asked, and its address."""
        asked = question.asked
        if status == 400 or asked.get("dry_run"):
            return None
        if status >= 400 and self._is_too_much(asked["by"]):
            return None
        name = next((one for one in _ON if one in asked), None)
        on = None if name is None else str(asked[name])
        fields = {key: value for key, value in asked.items() if key != name and key not in _LEFT_OUT}
        if came_from is not None:
            fields["from"] = came_from
        rows = QUESTIONS[question.service]
        for key in ("then", "failed"):
            if isinstance(fields.get(key), dict):
                fields[key] = str(fields[key].get("service"))
        if isinstance(fields.get("options"), dict):
            fields["options"] = {key: one for key, one in fields["options"].items() if key != "meta"}
        times = [key for key in fields if key in rows and rows[key].kind == "time"]
        fields |= {key: iso(fields[key]) for key in times}
        if status >= 400:
            outcome, count = str(body["code"]), None
        else:
            outcome, count = DONE, body.get("count")
            if question.service == "zmws.copy":
                fields["new_id"] = body["id"]
        verb = question.service.removeprefix("zmws.")
        return self._write(asked["by"], verb, on, fields, count, outcome)

    def _is_too_much(self, by: str) -> bool:
        """Whether no more of what this key is refused is kept in this minute."""
        minute = int(self._turn.now // 60)
        if minute != self._minute:
            self._minute, self._refused = minute, Counter()
        self._refused[by] += 1
        most = self._turn.limits.audit_refused_max
        if self._refused[by] <= most:
            return False
        self._turn.counters["refused_acts_not_kept"] += 1
        text = f"{by} is refused more than {most} acts a minute; the others are not kept (audit_refused_max)"
        self._turn.note_rarely(f"refused {by}", "warning", text)
        return True

    def acted(self, question: Question) -> None:
        """zmws.acted: somebody did something outside of the broker, such as starting a process."""
        asked, outcome = question.asked, question.asked["outcome"]
        if outcome != DONE and self._is_too_much(asked["by"]):
            return question.answer(200, {"at": None, "verb": asked["verb"], "on": asked["on"]})
        write = self._write(asked["by"], asked["verb"], asked["on"], asked.get("detail") or {}, None, outcome)
        question.answer(200, {"at": iso(write.at), "verb": write.verb, "on": write.on}, write)

    def audit(self, question: Question) -> None:
        """zmws.audit: a page of it."""
        asked = question.asked
        read = ReadAudit(
            question,
            *(asked.get("by"), asked.get("verb"), asked.get("on"), asked.get("since"), asked.get("before")),
            *(asked["limit"], asked.get("cursor")),
            render=_page,
        )
        self._lists.read(question, read)

    def _write(
        self, by: str, verb: str, on: str | None, fields: dict[str, Any], count: int | None, outcome: str
    ) -> WriteAct:
        detail = _detail(fields)
        on = None if on is None else _cut(on)
        act = (self._turn.wall, by, verb, on, detail, count, outcome)
        write = WriteAct(*(*self._kept(), *act), size=300 + len(detail or ""))
        self._turn.write_for(write, None)
        return write

    def _kept(self) -> tuple[float, int]:
        limits = self._turn.limits
        return self._turn.wall - limits.audit_keep_s, limits.audit_max

    def _forget(self) -> None:
        self.start()
        self._turn.write_for(ForgetActs(*self._kept()), None)


def _detail(fields: dict[str, Any]) -> str | None:
    """The fields as JSON: long texts are cut, and what is too much is left out, which `cut` says."""
    told: dict[str, Any] = {}
    room = DETAIL_BYTES_MAX
    for name, value in fields.items():
        one = {name: _cut(value) if isinstance(value, str) else value}
        size = len(json.dumps(one))
        if size <= room:
            told |= one
            room -= size
        else:
            told["cut"] = True
    return json.dumps(told) if told else None


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."


def _page(rows: Rows) -> bytes:
    """A page of zmws.audit; beside the loop."""
    told = {
        "entries": [_shown(act) for act in rows.acts],
        "next": None if rows.next is None else str(rows.next),
    }
    return json.dumps(told).encode()


def _shown(act: Act) -> dict[str, Any]:
    return {
        "number": act.number,
        "at": iso(act.at),
        "by": act.by,
        "verb": act.verb,
        "on": act.on,
        "detail": None if act.detail is None else json.loads(act.detail),
        "count": act.count,
        "outcome": act.outcome,
    }
