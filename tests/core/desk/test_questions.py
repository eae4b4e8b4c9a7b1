"""What may be asked of the services inside the broker: each field's type, range and default."""

from __future__ import annotations

from typing import Any

import pytest

from zmws.core.desk.changes import CHANGES
from zmws.core.desk.questions import QUESTIONS, BadQuestion, checked, question_body
from zmws.core.limits import Limits
from zmws.core.states import STATES
from zmws.core.table import YEAR_S

LIMITS = Limits(wait_s_max=100.0, list_rows_max=50)
TOKEN = "j/1/x"
NEEDED = {
    "verb": "stop",
    "on": "hello",
    "by": "anna",
    "id": "j",
    "service": "E",
    "token": TOKEN,
    "lease": "l",
    "seconds": 1,
    "kind": "log",
    "text": "t",
    "do": "pause",
    "name": "n",
}
INSTANT = 1_700_000_000.0


def ask(name: str, **given: Any) -> dict[str, Any]:
    """The question with what it needs."""
    needed = {field: NEEDED[field] for field, spec in QUESTIONS[name].items() if spec.needed}
    return checked(name, needed | given, LIMITS)


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("zmws.hello", {}),
        ("zmws.job", {"id": "j"}),
        ("zmws.wait", {"id": "j", "timeout": 30.0}),
        ("zmws.events", {"id": "j", "after": 0, "timeout": 0.0}),
        ("zmws.stack", {"id": "j", "timeout": 5.0}),
        ("zmws.jobs", {"limit": 50}),  # 100, but no more than there may be
        ("zmws.cancel", {}),
        ("zmws.retry", {}),
        ("zmws.delete", {}),
        ("zmws.purge", {"service": "E"}),
        ("zmws.pause", {"service": "E"}),
        ("zmws.resume", {"service": "E"}),
        ("zmws.limit", {"service": "E"}),
        ("zmws.forget", {"service": "E"}),
        ("zmws.copy", {"id": "j"}),
        ("zmws.peek", {"service": "E", "limit": 10}),
        ("zmws.drain", {}),
        ("zmws.lease", {"service": "E", "lease": "l", "wait": 0.0}),
        ("zmws.extend", {"token": TOKEN, "seconds": 1.0}),
        ("zmws.report", {"token": TOKEN, "kind": "log", "retry": True}),
        ("zmws.services", {}),
        ("zmws.service", {"service": "E"}),
        ("zmws.workers", {}),
        ("zmws.stats", {}),
        ("zmws.series", {"step": "second"}),
        ("zmws.mark", {"text": "t"}),
        ("zmws.failures", {"limit": 50}),
        ("zmws.why", {"id": "j"}),
        ("zmws.lanes", {"limit": 50, "step": 1.0}),
        ("zmws.open", {}),
        ("zmws.close", {"id": "j"}),
        ("zmws.batch", {"id": "j", "timeout": 0.0}),
        ("zmws.batches", {"limit": 50}),
        ("zmws.family", {"id": "j", "limit": 50}),
        ("zmws.schedules", {}),
        ("zmws.schedule", {"do": "pause", "name": "n"}),
        ("zmws.keys", {}),
        ("zmws.warnings", {}),
        ("zmws.metrics", {}),
        ("zmws.acted", {"verb": "stop", "on": "hello", "by": "anna", "outcome": "done"}),
        ("zmws.audit", {"limit": 50}),
    ],
)
def test_what_a_question_needs_and_what_it_has_if_nothing_is_said(
    name: str, defaults: dict[str, Any]
) -> None:
    assert ask(name) == defaults
    for field in (one for one, spec in QUESTIONS[name].items() if spec.needed):
        rest = {key: value for key, value in NEEDED.items() if key in defaults and key != field}
        for given in (rest, {**rest, field: None}):
            with pytest.raises(BadQuestion, match=f"{name} needs '{field}', "):
                checked(name, given, LIMITS)


def test_the_defaults_are_as_the_documentation_has_them() -> None:
    assert checked("zmws.jobs", {}, Limits())["limit"] == 100
    assert checked("zmws.wait", {"id": "j"}, Limits(wait_s_max=3.0))["timeout"] == 3.0


def test_every_question_is_in_the_table_above() -> None:
    assert len(QUESTIONS) == 42


