"""zmws.work.attempt: parameters and a function in, a FINAL out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zmws.errors import BadParams
from zmws.work import Fail, Retry
from zmws.work.attempt import NO_RULES, Final, Rules, attempt


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


# ---------------------------------------------------------------- how it goes on


def error_of(fault: BaseException, rules: Rules = NO_RULES) -> dict[str, Any]:
    error = attempt(fails(fault), (), rules=rules).error
    assert error is not None and error["error"] and error["type"]
    return error


def asked_of(fault: BaseException, rules: Rules = NO_RULES) -> dict[str, Any]:
    """What the ERROR says of the next attempt."""
    error = error_of(fault, rules)
    return {name: error[name] for name in ("retry", "delay", "count") if name in error}


class Busy(ConnectionError):
    pass


class Again(Retry):
    """An author's own, which does not call the base's __init__."""

    def __init__(self) -> None: ...


class Unread(Retry):
    delay = property(lambda self: 1 / 0, lambda self, delay: None)  # type: ignore[assignment]


class Odd(type):
    """Whose classes are equal to all others, have no hash, and no bases."""

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]
    __mro__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]


class Strange(Exception, metaclass=Odd):
    pass


def made_infinite() -> Retry:
    made = Retry()
    made.delay = float("inf")
    return made


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (Retry(), {}),
        (Retry(delay=60), {"delay": 60.0}),
        (Retry(delay=0, count=False), {"delay": 0.0, "count": False}),
        (Fail("no"), {"retry": False}),
        (Again(), {}),
        (Unread(), {}),
        (made_infinite(), {}),
    ],
)
def test_what_is_raised_says_how_it_goes_on_whatever_is_declared(fault: BaseException, asked: Any) -> None:
    rules = Rules((Exception,), {Exception: 5.0})
    assert asked_of(fault) == asked_of(fault, rules) == asked
    assert json.loads(json.dumps(error_of(fault), allow_nan=False))["code"] == "job_failed"


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (Rules(retry_on={ConnectionError: 10.0}), {"delay": 10.0}),
        (Rules(retry_on={OSError: 1.0, ConnectionError: 10.0}), {"delay": 10.0}),
        (Rules(retry_on={OSError: 1.0, Busy: None}), {}),
        (Rules((OSError,), {ConnectionError: 10.0}), {"delay": 10.0}),
        (Rules((ConnectionError,), {OSError: 10.0}), {"retry": False}),
        (Rules((OSError,), {ConnectionError: None}), {}),
        (Rules((Busy,), {Busy: 1.0}), {"retry": False}),
        (Rules((BaseException,)), {"retry": False}),
        (Rules((KeyError,), {ValueError: 1.0}), {}),
    ],
)
def test_the_nearest_class_that_is_declared_decides(rules: Rules, asked: Any) -> None:
    assert asked_of(Busy("x"), rules) == asked


def test_an_exit_can_be_declared_too() -> None:
    assert asked_of(SystemExit(0)) == {}
    assert asked_of(SystemExit(0), Rules((SystemExit,))) == {"retry": False}
    assert asked_of(KeyboardInterrupt(), Rules(retry_on={BaseException: 2.0})) == {"delay": 2.0}


def test_an_exception_whose_class_lies_is_no_other() -> None:
    assert asked_of(Strange("x"), Rules((KeyError,), {ValueError: 1.0})) == {}
    assert asked_of(Strange("x"), Rules((Strange,))) == {"retry": False}


def test_what_reads_the_parameters_says_what_is_wrong_with_them() -> None:
    def read(value: Any) -> Any:
        if value == "wrong":
            raise BadParams("expected a whole number, got a text", "rows[0]")
        if value == "no":
            raise Fail
        if value == "breaks":
            raise ConnectionError("no database")
        return [value]

    def tried(value: str) -> Any:
        rules = Rules(retry_on={ConnectionError: 3.0})
        return attempt(lambda params: params, (b'PARAM-JSON: "%s"' % value.encode(),), (), read, rules)

    text = "'rows[0]': expected a whole number, got a text"
    assert tried("wrong").error == {"code": "bad_params", "error": text, "retry": False}
    assert tried("no").error == {"code": "bad_params", "error": "work() has given up", "retry": False}
    assert (tried("breaks").error["code"], tried("breaks").error["delay"]) == ("job_failed", 3.0)
    assert tried("x").result == (b'PARAM-JSON: ["x"]',)


def test_a_result_that_cannot_be_sent_is_no_matter_of_rules() -> None:
    final = attempt(lambda _: object(), (), rules=Rules(retry_on={Exception: 1.0}))
    assert final.error is not None and final.error["retry"] is False and "delay" not in final.error


def group(*exceptions: Exception) -> Exception:
    return ExceptionGroup("unhandled errors in a TaskGroup", list(exceptions))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (group(Fail("no")), {"retry": False}),
        (group(Fail("no"), Fail("nor this")), {"retry": False}),
        (group(Fail("no"), OSError("a disk")), {}),
        (group(group(Retry(delay=5, count=False))), {"delay": 5.0, "count": False}),
        (group(ConnectionError(), ConnectionError()), {"delay": 10.0}),
        (group(ValueError(), Fail("no")), {"retry": False}),
        (group(KeyError(), ConnectionError()), {}),
    ],
)
def test_a_group_goes_on_as_all_its_exceptions_do_where_they_agree(
    fault: Exception, said: dict[str, Any]
) -> None:
    def work(params: Any) -> Any:
        raise fault

    rules = Rules((ValueError,), {ConnectionError: 10.0})
    error = attempt(work, (), rules=rules).error
    assert error is not None and error["type"] == "ExceptionGroup"
    assert {name: error[name] for name in ("retry", "delay", "count") if name in error} == said
