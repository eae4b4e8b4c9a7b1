"""zmws.work.function: a plain function as a worker."""

from __future__ import annotations

import asyncio
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from zmws import WorkerBase
from zmws.testing import run_job
from zmws.work import Fail, JobInHand, worker
from zmws.work.declared import BadWorker, declared
from zmws.work.function import class_of, worker_of
from zmws.work.parameters import BadAnnotation

if TYPE_CHECKING:
    from nowhere import Absent


@dataclass
class Row:
    n: int


@worker("STR-REV", retries=3, fail_on=KeyError)
def reverse(text: str, *, times: int = 1) -> str:
    """Turns a text around."""
    return text[::-1] * times


@worker("OTHERS")
def others(first, **rest: int):  # type: ignore[no-untyped-def]
    return [first, rest]


@worker("JOB")
def of_job(job: JobInHand, n: int, again: JobInHand | None = None) -> Any:
    job.save(n)
    return [job.id, again is job]


@worker("ASYNC")
async def waits(rows: list[Row]) -> int:
    await asyncio.sleep(0)
    return sum(row.n for row in rows)


@worker("NONE")
def nothing() -> Absent:
    return "done"


def test_its_parameters_come_by_name_out_of_an_object() -> None:
    assert run_job(reverse, {"text": "abc"}).result == "cba"
    assert run_job(reverse, {"text": "ab", "times": 2}).result == "baba"
    assert run_job(others, {"first": [1], "a": 2}).result == [[1], {"a": 2}]
    assert run_job(waits, {"rows": [{"n": 1}, {"n": 2}]}).result == 3
    assert run_job(nothing).result == "done" and run_job(nothing, {}).ok


@pytest.mark.parametrize(
    ("function", "params", "said"),
    [
        (reverse, "abc", "expected an object with 'text', 'times', got a text"),
        (reverse, None, "'text' is missing: 'text', 'times' can be given"),
        (reverse, {"text": 1}, "'text': expected a text, got a whole number"),
        (reverse, {"text": "", "tmies": 1}, "there is no parameter 'tmies'; did you mean 'times'?"),
        (others, {"first": 1, "a": "x"}, "'a': expected a whole number, got a text"),
        (waits, {"rows": [{}]}, "'rows[0]': object missing required field 'n'"),
        (of_job, {"n": 1, "job": {}}, "there is no parameter 'job'; there are n"),
        (nothing, {"a": 1}, "there is no parameter 'a'; there are none"),
    ],
)
def test_what_does_not_fit_is_bad_params(function: Any, params: Any, said: str) -> None:
    outcome = run_job(function, params)
    assert (outcome.code, outcome.message, outcome.retried) == ("bad_params", said, False)


def test_a_parameter_for_the_job_is_given_it() -> None:
    outcome = run_job(of_job, {"n": 5}, job_id="mine")
    assert outcome.result == ["mine", True] and outcome.saved == [5]


def test_a_job_cannot_be_given_in_its_place_even_where_others_are_taken() -> None:
    @worker("X")
    def of(job: JobInHand, **rest: Any) -> Any:
        return rest

    assert run_job(of, {"a": 1}).result == {"a": 1}
    assert run_job(of, {"job": 1}).code == "bad_params"


def test_the_function_stays_what_it_was() -> None:
    assert reverse("abc") == "cba" and reverse.__name__ == "reverse"
    assert asyncio.run(waits([Row(4)])) == 4
    made = class_of(reverse)
    assert made is not None and made.__name__ == "reverse" and made.__doc__ == "Turns a text around."
    assert made.__module__ == __name__ and made.service_name == "STR-REV"


def test_it_declares_what_a_class_does() -> None:
    found = declared(worker_of(reverse))
    assert found.defaults == {"retries": 3} and found.rules.fail_on == (KeyError,)

    @worker("X", isolate=True)
    def isolated() -> None: ...

    assert declared(worker_of(isolated)).kind == "children"

    @worker("X", concurrency=3)
    async def waits() -> None: ...

    assert declared(worker_of(waits)).kind == "coroutines"

    @worker("X", concurrency="many")
    def wrong() -> None: ...

    with pytest.raises(BadWorker, match=r"wrong\.concurrency"):
        declared(worker_of(wrong))


def test_what_it_raises_is_told_as_of_a_work() -> None:
    @worker("X", retry_on={ValueError: 5})
    def raises(how: str) -> None:
        raise Fail("no") if how == "fail" else ValueError("x")

    assert not run_job(raises, {"how": "fail"}).retried
    assert run_job(raises, {"how": ""}).delay == 5.0


# ---------------------------------------------------------------- what cannot be


def refused(made: Any) -> str:
    with pytest.raises(BadWorker) as wrong:
        made()
    return str(wrong.value)


def test_a_setting_that_there_is_not_is_refused_with_the_nearest() -> None:
    assert (
        refused(lambda: worker("X", retrys=3))
        == "@worker: 'retrys' is no setting of a worker; did you mean 'retries'?"
    )
    assert "there are backoff, concurrency" in refused(lambda: worker("X", zzz=3))
    assert "'service_name' is no setting" in refused(lambda: worker("X", service_name="Y"))


class Class:
    def method(self, n: int) -> None: ...

    @staticmethod
    def static(n: int) -> None: ...


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: 1, "a lambda has no name; write 'def'"),
        (Class, "Class is a class; write a subclass of WorkerBase"),
        (Class.method, "Class.method is a method; write it outside of the class"),
        (Class().method, "<bound method Class.method of <"),
        (Class.static, "Class.static is a method; write it outside of the class"),
        (staticmethod(nothing), "<staticmethod(<function nothing at "),
        (functools.partial(reverse), "functools.partial(<function reverse"),
        (len, "<built-in function len> is none"),
        (5, "5 is none"),
        (nothing, "nothing() serves 'NONE' already; write one for each service"),
    ],
    ids=range(10),
)
def test_what_is_no_function_of_a_module_is_refused(made: Any, why: str) -> None:
    assert refused(lambda: worker("X")(made)).startswith(
        f"@worker('X') makes a worker of a function, and {why}"
    )


def test_without_a_name_of_a_service_it_says_what_to_write() -> None:
    assert refused(lambda: worker(reverse)) == (  # type: ignore[arg-type]
        "@worker needs the name of a service: @worker('STR-REV')"
    )


def test_parameters_that_cannot_come_by_name_are_refused() -> None:
    def slash(text: str, /) -> None: ...

    def star(*rows: int) -> None: ...

    def absent(row: Absent) -> None: ...

    for function, said in ((slash, "'text' takes no keyword"), (star, "'rows' takes"), (absent, "'Absent'")):
        with pytest.raises(BadAnnotation, match=rf"^{function.__name__}\(\): .*{said}"):
            worker("X")(function)


def test_a_decorator_that_no_job_would_run_is_refused() -> None:
    @functools.wraps(reverse)
    def around(*args: Any, **given: Any) -> Any:
        return reverse(*args, **given)

    text = "reverse() has a decorator above @worker; put @worker above all others"
    with pytest.raises(BadWorker, match=f"^{re.escape(text)}$"):
        worker_of(around)
    assert run_job(worker("X")(around), {"text": "ab"}).result == "ba", "but it may be below"


def test_a_worker_is_an_object_a_class_or_a_function_that_was_made_one() -> None:
    class W(WorkerBase):
        service_name = "W"

    one = W()
    assert worker_of(one) is one and type(worker_of(W)) is W
    assert worker_of(reverse).service_name == "STR-REV"
    for other in (Class, refused, 5, None):
        assert "is no worker: a subclass of WorkerBase" in refused(lambda other=other: worker_of(other))
