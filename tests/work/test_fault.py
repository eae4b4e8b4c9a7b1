"""zmws.work.fault: what an exception is told as, whatever it does when it is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zmws
from zmws import WorkerBase
from zmws.errors import BadParams, BadResult, BadValue
from zmws.testing import run_job
from zmws.work import Fail, Retry
from zmws.work.fault import TRACEBACK_MAX, asked_of, bad_params, encode_fault


def test_a_fault_is_told_with_its_type_its_text_and_the_end_of_its_traceback() -> None:
    def deep(n: int) -> None:
        if n:
            return deep(n - 1) if n % 2 else other(n)
        raise KeyError("the key" + "y" * TRACEBACK_MAX)

    def other(n: int) -> None:  # two by turns: Python tells what only repeats itself once
        deep(n - 1)

    with pytest.raises(KeyError) as caught:
        deep(300)
    said = encode_fault(caught.value)
    assert said["code"] == "job_failed"
    assert said["type"] == "KeyError"
    assert said["error"].startswith("'the key")
    assert len(said["traceback"]) == TRACEBACK_MAX
    assert said["traceback"].count("\n> File ") > 50 and said["traceback"].endswith("y ...\n")
    assert json.loads(json.dumps(said)) == said


def test_a_fault_without_a_text_is_told_by_its_type() -> None:
    assert encode_fault(ValueError())["error"] == "ValueError"
    assert encode_fault(type("", (Exception,), {})())["error"] == "exception"


def test_a_fault_whose_own_text_fails_is_told_all_the_same() -> None:
    class Spiteful(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    said = encode_fault(Spiteful())
    assert said["type"] == "Spiteful"
    assert said["error"] == "Spiteful, whose text cannot be shown"


class NoText(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even this")


class NoAttributes(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} for you")


class NoClass(Exception):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class for you")


class Nothing(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} for you")


class NoRepr(Exception):
    __repr__ = __str__ = __format__ = None  # type: ignore[assignment]


class NoName(type):
    @property
    def __name__(cls) -> str:
        raise RuntimeError("no name for you")


class Nameless(Exception, metaclass=NoName):
    pass


class OddText(str):
    def __getitem__(self, key: Any) -> str:
        raise RuntimeError("no part for you")

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError("no bytes for you")


class Texty(Exception):
    def __str__(self) -> str:
        return OddText("a text")


def odd_syntax_error() -> SyntaxError:
    fault = SyntaxError("bad")
    fault.lineno, fault.offset, fault.text, fault.filename = "x", object(), 7, 3.5  # type: ignore[assignment]
    return fault


def in_a_circle() -> Exception:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


# Made anew for each test: pytest itself looks at what is a parameter.
HOSTILE: list[Callable[[], BaseException]] = [
    NoText,
    NoAttributes,
    NoRepr,
    NoClass,
    Nothing,
    Nameless,
    Texty,
    odd_syntax_error,
    in_a_circle,
    lambda: ExceptionGroup("many", [NoText(), NoAttributes()]),
    lambda: ValueError("\ud800"),
    lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "\udfff"),
    lambda: SystemExit(3),
    GeneratorExit,
]


@pytest.mark.parametrize("made", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_work_raises_is_a_failed_attempt_that_can_be_read(made: Callable[[], BaseException]) -> None:
    class Raises(WorkerBase):
        service_name = "RAISES"

        def work(self, job_id: str, params: Any) -> Any:
            raise made()

    outcome = run_job(Raises)
    assert outcome.state == "failed" and outcome.retried
    assert outcome.type and outcome.message and outcome.traceback
    assert "in work" in outcome.traceback
    assert json.loads(json.dumps(encode_fault(made())))["code"] == "job_failed"


def test_a_partial_result_that_cannot_be_sent_fails_for_good_too() -> None:
    class Says(WorkerBase):
        service_name = "SAYS"

        def work(self, job_id: str, params: Any) -> Any:
            self.job.partial({"when": object()})

    outcome = run_job(Says)
    assert (outcome.code, outcome.retried) == ("bad_result", False)
    assert outcome.message == "the partial result['when'] is a object, which JSON cannot hold"
    assert encode_fault(BadResult("x"))["code"] == "bad_result"
    assert asked_of(BadResult("x")) == {"retry": False}


def test_a_value_of_another_request_made_in_work_is_a_failure_like_any_other() -> None:
    class Asks(WorkerBase):
        service_name = "ASKS"

        def work(self, job_id: str, params: Any) -> Any:
            raise BadValue("params['when'] is a datetime")  # as client.submit does

    outcome = run_job(Asks)
    assert (outcome.code, outcome.retried, outcome.type) == ("job_failed", True, "BadValue")


# ---------------------------------------------------------------- frames of the author's own


def own_frames(trace: str) -> list[str]:
    return [line.rpartition(", in ")[2] for line in trace.splitlines() if "> File " in line]


def breaks() -> None:
    json.loads("{")


def test_frames_of_the_authors_files_aremarked_and_no_others() -> None:
    with pytest.raises(ValueError) as caught:
        breaks()
    trace = encode_fault(caught.value)["traceback"]
    assert own_frames(trace)[-1] == "breaks" and "\n> File" in trace
    assert '\n  File "' in trace and "json" in trace, "that of the standard library is there, without a mark"


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/srv/shop/workers/mail.py", True),
        (str(Path(zmws.__file__).parent) + "-workers/mail.py", True),
        (str(Path(json.__file__).parent.parent) + "-of-mine/mail.py", True),
        (zmws.__file__, False),
        (json.__file__, False),
        (pytest.__file__, False),
        ("/home/me/.local/lib/python3.11/site-packages/lib/x.py", False),
        ("/usr/lib/python3/dist-packages/lib.py", False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_whose_a_file_is(file: str, own: bool) -> None:
    try:
        exec(compile("1 / 0", file, "exec"), {})
    except ZeroDivisionError as fault:
        fault.__traceback__ = fault.__traceback__ and fault.__traceback__.tb_next
        trace = encode_fault(fault)["traceback"]
    assert (f'> File "{file}"' in trace) is own and (f'  File "{file}"' in trace) is not own


def test_causes_contexts_and_groups_are_told_andmarked_too() -> None:
    def inner() -> None:
        raise ExceptionGroup("many", [caught(ValueError), caught(KeyError)])

    def caught(kind: type[Exception]) -> Exception:
        try:
            raise kind("part")
        except kind as fault:
            return fault

    try:
        try:
            try:
                breaks()
            except ValueError as cause:
                raise RuntimeError("outer") from cause
        except RuntimeError:
            inner()
    except ExceptionGroup as fault:
        trace = encode_fault(fault)["traceback"]
    name = test_causes_contexts_and_groups_are_told_andmarked_too.__name__
    assert own_frames(trace) == [name, "breaks", name, name, "inner", "caught", "caught"]
    assert "direct cause" in trace and "During handling" in trace
    assert "    | > File " in trace, "within a group too"


def test_a_retry_that_a_subclass_raises_is_one() -> None:
    class Later(Retry):
        pass

    fault = Later(delay=5, count=False)
    assert encode_fault(fault)["type"] == "Later" and asked_of(fault) == {"delay": 5.0, "count": False}


def test_bad_params_are_told_short() -> None:
    assert bad_params(BadParams("expected a text", "a[0]")) == {
        "code": "bad_params",
        "error": "'a[0]': expected a text",
        "retry": False,
    }
    assert len(bad_params(Fail("x" * 100_000))["error"]) == TRACEBACK_MAX
    assert bad_params(Fail(""))["error"] == "bad parameters"
