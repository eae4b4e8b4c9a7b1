"""zmws.work.results: what work() returns as JSON, and what is refused of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from tests.peers import REPOSITORY
from zmws.errors import BadResult
from zmws.work.results import encode_result

NAN = float("nan")


class Colour(Enum):
    RED = "red"
    NONE = None
    RAW = b"\xff"


class Size(IntEnum):
    BIG = 3


@dataclasses.dataclass
class Row:
    name: Any
    rows: list[Any] = dataclasses.field(default_factory=list)


class Packed(msgspec.Struct):
    a: Any


class Model(pydantic.BaseModel):
    a: Any


Point = namedtuple("Point", "x y")
ID = UUID("12345678123456781234567812345678")


def made(value: Any) -> Any:
    (frame,) = encode_result(value, "the result")
    assert frame.startswith(b"PARAM-JSON: ")
    return json.loads(frame.removeprefix(b"PARAM-JSON: "))


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (Row("x", [Row("y")]), {"name": "x", "rows": [{"name": "y", "rows": []}]}),
        (Model(a=[date(2027, 1, 31)]), {"a": ["2027-01-31"]}),
        (Packed({1: date(2027, 1, 31)}), {"a": {"1": "2027-01-31"}}),
        (datetime(2027, 1, 31, 8), "2027-01-31T08:00:00"),
        (date(2027, 1, 31), "2027-01-31"),
        (time(8, 30), "08:30:00"),
        (Decimal("0.10"), "0.10"),
        (ID, str(ID)),
        (Path("/a/b"), "/a/b"),
        ({3}, [3]),
        (frozenset({Colour.RED}), ["red"]),
        (Size.BIG, 3),
        (Point(1, ID), [1, str(ID)]),
    ],
)
def test_what_programs_have_is_written_as_the_table_says_alone_and_within(value: Any, result: Any) -> None:
    assert made(value) == result
    assert made({"a": (value, [value])}) == {"a": [result, [result]]}
    assert made(Row(value)) == {"name": result, "rows": []}
    assert made(Packed([value])) == {"a": [result]}


def test_json_and_bytes_are_as_they_are_and_none_is_none() -> None:
    assert encode_result(None, "") == encode_result(Colour.NONE, "") == ()
    assert encode_result(b"\xff", "") == encode_result(Colour.RAW, "") == (b"\xff",)
    assert made({"a": [1, None, "ä"]}) == {"a": [1, None, "ä"]}
    assert made(datetime(2027, 1, 31, 8, tzinfo=UTC)) == "2027-01-31T08:00:00+00:00"


def test_a_value_may_stand_in_two_places() -> None:
    row = Row(ID)
    assert made([row, row, {"a": row}])[2]["a"] == {"name": str(ID), "rows": []}


def in_itself(kind: Callable[[], Any]) -> Any:
    value = kind()
    value.append({"when": date(2027, 1, 31), "again": value})
    return value


def row_in_itself() -> Row:
    row = Row("x")
    row.rows.append(row)
    return row


def deep(inner: Any) -> Any:
    for _ in range(100_000):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [object()]}, "the result['a'][0] is a object, which JSON cannot hold"),
        (Row([b"x"]), "the result['name'][0] is a bytes, which JSON cannot hold"),
        ([{1}, timedelta(1)], "the result[1] is a datetime.timedelta, which JSON cannot hold"),
        ({"a": NAN}, "the result['a'] is nan, which JSON cannot hold"),
        (Row(NAN), "the result['name'] is nan, which JSON cannot hold"),
        (Packed(NAN), "the result['a'] is nan, which JSON cannot hold"),
        ({ID: 1}, "the result has a key that is a UUID; JSON takes texts and numbers alone"),
        ({1: 1, "1": {2}}, "the result has keys that JSON writes alike, 1 and '1', and one would be lost"),
        (in_itself(list), "the result holds itself"),
        (row_in_itself(), "the result holds itself"),
        (deep(1), "the result is nested too deep"),
        (Row(deep(1)), "the result is nested too deep"),
        (Row, "the result is a type, which JSON cannot hold"),
        ((n for n in ()), "the result is a generator, which JSON cannot hold"),
        (Packed(object()), "the result holds a Packed that JSON cannot hold: it holds a object"),
        (Model(a=object()), "the result holds a Model that JSON cannot hold: Unable to serialize unknown"),
        (
            [Model(a=b"\xff")],
            "the result holds a Model that JSON cannot hold: 'utf-8' codec can't decode byte 0xff",
        ),
    ],
    ids=range(17),
)
def test_what_json_cannot_hold_is_refused_and_the_part_named(value: Any, said: str) -> None:
    with pytest.raises(BadResult) as wrong:
        encode_result(value, "the result")
    assert str(wrong.value).startswith(said)


def test_structs_hold_what_their_library_does_not_know() -> None:
    assert made(Packed([PurePosixPath("a"), Model(a=1), {"b": Row(1)}])) == {
        "a": ["a", {"a": 1}, {"b": {"name": 1, "rows": []}}]
    }


def test_no_library_is_imported_to_write_a_result() -> None:
    text = """
import sys
from datetime import date
from zmws.work.results import encode_result
encode_result([date(2027, 1, 31)], "")
print({"msgspec", "pydantic"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
