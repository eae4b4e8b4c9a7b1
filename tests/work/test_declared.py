"""zmws.work.declared: what a class may declare, and what is refused before it registers."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from zmws import WorkerBase
from zmws.errors import BadParams
from zmws.work import worker
from zmws.work.attempt import Rules
from zmws.work.declared import BadWorker, declared
from zmws.work.function import worker_of
from zmws.work.parameters import ANYTHING, SCHEMA_BYTES_MAX, BadAnnotation

if TYPE_CHECKING:
    from nowhere import Absent

NAN = float("nan")


class Import(WorkerBase):
    service_name = "IMPORT"

    def work(self, job_id: str, params: Any) -> Any: ...


def made(**body: Any) -> WorkerBase:
    cls: type[WorkerBase] = type("Import", (Import,), body)
    return cls()


NOTHING: dict[str, Any] = {"defaults": {}, "params": {}}  # so that nothing of an earlier class stays


def test_a_class_that_declares_nothing_has_the_defaults() -> None:
    found = declared(Import())
    assert (found.service, dict(found.defaults), found.told) == (
        "IMPORT",
        {},
        NOTHING,
    )
    assert found.parameters is ANYTHING and found.rules == Rules()
    assert (found.max_jobs, found.max_memory, found.max_age, found.idle_after) == (None,) * 4
    assert (found.stop_timeout, found.stays_when_hung, found.log_output) == (30.0, False, False)
    assert declared(Import(), "OTHER").service == "OTHER"


def test_what_is_declared_is_in_the_types_that_it_has() -> None:
    body: dict[str, Any] = {
        "retries": 5.0, "ttr": 600, "backoff": 0, "expires": 1.5, "keep": 0, "priority": -1000,
        "max_jobs": 1000, "max_memory": "512 MiB", "max_age": 3600, "idle_after": 0.5, "stop_timeout": 0,
        "on_hung": "stay", "log_output": True,
    }  # fmt: skip
    found = declared(made(**body))
    defaults = {"retries": 5, "ttr": 600.0, "backoff": 0.0, "expires": 1.5, "keep": 0.0, "priority": -1000}
    assert found.told == {"defaults": defaults, "params": {}}
    assert (found.max_jobs, found.max_memory, found.max_age) == (1000, 512 * 2**20, 3600.0)
    assert (found.idle_after, found.stop_timeout, found.stays_when_hung, found.log_output) == (
        0.5,
        0,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("service_name", "", "the service name is empty"),
        ("service_name", None, "None, but must be a text"),
        ("service_name", 5, "5, but must be a text"),
        ("service_name", "A B", "holds a space"),
        ("service_name", "zmws.x", "is reserved"),
        ("retries", -1, "-1, but must be a whole number from 0 to 1000000"),
        ("retries", 1.5, "1.5, but must be a whole number"),
        ("retries", True, "true, but must be a whole number"),
        ("retries", "5", "'5', but must be a whole number"),
        ("ttr", 0, "0, but must be a number of seconds above 0"),
        ("ttr", NAN, "NaN, but must be a number of seconds above 0"),
        ("backoff", -0.1, "-0.1, but must be a number of seconds from 0"),
        ("expires", float("inf"), "Infinity, but must be a number of seconds"),
        ("keep", "1 day", "'1 day', but must be a number of seconds"),
        ("priority", 1001, "1001, but must be a whole number from -1000 to 1000"),
        ("max_jobs", 0, "0, but must be a whole number from 1"),
        ("max_memory", 1000, "1000, but must be a size from 1048576"),
        ("max_memory", "much", "'much', but must be a size"),
        ("max_age", 0, "0, but must be a number of seconds above 0"),
        ("idle_after", 0, "0, but must be a number of seconds above 0"),
        ("stop_timeout", -1, "-1, but must be a number of seconds from 0"),
        ("stop_timeout", None, "None, but must be a number"),
        ("on_hung", "wait", "'wait', but must be 'leave' or 'stay'"),
        ("on_hung", None, "None, but must be 'leave' or 'stay'"),
        ("log_output", "no", "'no', but must be True or False"),
        ("log_output", None, "None, but must be True or False"),
        ("fail_on", "ValueError", "names 'ValueError', which is no class of exceptions"),
        ("fail_on", (ValueError, 5), "names 5, which is no class of exceptions"),
        ("fail_on", None, "names None, which is no class of exceptions"),
        ("fail_on", ValueError(), "names ValueError(), which is no class of exceptions"),
        ("retry_on", {"OSError": 1}, "names 'OSError', which is no class of exceptions"),
        ("retry_on", (int,), "names <class 'int'>, which is no class of exceptions"),
        ("retry_on", {OSError: -1}, "the delay of OSError is -1, but must be a number of seconds from 0"),
        ("retry_on", {OSError: NAN}, "the delay of OSError is NaN, but must be a number of seconds"),
        ("retry_on", {OSError: 10**400}, "but must be a number of seconds from 0 to 31622400, or None"),
        ("retry_on", {OSError: True}, "the delay of OSError is true, but must be"),
        ("isolate", 1, "1, but must be True or False"),
        ("isolate", None, "None, but must be True or False"),
        ("concurrency", 0, "0, but must be a whole number from 1 to 1000"),
        ("concurrency", True, "true, but must be a whole number from 1 to 1000"),
        ("concurrency", "1", "but must be a whole number from 1 to 1000"),
        ("concurrency", None, "None, but must be a number"),
        ("prefetch", -1, "-1, but must be a whole number from 0 to 1000"),
        ("prefetch", 1000, "concurrency and prefetch are above 1000 together"),
        ("kill_grace", -1, "-1, but must be a number of seconds from 0"),
        ("kill_grace", None, "None, but must be a number"),
    ],
)
def test_what_cannot_be_is_told_with_the_class_the_value_and_what_it_must_be(
    name: str, value: Any, must_be: str
) -> None:
    with pytest.raises(BadWorker, match=f"^Import.*{name}.*{re.escape(must_be)}") as wrong:
        declared(made(**{name: value}))
    assert isinstance(wrong.value, ValueError)


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({"fail_on": ValueError}, Rules((ValueError,))),
        ({"fail_on": [ValueError, KeyError]}, Rules((ValueError, KeyError))),
        ({"retry_on": OSError}, Rules((), {OSError: None})),
        ({"retry_on": (OSError, KeyError)}, Rules((), {OSError: None, KeyError: None})),
        ({"retry_on": {OSError: 10, SystemExit: None}}, Rules((), {OSError: 10.0, SystemExit: None})),
    ],
)
def test_exceptions_may_be_one_or_several_or_have_delays(given: Any, rules: Rules) -> None:
    assert declared(made(**given)).rules == rules


# ---------------------------------------------------------------- work()


@pytest.mark.parametrize(
    ("work", "shown"),
    [
        (lambda self, params: None, "(params)"),
        (lambda self: None, "()"),
        (lambda self, job_id, *, params: None, "(job_id, *, params)"),
        (lambda self, a, b, c: None, "(a, b, c)"),
        (staticmethod(lambda params: None), "(params)"),
    ],
    ids=range(5),
)
def test_a_work_that_no_job_can_be_given_to_is_refused(work: Any, shown: str) -> None:
    text = f"Import.work{shown} cannot be called with a job's id and parameters; write 'def work(self, "
    with pytest.raises(BadWorker, match=f"^{re.escape(text)}"):
        declared(made(work=work))


@pytest.mark.parametrize(
    "work",
    [
        lambda self, *args: None,
        lambda self, job_id, params=None, more=1: None,
        staticmethod(lambda job_id, params: None),
        classmethod(lambda cls, job_id, params: None),
        functools.partial(lambda more, job_id, params: None, 5),
        max,
    ],
    ids=range(6),
)
def test_a_work_may_be_whatever_can_be_called_so(work: Any) -> None:
    declared(made(work=work))


@dataclass
class Order:
    path: str
    at: Any = None


class Typed(Import):
    def work(self, job_id: str, params: Order) -> Absent: ...


def test_the_annotation_of_work_says_what_its_parameters_are_and_ready_tells_it() -> None:
    found = declared(Typed())
    assert found.parameters.decode({"path": "x"}) == Order("x")
    assert found.told["params"]["$defs"]["Order"]["required"] == ["path"]
    with pytest.raises(BadParams):
        found.parameters.decode({})


def test_behind_a_decorator_is_the_annotation_of_what_it_wraps() -> None:
    @functools.wraps(Typed.work)
    def wrapped(*args: Any) -> Any: ...

    assert declared(made(work=wrapped)).parameters.decode({"path": "x"}) == Order("x")


def test_where_work_says_nothing_validate_does() -> None:
    def validate(self: Any, params: Order) -> None: ...

    def work(self, job_id, params):  # type: ignore[no-untyped-def]
        ...

    assert declared(made(work=work, validate=validate)).parameters.decode({"path": "x"}) == Order("x")
    assert declared(made(validate=validate)).parameters is ANYTHING, "for that one's work() says Any"


def test_a_name_that_is_for_type_checkers_alone_is_told_at_the_start() -> None:
    def work(self: Any, job_id: str, params: Absent) -> None: ...

    with pytest.raises(BadAnnotation, match=r"^Import\.work\(\): the annotation of 'params' .*'Absent'"):
        declared(made(work=work))


def test_a_schema_that_ready_cannot_tell_is_left_out_and_the_type_holds() -> None:
    @dataclass
    class Wide:
        path: str = "x" * SCHEMA_BYTES_MAX

    @dataclass
    class Odd:
        path: float = NAN

    for cls in (Wide, Odd):
        found = declared(made(work=lambda self, job_id, params: None))
        assert found.told == NOTHING

        def work(self: Any, job_id: str, params: Any) -> None: ...

        work.__annotations__["params"] = cls
        found = declared(made(work=work, retries=1))
        assert found.told == {"defaults": {"retries": 1}, "params": {}}
        assert found.parameters.decode({}) is not None


def test_a_function_tells_its_own() -> None:
    @worker("F", retries=3, ttr=5)
    def f(text: str, times: int = 1) -> None: ...

    assert declared(worker_of(f)).told == {
        "defaults": {"retries": 3, "ttr": 5.0},
        "params": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }
