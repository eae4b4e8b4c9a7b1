"""zmws.work.parameters: what an annotation takes, what it refuses, and that its schema says so too."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Dict, List, Literal, Optional, TypedDict, Union  # noqa: UP035

import annotated_types
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from tests.peers import REPOSITORY
from zmws.errors import BadParams
from zmws.work import parameters
from zmws.work.parameters import BadAnnotation, Parameters, of_keywords, of_method, of_type, schema_text

if TYPE_CHECKING:
    from nowhere import Absent

NAN = float("nan")
HUGE = 10**400


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Row:
    name: str
    count: int = 0


@dataclasses.dataclass
class Order:
    rows: list[Row]
    at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("an order has `rows`")


class Whole(TypedDict):
    a: int


class Partly(TypedDict, total=False):
    a: int


class Packed(msgspec.Struct, forbid_unknown_fields=True):
    a: Annotated[int, msgspec.Meta(ge=1)]


class Part(pydantic.BaseModel):
    a: int


class Model(pydantic.BaseModel):
    a: int
    rows: list[Part] = []


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    colour: Colour


@pydantic.dataclasses.dataclass
class Checked:
    a: Annotated[int, Field(gt=0)]


@dataclasses.dataclass
class Lost:
    a: Absent


@dataclasses.dataclass
class Deep:
    inner: Deep | None = None


@dataclasses.dataclass
class Other:
    b: int


@dataclasses.dataclass
class Odd:
    a: float = NAN


def decode(hint: Any, value: Any) -> Any:
    return of_type(hint, "W.work()").decode(value)


def fault(hint: Any, value: Any) -> tuple[str, str]:
    """Where it is wrong, and what is said of it."""
    with pytest.raises(BadParams) as wrong:
        decode(hint, value)
    return wrong.value.path, wrong.value.message


# ---------------------------------------------------------------- what is taken


@pytest.mark.parametrize("hint", [Any, object, dict, bytes])
@pytest.mark.parametrize("value", [b"\xff", {}, [1], None, NAN])
def test_what_asks_for_nothing_takes_what_came(hint: Any, value: Any) -> None:
    assert decode(hint, value) is value and of_type(hint, "").schema is None


@pytest.mark.parametrize(
    ("hint", "value", "made"),
    [
        (str, "ä", "ä"),
        (int, HUGE, HUGE),
        (float, 2, 2.0),
        (float, math.inf, math.inf),
        (bool, True, True),
        (None, None, None),
        (list, [1, "a"], [1, "a"]),
        (List, [1], [1]),  # noqa: UP006
        (Dict, {"a": 1}, {"a": 1}),  # noqa: UP006
        (list[dict], [{"a": 1}], [{"a": 1}]),
        (dict[str, object], {"a": [1]}, {"a": [1]}),
        (dict[str, int], {12: 1}, {"12": 1}),
        (Optional[int], None, None),  # noqa: UP045
        (Union[int, None], 3, 3),  # noqa: UP007
        (float | int, HUGE, HUGE),
        (float | int, 2, 2),
        (list[int] | dict[str, int], {"a": 1}, {"a": 1}),
        (Annotated[int, {}], 1, 1),
        (Literal["a", 1], 1, 1),
        (Colour, "red", Colour.RED),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Row, {"name": "x", "more": 1}, Row("x")),
        (Order, {"rows": [{"name": "x", "count": 2}]}, Order([Row("x", 2)])),
        (Whole, {"a": 1}, {"a": 1}),
        (Partly, {}, {}),
        (Packed, {"a": 1}, Packed(1)),
        (Packed | None, None, None),
        (Model, {"a": 1, "rows": [{"a": 2}]}, Model(a=1, rows=[Part(a=2)])),
        (list[Model], [{"a": 1}], [Model(a=1)]),
        (Model | bytes, b"\xff", b"\xff"),
        (Checked, {"a": 1}, Checked(1)),
        (
            Strict,
            {"at": "2027-01-31T08:00:00Z", "colour": "red"},
            Strict(at=datetime.fromisoformat("2027-01-31T08:00:00Z"), colour=Colour.RED),
        ),
    ],
)
def test_what_fits_is_made_into_the_type(hint: Any, value: Any, made: Any) -> None:
    found = decode(hint, value)
    assert found == made and type(found) is type(made)


@pytest.mark.parametrize(
    ("hint", "value", "path", "said"),
    [
        (str, 5, "", "expected a text, got a whole number"),
        (int, True, "", "expected a whole number, got true or false"),
        (int, 5.0, "", "expected a whole number, got a number"),
        (int, NAN, "", "expected a whole number, got a number"),
        (bool, 1, "", "expected true or false, got a whole number"),
        (float, HUGE, "", "expected a number, got a whole number that is too large for one"),
        (str, b"x", "", "expected a text, got bytes"),
        (dict[str, int], [], "", "expected an object, got a list"),
        (list[int], [1, None], "[1]", "expected a whole number, got null"),
        (dict[str, list[str]], {"a": ["b", 1]}, "a[1]", "expected a text, got a whole number"),
        (dict[str, int], {"a b": ""}, "['a b']", "expected a whole number, got a text"),
        (dict[str, int], {"": ""}, "['']", "expected a whole number, got a text"),
        (int | None, "", "", "expected a whole number or null, got a text"),
        (List[int] | None, {}, "", "expected a list or null, got an object"),  # noqa: UP006
        (list[int] | str, ["x"], "[0]", "expected a whole number, got a text"),
        (Row, b"x", "", "expected 'object', got 'bytes'"),
        (Row, {}, "", "object missing required field 'name'"),
        (Order, {"rows": [{"name": 5}]}, "rows[0].name", "expected 'str', got 'int'"),
        (Order, {"rows": []}, "", "an order has 'rows'"),
        (Order, {"rows": [{"name": ""}], "at": "now"}, "at", "invalid RFC3339 encoded datetime"),
        (dict[str, Order], {"x": {"rows": []}}, "[...]", "an order has 'rows'"),
        (dict[int, int], {"x": 1}, "", "a key: expected 'int', got 'str'"),
        (Whole, {}, "", "object missing required field 'a'"),
        (Packed, {"a": 0}, "a", "expected 'int' >= 1"),
        (Packed, {"a": 1, "b": 1}, "", "object contains unknown field 'b'"),
        (Literal["a"], "b", "", "invalid enum value 'b'"),
        (Colour, "blue", "", "invalid enum value 'blue'"),
        (Row, {"\ud800": 1}, "", "a text in it is no Unicode: it has half of a surrogate pair"),
        (Model, {"a": 1, "rows": [{"a": "x"}]}, "rows[0].a", "input should be a valid integer, "),
        (list[Model], [{}], "[0].a", "field required"),
        (Checked, {"a": 0}, "a", "input should be greater than 0"),
        (Annotated[int, Field(gt=0)], 0, "", "input should be greater than 0"),
        (Annotated[int, annotated_types.Gt(0)], 0, "", "input should be greater than 0"),
        (Model, b"x", "", "input should be a valid dictionary"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_what_it_must_be(
    hint: Any, value: Any, path: str, said: str
) -> None:
    found = fault(hint, value)
    assert found[0] == path and found[1].startswith(said)


def test_all_that_is_wrong_with_a_model_is_told_but_no_more_than_three() -> None:
    hint = pydantic.create_model("Many", **{f"f{n}": (int, ...) for n in range(5)})
    path, said = fault(hint, {})
    assert path == "" and said.startswith("'f0': field required; 'f1': ")
    assert said.endswith("'f2': field required; and 2 more")


@pytest.mark.parametrize("hint", [dict[str, int], Row, Model, Whole, Deep, dict[str, Row], Literal["a"]])
def test_a_refusal_stays_short_whatever_came(hint: Any) -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"inner": deep}
    for value in ({"x" * 10_000: "y" * 10_000}, "y" * 10_000, 10**4000, deep | {"name": HUGE, "a": HUGE}):
        try:
            decode(hint, value)
        except BadParams as wrong:
            assert len(str(wrong)) < 1_000


def test_what_is_nested_too_deep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    value: Any = None
    for _ in range(100_000):
        value = {"inner": value}
    assert fault(Deep, value)[1] == "nested too deep"
    node = pydantic.create_model("Node", inner=(Any, None))
    assert fault(list[node], [value])[1] != ""  # type: ignore[valid-type]


def test_an_error_of_the_authors_own_check_is_no_fault_of_the_parameters() -> None:
    class Breaks(pydantic.BaseModel):
        @pydantic.model_validator(mode="before")
        def check(cls, value: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decode(Breaks, {})


# ---------------------------------------------------------------- annotations of functions


def test_a_method_has_its_annotation_read_and_no_other() -> None:
    class W:
        def work(self, job_id: Absent, params: list[int]) -> Absent: ...

        def plain(self, job_id, params): ...  # type: ignore[no-untyped-def]

        def few(self) -> None: ...

    found = of_method(W().work, 1, "W.work()")
    assert found is not None and found.decode([1]) == [1]
    assert of_method(W().plain, 1, "") is None and of_method(W().few, 1, "") is None
    assert of_method(max, 1, "") is None
    with pytest.raises(BadAnnotation, match=r"W\.work\(\): the annotation of 'job_id' .*NameError.*'Absent'"):
        of_method(W().work, 0, "W.work()")


@pytest.mark.parametrize(
    "hint", [Lost, Row | Other, Callable, 5, complex, list[Lost], Annotated[Lost, Field()], "no type"]
)
def test_what_json_can_never_become_is_told_at_the_start(hint: Any) -> None:
    with pytest.raises(BadAnnotation, match=r"^W\.work\(\): 'x' cannot be read from JSON: \w+: .+") as wrong:
        of_type(hint, "W.work(): 'x'")
    assert "\n" not in str(wrong.value)


def test_a_library_that_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(BadAnnotation, match=r"W needs msgspec, .* pip install 'zmws\[typed\]'"):
        of_type(Row, "W")
    assert of_type(list[int] | None, "W").decode([1]) == [1]


def test_no_library_is_imported_where_no_annotation_needs_it() -> None:
    text = """