@pytest.mark.parametrize(
    ("name", "field", "taken", "refused"),
    [
        ("zmws.job", "id", ["a", "A.b_c:d-9", "x" * 128], ["", "x" * 129, "a b", "é", 7]),
        ("zmws.wait", "timeout", [0, 0.5, 100], [-0.001, 100.001, "5", True, float("nan"), 10**400, []]),
        ("zmws.events", "timeout", [0, 100], [100.5]),
        ("zmws.stack", "timeout", [0, 100], [100.5]),
        ("zmws.events", "after", [0, 2**63 - 1], [-1, 2**63, 1.5, True, "1"]),
        ("zmws.jobs", "limit", [1, 50], [0, 51, 1.0]),
        ("zmws.jobs", "cursor", ["0", "9" * 18], ["", "9" * 19, "-1", "1.5", 7, "²"]),
        ("zmws.jobs", "memory", [True, False], [0, 1, "true"]),
        ("zmws.jobs", "service", ["E", ""], [7, "a\n"]),
        ("zmws.jobs", "state", list(STATES), ["", "done", 7]),
        ("zmws.jobs", "group", ["g"], ["\x00", 1]),
        ("zmws.jobs", "cause", ["0f"], ["", 1]),
        ("zmws.jobs", "q", ["a text", "x" * 255], ["", "x" * 256, 7]),
        ("zmws.jobs", "places", ["all", "names"], ["", "params"]),
        ("zmws.series", "step", ["second", "minute", "hour"], ["", "day", 60]),
        ("zmws.lanes", "limit", [1, 100], [0, 101, 1.5]),
        ("zmws.lanes", "step", [0, 0.5, 60], [-1, "1"]),
        ("zmws.mark", "text", ["deploy 1.4"], ["", "x" * 256]),
        ("zmws.cancel", "ask", ["a", "x" * 64], ["", "x" * 65, "\n", 7]),
        ("zmws.report", "by", ["me and you"], ["", 7]),
        ("zmws.lease", "wait", [0, 100], [-1, 100.5]),
        ("zmws.lease", "ttr", [0.001, YEAR_S], [0, YEAR_S + 1]),
        ("zmws.lease", "lease", ["l"], ["", "a b"]),
        ("zmws.extend", "seconds", [0.001, YEAR_S], [0, -1, YEAR_S + 1]),
        ("zmws.extend", "token", [TOKEN, "x" * 251 + "/1/x"], ["j/1", "é/1/x", "x" * 252 + "/1/x", 7]),
        ("zmws.report", "kind", ["progress", "partial", "log", "complete", "fail", "release"], ["end", None]),
        ("zmws.report", "done", [0, 0.5, 1], [-0.1, 1.1, "1"]),
        ("zmws.report", "text", ["", "a\nb"], [7]),
        ("zmws.report", "retry", [True, False], ["no", 0]),
        ("zmws.report", "delay", [0, YEAR_S], [-1, YEAR_S + 1]),
        ("zmws.purge", "service", ["", "any thing"], [7]),
        ("zmws.drain", "worker", ["", "x" * 128], [7, "a\n"]),
    ],
)  # fmt: skip
def test_a_field_has_its_type_and_its_range(
    name: str, field: str, taken: list[Any], refused: list[Any]
) -> None:
    for value in taken:
        assert ask(name, **{field: value})[field] == (int(value) if field == "cursor" else value)
    for value in refused:
        with pytest.raises(BadQuestion, match=f"'{field}'"):
            ask(name, **{field: value})


@pytest.mark.parametrize("field", ["since", "before"])
def test_times_have_a_zone_and_come_as_seconds(field: str) -> None:
    for text in ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"):
        assert ask("zmws.jobs", **{field: text})[field] == INSTANT
    for wrong in ("2023-11-14T22:13:20", "yesterday", 7):
        with pytest.raises(BadQuestion, match="an ISO 8601 time"):
            ask("zmws.jobs", **{field: wrong})


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("zmws.extend", {"token": TOKEN, "seconds": 0}, "a number of seconds above 0, up to 31622400"),
        ("zmws.jobs", {"limit": 51}, "'limit' is 51, but must be a whole number from 1 to 50"),
        ("zmws.report", {"token": TOKEN, "kind": "log", "done": 2}, "a number from 0 to 1"),
        ("zmws.jobs", {"state": "x"}, "one of scheduled, waiting, running, complete, failed"),
        ("zmws.jobs", {"stat": "x"}, "'stat' is no field of zmws.jobs; did you mean 'state'"),
        ("zmws.wait", {"timeout": 1}, "zmws.wait needs 'id', an id: "),
        ("zmws.lease", {"service": "E", "lease": "l", "wait": 101}, "from 0 to 100"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong(name: str, given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadQuestion) as wrong:
        checked(name, given, LIMITS)
    assert text in str(wrong.value)


def test_null_is_not_given_and_only_an_object_is_a_question() -> None:
    assert ask("zmws.jobs", state=None, limit=None) == {"limit": 50}
    for other in ([], "x", None, 7):
        with pytest.raises(BadQuestion, match="takes one frame with a JSON object"):
            checked("zmws.jobs", other, LIMITS)


def test_what_changes_something_may_be_asked_again() -> None:
    verbs = (
        "copy limit mark cancel retry delete purge pause resume forget drain extend report acted open close"
    )
    verbs += " schedule key"
    assert {f"zmws.{verb}" for verb in verbs.split()} == CHANGES
    for name in CHANGES:
        assert set(QUESTIONS[name]) >= {"ask", "by"}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ((), {}),
        ((b"", b""), {}),
        ((b"", b'{"a": 1}'), {"a": 1}),
        ((b'PARAM-JSON: {"a": 1}',), {"a": 1}),
        ((b"JSON-PARAM: [1]",), [1]),
        ((b"[" * 3 + b"]" * 3,), [[[]]]),
    ],
)
def test_a_question_is_one_frame_of_json(body: tuple[bytes, ...], value: Any) -> None:
    assert question_body("zmws.x", body, Limits(json_depth_max=3)) == value


@pytest.mark.parametrize("body", [(b"1", b"2"), (b"{",), (b"[" * 4 + b"]" * 4,), (b"\xff",)])
def test_what_is_no_question_is_refused(body: tuple[bytes, ...]) -> None:
    with pytest.raises(BadQuestion, match=r"^zmws\.x takes "):
        question_body("zmws.x", body, Limits(json_depth_max=3))
