"""zmws.work.attempt: parameters and a function in, a FINAL out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zmws.work.attempt import Final, attempt


def fails(fault: BaseException) -> Any:
    def work(_: Any) -> Any:
        raise fault

    return work


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ((), {}),
        ((b'PARAM-JSON: {"a": [1]}',), {"a": [1]}),
        ((b"PARAM-JSON: null",), None),
        ((b"\xff",), b"\xff"),
    ],
)
def test_work_gets_the_parameters_decoded(body: tuple[bytes, ...], params: Any) -> None:
    got: list[Any] = []
    assert attempt(got.append, body) == Final()
    assert got == [params]


@pytest.mark.parametrize(
    ("result", "frames"),
    [
        (None, ()),
        (0, (b"PARAM-JSON: 0",)),
        ("", (b'PARAM-JSON: ""',)),
        ({"a": (1, None)}, (b'PARAM-JSON: {"a": [1, null]}',)),
    ],
)
def test_what_it_returns_is_the_result(result: Any, frames: tuple[bytes, ...]) -> None:
    final = attempt(lambda _: result, ())
    assert final.error is None
    assert [json.loads(frame[12:]) for frame in final.result] == [json.loads(frame[12:]) for frame in frames]
    assert final.body == (b"COMPLETE", *final.result)


def test_false_is_a_failure_that_is_tried_again() -> None:
    final = attempt(lambda _: False, ())
    assert final.error == {"code": "job_failed", "error": "work() returned False"}
    verb, error = final.body
    assert verb == b"FAIL" and json.loads(error.removeprefix(b"PARAM-JSON: ")) == final.error


def test_an_exception_is_a_failure_with_its_type_and_where_it_was_raised() -> None:
    error = attempt(fails(KeyError("x")), ()).error
    assert error is not None and "retry" not in error
    assert (error["code"], error["type"], error["error"]) == ("job_failed", "KeyError", "'x'")
    assert "in work" in error["traceback"]


def test_parameters_that_cannot_be_read_fail_for_good_and_nothing_is_run() -> None:
    error = attempt(fails(AssertionError("it was run")), (b"PARAM-JSON: {",)).error
    assert error is not None and (error["code"], error["retry"]) == ("bad_params", False)


def test_a_result_that_json_cannot_hold_fails_for_good() -> None:
    error = attempt(lambda _: {"x": object()}, ()).error
    assert error is not None and (error["code"], error["retry"]) == ("bad_result", False)
    assert error["error"] == "the result['x'] is a object, which JSON cannot hold"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_nothing_is_let_through_but_what_is_asked_for(fault: BaseException) -> None:
    error = attempt(fails(fault), ()).error
    assert error is not None and error["type"] == type(fault).__name__
    with pytest.raises(type(fault)):
        attempt(fails(fault), (), (type(fault),))