import sys
from zmws.work import WorkerBase, worker
from zmws.work.declared import declared

class W(WorkerBase):
    service_name = "W"
    def work(self, job_id: str, params: dict[str, list[int] | None]) -> str: ...

@worker("F")
def f(a: int, b: str = "") -> None: ...

declared(W())
print({"msgspec", "pydantic"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# ---------------------------------------------------------------- keywords


def test_keywords_are_checked_by_name() -> None:
    def of(text: str, times: int = 1, *, rows: list[Row] | None = None, job: Any = None) -> None: ...

    found = of_keywords(of, "of()", frozenset({"job"}))
    assert found.decode({"text": "a", "rows": [{"name": "b"}]}) == {"text": "a", "rows": [Row("b")]}
    for value, said in [
        ("a", "expected an object with 'text', 'times', 'rows', got a text"),
        (b"a", "expected an object with 'text', 'times', 'rows', got bytes"),
        ({}, "'text' is missing: 'text', 'times', 'rows' can be given"),
        ({"text": "a", "tims": 1}, "there is no parameter 'tims'; did you mean 'times'?"),
        ({"text": "a", "job": 1}, "there is no parameter 'job'; there are text, times, rows"),
        ({1: 2}, "there is no parameter 1; there are text, times, rows"),
        ({"text": 1}, "'text': expected a text, got a whole number"),
        ({"text": "a", "rows": [{"name": "b"}, {}]}, "'rows[1]': object missing required field 'name'"),
    ]:
        with pytest.raises(BadParams) as wrong:
            found.decode(value)
        assert str(wrong.value) == said


def test_other_keywords_are_taken_where_the_function_does_and_checked_too() -> None:
    def of(job: Any, **others: int) -> None: ...

    found = of_keywords(of, "of()", frozenset({"job"}))
    assert found.decode({"a": 1}) == {"a": 1}
    for value in ({"a": "x"}, {"job": 1}):
        with pytest.raises(BadParams, match=next(iter(value))):
            found.decode(value)
    assert found.schema is not None and found.schema["additionalProperties"] == {"type": "integer"}


def test_parameters_that_take_no_name_are_refused() -> None:
    def star(*rest: int) -> None: ...

    def slash(text: str, /) -> None: ...

    for one, name in ((star, "rest"), (slash, "text")):
        with pytest.raises(BadAnnotation, match=rf"f\(\): '{name}' takes no keyword"):
            of_keywords(one, "f()")


# ---------------------------------------------------------------- schemas


def test_the_parts_of_a_schema_are_where_its_references_look() -> None:
    def of(row: Row, model: Model, **others: Order) -> None: ...

    schema = of_keywords(of, "of()").schema
    assert schema is not None and set(schema["$defs"]) == {"Row", "Order", "Part"}
    text = json.dumps(schema)
    assert all(f"#/$defs/{name}" in text for name in ("Row", "Order", "Part"))


def test_of_two_types_of_one_name_the_second_is_not_told() -> None:
    other = dataclasses.make_dataclass("Row", [("x", int)])

    def of(a, b, c):  # type: ignore[no-untyped-def]
        ...

    of.__annotations__ = {"a": Row, "b": other, "c": Row}
    schema = of_keywords(of, "of()").schema
    assert schema is not None and schema["properties"]["b"] == {}
    assert schema["properties"]["a"] == schema["properties"]["c"] == {"$ref": "#/$defs/Row"}


def test_a_schema_that_json_cannot_hold_or_that_is_too_large_is_not_told() -> None:
    assert schema_text({"type": "integer"}) == '{"type": "integer"}'
    odd = of_type(Odd, "").schema
    assert odd is not None and schema_text(odd) is None
    assert schema_text({"default": object()}) is None
    assert schema_text({"title": "x" * parameters.SCHEMA_BYTES_MAX}) is None


def agrees(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is as a schema of plain types says."""
    if "anyOf" in schema:
        return any(agrees(one, value) for one in schema["anyOf"])
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
        "array": list, "object": dict,
    }  # fmt: skip
    kind = schema.get("type")
    if kind is None:
        return True
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if kind == "array":
        return all(agrees(schema.get("items", {}), one) for one in value)
    return kind != "object" or all(agrees(schema.get("additionalProperties", {}), v) for v in value.values())


HINTS = st.recursive(
    st.sampled_from([str, int, float, bool, None, list, dict, Any, object]),
    lambda inner: (
        st.builds(lambda one: list[one], inner)  # type: ignore[valid-type]
        | st.builds(lambda one: dict[str, one], inner)  # type: ignore[valid-type]
        | st.builds(lambda one, other: Union[one, other], inner, inner)  # noqa: UP007
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(HINTS, VALUES)
@settings(deadline=None)
def test_a_plain_type_takes_just_what_its_schema_says(hint: Any, value: Any) -> None:
    found: Parameters = of_type(hint, "")
    if found.schema is None:
        assert found.decode(value) is value
        return
    try:
        made = found.decode(value)
    except BadParams:
        assert not agrees(found.schema, value)
    else:
        assert agrees(found.schema, value) and json.dumps(made) == json.dumps(found.decode(made))


@given(st.sampled_from([Row, Order, Whole, Partly, Packed, Model, Strict, Checked, Deep, Colour]), VALUES)
@settings(deadline=None)
def test_whatever_comes_for_a_class_is_taken_or_bad_params(hint: Any, value: Any) -> None:
    for one in (value, {"a": value}, {"rows": [value]}, {"rows": [{"name": value}]}, {"at": value}):
        try:
            decode(hint, one)
        except BadParams as wrong:
            assert str(wrong)
