"""A form out of the JSON Schema of a service's parameters, and the parameters out of what the form brings.

Rule 1: what a field can hold as a person writes it (texts, numbers, yes or no, a choice) has a field of its
        own; anything deeper is a field of JSON. No schema: one field of JSON for all of it.
Rule 2: a field that is left empty is not given, so that the worker's default holds.
Rule 3: whole numbers are read here, in whole: no browser makes 2^53 of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zmws.errors import BadJson
from zmws.wire.values import json_in

FIELDS_MAX = 100
_PREFIX = "p."


@dataclass(frozen=True, slots=True)
class Field:
    """One of them. `kind`: text, integer, number, flag, choice or json; `hint`: what it must be."""

    name: str
    label: str
    kind: str
    needed: bool
    hint: str
    value: str
    choices: tuple[str, ...] = ()
    fault: str = ""

    @property
    def key(self) -> str:
        """Its name in the form."""
        return _PREFIX + self.name


class BadField(Exception):
    """What stands in a field is not what it must be."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def fields_of(schema: Any, form: Mapping[str, str], fault: BadField | None = None) -> list[Field] | None:
    """The fields for a schema, with what a form has brought; None where one field of JSON takes it all."""
    if not isinstance(schema, dict):
        return None
    shape = _resolved(schema, schema)
    properties = shape.get("properties")
    if not isinstance(properties, dict) or not properties or len(properties) > FIELDS_MAX:
        return None
    needed = shape.get("required")
    needed = needed if isinstance(needed, list) else []
    return [
        _field(str(name), _resolved(one, schema), str(name) in needed, form, fault)
        for name, one in properties.items()
    ]


def _resolved(shape: Any, whole: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The shape that a reference, or the one choice beside null, stands for."""
    if not isinstance(shape, dict) or depth > 8:
        return {}
    reference = shape.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = whole
        for part in reference[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return {**_resolved(found, whole, depth + 1), **{k: v for k, v in shape.items() if k != "$ref"}}
    for word in ("anyOf", "oneOf", "allOf"):
        choices = shape.get(word)
        if isinstance(choices, list):
            others = [one for one in choices if not (isinstance(one, dict) and one.get("type") == "null")]
            if len(others) == 1:
                rest = {key: value for key, value in shape.items() if key != word}
                return {**_resolved(others[0], whole, depth + 1), **rest}
    return shape


def _field(
    name: str, shape: dict[str, Any], needed: bool, form: Mapping[str, str], fault: BadField | None
) -> Field:
    kind, choices = _kind(shape)
    value = form.get(_PREFIX + name, "")
    words = [str(shape["description"])] if isinstance(shape.get("description"), str) else []
    words.append(_WORDS[kind])
    words += [
        f"{word} {shape[key]}" for key, word in _BOUNDS.items() if isinstance(shape.get(key), int | float)
    ]
    if "default" in shape:
        words.append(f"{json.dumps(shape['default'], ensure_ascii=False)} if left empty")
    label = str(shape["title"]) if isinstance(shape.get("title"), str) else name
    wrong = str(fault) if fault is not None and fault.name == name else ""
    return Field(name, label, kind, needed, "; ".join(one for one in words if one), value, choices, wrong)


_BOUNDS = {"minimum": "from", "maximum": "to", "minLength": "characters from", "maxLength": "characters to"}
_WORDS = {
    "text": "",
    "integer": "a whole number",
    "number": "a number",
    "flag": "",
    "choice": "",
    "json": "JSON",
}


def _kind(shape: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    choices = shape.get("enum")
    if isinstance(choices, list) and choices and all(isinstance(one, str) for one in choices):
        return "choice", tuple(choices)
    types = shape.get("type")
    if isinstance(types, list):  # such as ["string", "null"]
        types = next((one for one in types if one != "null"), None)
    kinds = {"string": "text", "integer": "integer", "number": "number", "boolean": "flag"}
    return kinds.get(types if isinstance(types, str) else "", "json"), ()


def params_of(fields: list[Field], form: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that a form brings. Raises BadField."""
    found: dict[str, Any] = {}
    for field in fields:
        text = form.get(field.key, "")
        if not text.strip() and not (field.kind == "text" and text):
            if field.needed and field.kind == "text":
                found[field.name] = ""  # an empty text is one, too
            elif field.needed:
                raise BadField(field.name, "this is needed")
            continue
        found[field.name] = _value(field, text)
    return found


def _value(field: Field, text: str) -> Any:
    if field.kind in ("text", "choice"):
        return text
    if field.kind == "flag":
        return text == "true"
    try:
        if field.kind == "integer":
            return int(text.strip())
        value = json_in(text.strip().encode())
    except (ValueError, BadJson) as wrong:
        what = _WORDS[field.kind]
        raise BadField(
            field.name, f"this must be {what}" + (f": {wrong}" if what == "JSON" else "")
        ) from None
    if field.kind == "number":
        is_one = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_one or not math.isfinite(value):
            raise BadField(field.name, "this must be a number")
    return value
