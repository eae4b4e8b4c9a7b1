"""zmws.core.pointers: JSON Pointers (RFC 6901)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmws.core.pointers import POINTER_CHARS_MAX, fault_of, put

VALUE: Any = {"a": {"b": [1, [2]]}, "": 0, "x/y": 1, "m~n": 2, "0": {"1": None}}


def with_new(pointer: str) -> Any:
    assert fault_of(VALUE, pointer) is None
    return put(json.loads(json.dumps(VALUE)), pointer, "new")


@pytest.mark.parametrize(
    ("pointer", "way"),
    [
        ("/a", ["a"]),
        ("/a/b", ["a", "b"]),
        ("/a/b/0", ["a", "b", 0]),
        ("/a/b/1/0", ["a", "b", 1, 0]),
        ("/a/new", ["a", "new"]),
        ("/", [""]),
        ("/x~1y", ["x/y"]),
        ("/m~0n", ["m~n"]),
        ("/0/1", ["0", "1"]),
        ("/~01", ["~1"]),  # RFC 6901, section 4: "~01" is "~1", and not "/"
    ],
)
def test_the_value_is_put_where_the_pointer_points(pointer: str, way: list[Any]) -> None:
    found = with_new(pointer)
    for part in way:
        found = found[part]
    assert found == "new"


def test_the_empty_pointer_is_all_of_it() -> None:
    assert with_new("") == "new"


@pytest.mark.parametrize(
    "pointer",
    [
        "a",
        "a/b",
        "/a/b/2",
        "/a/b/-",
        "/a/b/01",
        "/a/b/+1",
        "/a/b/²",
        "/c/d",
        "/a/b/0/x",
        "/a/b/1e0",
        "/a/b/-1",
    ],
)
def test_a_place_that_there_is_not_is_told(pointer: str) -> None:
    fault = fault_of(VALUE, pointer)
    assert fault is not None and pointer in fault


@pytest.mark.parametrize("pointer", [None, 7, ["/a"], "/" + "x" * POINTER_CHARS_MAX])
def test_what_is_no_pointer_is_told(pointer: Any) -> None:
    assert fault_of(VALUE, pointer) == f"a JSON Pointer is a text of at most {POINTER_CHARS_MAX} characters"


@pytest.mark.parametrize("value", [None, 7, "text", [], True])
def test_nothing_is_put_into_what_holds_nothing(value: Any) -> None:
    assert fault_of(value, "/a") is not None and fault_of(value, "") is None


@given(st.text(max_size=30))
def test_a_pointer_without_a_fault_can_be_put(pointer: str) -> None:
    if fault_of(VALUE, pointer) is None:
        put(json.loads(json.dumps(VALUE)), pointer, 1)
