"""A form out of a JSON Schema, and parameters out of the form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmws.gateway.pages.schema_form import BadField, Field, fields_of, params_of

ORDER = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "title": "Item", "description": "what", "minLength": 2},
        "number": {"type": "integer", "minimum": 1},
        "weight": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "gift": {"type": "boolean", "default": False},
        "size": {"enum": ["small", "large"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "to": {"$ref": "#/$defs/Address"},
    },
    "required": ["item", "number"],
    "$defs": {"Address": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def fields(
    schema: Any = ORDER, form: dict[str, str] | None = None, fault: BadField | None = None
) -> list[Field]:
    found = fields_of(schema, form or {}, fault)
    assert found is not None
    return found


def params(form: dict[str, str], schema: Any = ORDER) -> dict[str, Any]:
    return params_of(fields(schema, form), {f"p.{name}": text for name, text in form.items()})


def test_each_kind_has_its_field() -> None:
    kinds = {one.name: one.kind for one in fields()}
    assert kinds == {
        **{"item": "text", "number": "integer", "weight": "number", "gift": "flag"},
        **{"size": "choice", "tags": "json", "to": "json"},
    }
    by_name = {one.name: one for one in fields()}
    assert (
        by_name["item"].needed
        and not by_name["gift"].needed
        and by_name["size"].choices == ("small", "large")
    )
    assert (
        by_name["item"].label == "Item"
        and "what" in by_name["item"].hint
        and "characters from 2" in by_name["item"].hint
    )
    assert "a whole number" in by_name["number"].hint and "from 1" in by_name["number"].hint
    assert "false if left empty" in by_name["gift"].hint and by_name["number"].key == "p.number"


def test_what_was_written_and_what_is_wrong_with_it_stand_in_the_field() -> None:
    found = fields(form={"p.number": "x"}, fault=BadField("number", "this must be a whole number"))
    by_name = {one.name: one for one in found}
    assert by_name["number"].value == "x" and by_name["number"].fault and not by_name["item"].fault


def test_a_form_becomes_parameters_of_their_types_and_whole_numbers_stay_whole() -> None:
    form = {"item": " a ", "number": str(2**63 + 1), "weight": "1.5", "gift": "true", "size": "large"}
    form |= {"tags": '["a"]', "to": '{"city": "X"}'}
    assert params(form) == {
        **{"item": " a ", "number": 2**63 + 1, "weight": 1.5, "gift": True, "size": "large"},
        **{"tags": ["a"], "to": {"city": "X"}},
    }


def test_an_empty_field_is_not_given_but_an_empty_text_that_is_needed_is_one() -> None:
    assert params({"item": "", "number": "1", "gift": "", "weight": " "}) == {"item": "", "number": 1}
    assert params({"item": "x", "number": "1", "gift": "false"})["gift"] is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "many"),
        ("number", ""),
        ("number", "1.5"),
        ("weight", "heavy"),
        ("weight", "true"),
        ("tags", "[a"),
    ],
)
def test_what_does_not_fit_is_told_with_its_field(name: str, text: str) -> None:
    with pytest.raises(BadField) as wrong:
        params({"item": "x", "number": "1", name: text})
    assert wrong.value.name == name and str(wrong.value)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "array", "items": {}},
        {"properties": {f"f{n}": {} for n in range(101)}},
        {"properties": "none"},
        {"$ref": "#/$defs/gone"},
        {"$ref": "#"},
    ],
)
def test_without_properties_all_of_it_is_one_field_of_json(schema: Any) -> None:
    assert fields_of(schema, {}) is None


def test_a_shape_behind_a_reference_or_beside_null_is_found() -> None:
    schema = {
        "$ref": "#/$defs/P",
        "$defs": {"P": {"properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/N"}]}}}},
    }
    schema["$defs"]["N"] = {"type": ["null", "integer"]}
    assert [(one.name, one.kind) for one in fields(schema)] == [("n", "integer")]
    endless = {"properties": {"a": {"$ref": "#/properties/a"}}}
    assert [one.kind for one in fields(endless)] == ["json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    ["type", "properties", "required", "anyOf", "$ref", "enum", "title", "description", "minimum", "default"]
)


@given(
    st.dictionaries(WORDS, JSON, max_size=6),
    st.dictionaries(st.text(max_size=4), st.dictionaries(WORDS, JSON), max_size=4),
)
def test_no_schema_breaks_it(schema: dict[str, Any], properties: dict[str, Any]) -> None:
    for one in (schema, {**schema, "properties": properties}):
        found = fields_of(one, {})
        assert found is None or all(isinstance(field.hint, str) for field in found)
