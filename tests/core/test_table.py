"""zmws.core.table: one checker of values, and one "did you mean"."""

from __future__ import annotations

import time
from typing import Any

import pytest

from zmws.core.table import (
    SHOWN_CHARS_MAX,
    YEAR_S,
    Row,
    Unfit,
    checked,
    did_you_mean,
    expected,
    no_such,
    shown,
    value_in,
)


def refusal(row: Row, value: Any, high: float | None = None) -> str:
    with pytest.raises(Unfit) as caught:
        checked("x", row, value, high)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "value", "taken"),
    [
        (Row("int", low=1, high=5), 1, 1),
        (Row("int", low=1, high=2**63 - 1), 2**63 - 1, 2**63 - 1),
        (Row("whole", low=0, high=5), 5.0, 5),
        (Row("number", low=0, high=1), 1, 1.0),
        (Row("seconds"), YEAR_S, YEAR_S),
        (Row("seconds", above_low=True), 0.001, 0.001),
        (Row("bytes", high=2**40), "1.5 KiB", 1536),
        (Row("bytes", high=2**40), 7, 7),
        (Row("time"), "1970-01-01T01:00:10+01:00", 10.0),
        (Row("page"), "12", 12),
        (Row("flag"), False, False),
        (Row("choice", choices=("a", "b")), "b", "b"),
        (Row("text"), "\n", "\n"),
        (Row("name"), "", ""),
        (Row("word"), "é" * 64, "é" * 64),
        (Row("key"), "x" * 255, "x" * 255),
        (Row("id"), "a:b", "a:b"),
        (Row("token"), "a/1/b", "a/1/b"),
        (Row("service"), "", ""),
        (Row("value"), [1], [1]),
        (Row("seconds", word="off", word_value=None), "off", None),
        (Row("parsed", parse=int), "7", "7"),
    ],
)
def test_a_value_that_its_row_allows_is_taken_in_the_rows_type(row: Row, value: Any, taken: Any) -> None:
    found = checked("x", row, value)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        (Row("int", low=1, high=5), [0, 6, 1.0, "1", True, None, float("nan"), 10**400]),
        (Row("int", high=2**63 - 1), [2**63, 2.0**63]),
        (Row("whole", low=0, high=5), [1.5, 6.0, float("inf"), float("nan"), -1e308, False]),
        (Row("number", low=0, high=1), [1.0001, float("nan"), "1", 10**400]),
        (Row("seconds"), [-1, YEAR_S + 1, float("inf")]),
        (Row("seconds", above_low=True), [0, 0.0, -0.0]),
        (Row("bytes", low=1, high=100), [1.0, "1 KB", "1 KiB", 0, [1]]),
        (Row("time"), ["1970-01-01", 5, "x"]),
        (Row("time", high=9000), ["9000-01-01T00:00:00Z"]),
        (Row("page"), ["²", "", 1, "9" * 19]),
        (Row("flag"), [0, 1, "true"]),
        (Row("choice", choices=("a",)), ["A", 1, ["a"]]),
        (Row("text"), [1, None]),
        (Row("name"), ["\n", "\ud800"]),
        (Row("word"), ["", "x" * 65]),
        (Row("key"), ["", "é" * 128]),
        (Row("id"), ["a b", "a\n", "", "x" * 129, 1]),
        (Row("token"), ["a/1", "é/1/b", "x" * 300]),
        (Row("seconds", word="off"), ["on"]),
        (Row("parsed", parse=int), ["x"]),
    ],
)
def test_a_value_that_its_row_does_not_allow_is_refused(row: Row, values: list[Any]) -> None:
    for value in values:
        assert refusal(row, value).startswith("x is ")


def test_a_refusal_says_the_value_and_what_it_must_be() -> None:
    assert refusal(Row("int", low=2, high=100), 1) == "x is 1, but must be a whole number from 2 to 100"
    above = Row("seconds", high=3600, above_low=True, word="off")
    assert refusal(above, 0) == 'x is 0, but must be a number of seconds above 0, up to 3600, or "off"'
    assert expected(Row("number", low=0.5, high=2**63 - 1)) == "a number from 0.5 to 9223372036854775807"
    assert "before the year 9000" in refusal(Row("time", high=9000), "x")
    assert "before" not in expected(Row("time"))

    def parse(_: Any) -> Any:
        raise ValueError("HOST:PORT")

    assert (
        refusal(Row("parsed", parse=parse, word=""), "y")
        == "x is 'y', but must be HOST:PORT, or \"\" for none"
    )


def test_a_bound_that_a_limit_says_comes_with_the_value() -> None:
    row = Row("seconds", high="wait_s_max")
    assert checked("x", row, 5, 10) == 5.0
    assert "up to" not in refusal(row, 11, 10) and "from 0 to 10" in refusal(row, 11, 10)


def test_a_value_is_quoted_as_it_would_be_written_and_never_at_length() -> None:
    assert [shown(one) for one in ("a", "\n", True, None, 5, [1], {"a": 1})] == [
        "'a'",
        "'\\n'",
        "true",
        "null",
        "5",
        "[1]",
        '{"a": 1}',
    ]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    looked_at: list[int] = []

    class Slow:
        def __str__(self) -> str:
            looked_at.append(1)
            return "slow"

    assert shown([Slow() for _ in range(10_000)]).endswith("...") and len(looked_at) < 100
    for one in ("x" * 10**6, "\0" * 10**6, [1] * 1_000, deep, 10**5_000):
        assert len(shown(one)) <= SHOWN_CHARS_MAX


def test_an_unknown_name_is_told_the_nearest_or_all_there_are() -> None:
    assert no_such("retrys", "option of a job", ["priority", "retries"]) == (
        "'retrys' is no option of a job; did you mean 'retries'?"
    )
    assert did_you_mean("zzz", ["id", "ask"]) == "; there are id, ask"
    assert did_you_mean("zzz", []) == "; there are none"


def test_to_compare_a_long_name_takes_no_time() -> None:
    known = [f"name_{n}" for n in range(100)]
    began = time.process_time()
    assert len(no_such("name" * 250_000, "name", known)) < 2_000
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        ("int", "5", 5),
        ("seconds", "0.5", 0.5),
        ("whole", "1e3", 1000.0),
        ("seconds", "auto", "auto"),
        ("int", "nan", "nan"),
        ("int", "1" * 5_000, "1" * 5_000),
        ("bytes", "5", "5"),
        ("id", "5", "5"),
        ("flag", "False", False),
        ("flag", "true", True),
        ("flag", "1", "1"),
    ],
)
def test_a_text_stands_for_a_number_where_one_is_wanted(kind: Any, text: str, number: Any) -> None:
    assert value_in(Row(kind), text) == number


def test_an_object_that_a_text_of_no_utf_8_stands_for_is_left_to_be_refused() -> None:
    text = b'{"a": "\xff"}'.decode("utf-8", "surrogateescape")  # as the shell hands it over
    assert value_in(Row("object"), text) == text
    with pytest.raises(Unfit, match="must be a JSON object"):
        checked("'meta'", Row("object"), text)
