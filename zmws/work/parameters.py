"""The parameters of `work()`, as its annotation has them: what came, checked and made into that type.

Rule 1: plain types of Python (str, int, list[str], int | None, ...) are checked here; dataclasses,
        TypedDicts, msgspec's structs and all else by msgspec; models of pydantic by themselves. Either
        library is imported only where an annotation needs it, and that it is missing is told at the start.
Rule 2: what does not fit is BadParams: where it is, and what it must be. No attempt at it could succeed.
Rule 3: `Any`, `dict`, `bytes`, `object` and no annotation: what came is handed on as it is.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from zmws.core.table import did_you_mean
from zmws.errors import BadParams, ZmwsError

SCHEMA_BYTES_MAX = 64 * 1024  # of one service in READY (docs/protocol.md)
_FAULTS_TOLD = 3  # of a model's

_AS_IT_IS = (Any, dict, bytes, object, inspect.Parameter.empty)
_SCALARS: dict[Any, tuple[str, str]] = {  # as JSON Schema calls it, and people
    str: ("string", "a text"),
    int: ("integer", "a whole number"),
    float: ("number", "a number"),
    bool: ("boolean", "true or false"),
    type(None): ("null", "null"),
    list: ("array", "a list"),
    dict: ("object", "an object"),
}
Decode = Callable[[Any], Any]
Schema = dict[str, Any]


class BadAnnotation(ZmwsError):
    """An annotation of `work()` cannot be used; the message says whose, and what to do."""


@dataclass(frozen=True)
class Parameters:
    """How parameters are read: `decode` takes what came, and raises BadParams; `schema` is its JSON Schema,
    None where anything may come."""

    decode: Decode
    schema: Schema | None = None


ANYTHING = Parameters(lambda value: value)


def of_method(function: Callable[..., Any], position: int, where: str) -> Parameters | None:
    """What the annotation of a positional parameter says, None if it has none; `where`: whose it is, for
    errors. Raises BadAnnotation."""
    named = list(inspect.signature(function).parameters.values())
    if len(named) <= position or named[position].annotation is inspect.Parameter.empty:
        return None
    name = named[position].name
    hint = _hints(function, where).get(name, Any)
    return of_type(hint, f"{where}: the annotation of '{name}'")


def of_type(hint: Any, where: str) -> Parameters:
    """Parameters of this type. Raises BadAnnotation."""
    if hint in _AS_IT_IS:
        return ANYTHING
    if _is_plain(hint):
        return Parameters(lambda value: _plain(hint, value, ""), _plain_schema(hint))
    if _is_model(hint):
        return Parameters(lambda value: _of_model(hint, value), _schema_of(where, hint.model_json_schema))
    msgspec = _msgspec(where)
    try:
        schema = msgspec.json.schema(hint)
    except (TypeError, RuntimeError) as wrong:
        raise BadAnnotation(f"{where} cannot be read from JSON: {wrong}") from None
    return Parameters(lambda value: _converted(msgspec, hint, value), schema)


def of_keywords(
    function: Callable[..., Any], where: str, left_out: frozenset[str] = frozenset()
) -> Parameters:
    """The keyword parameters of a function, out of a JSON object: `decode` gives them as a dict. `left_out`:
    parameters that are filled otherwise. Raises BadAnnotation."""
    hints = _hints(function, where)
    known: dict[str, Parameters] = {}
    needed: list[str] = []
    others = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            others = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise BadAnnotation(
                f"{where}: '{name}' takes no keyword, and parameters come by name; write it as a plain one"
            )
        elif name not in left_out:
            known[name] = of_type(hints.get(name, Any), f"{where}: the annotation of '{name}'")
            if parameter.default is parameter.empty:
                needed.append(name)

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise BadParams(f"expected an object with {_listed(known)}, got {_kind_of(value)}")
        found = {}
        for name, inner in value.items():
            if name in known:
                found[name] = _within(name, known[name].decode, inner)
            elif others:
                found[name] = inner
            else:
                raise BadParams(f"there is no parameter '{name[:80]}'{did_you_mean(name, known)}")
        for name in needed:
            if name not in found:
                raise BadParams(f"'{name}' is missing: {_listed(known)} can be given")
        return found

    schema: Schema = {
        "type": "object",
        "properties": {name: one.schema or {} for name, one in known.items()},
        "required": needed,
        "additionalProperties": others,
    }
    return Parameters(decode, _flat(schema))


def schema_text(schema: Schema) -> str | None:
    """A schema as READY tells it, None if it is too large for that."""
    text = json.dumps(schema)
    return text if len(text) <= SCHEMA_BYTES_MAX else None


# ---------------------------------------------------------------- what an annotation is


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as wrong:  # whatever the text of an annotation does when it is run
        raise BadAnnotation(
            f"{where}: its annotations cannot be read: {type(wrong).__name__}: {wrong}. "
            "What an annotation names must be imported or defined at the top of its module"
        ) from None


def _is_plain(hint: Any) -> bool:
    if hint in _SCALARS or hint in (Any, None):
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return all(map(_is_plain, inner))
    if origin is list:
        return _is_plain(inner[0])
    return origin is dict and inner[0] is str and _is_plain(inner[1])


def _is_model(hint: Any) -> bool:
    """Whether it is a model of pydantic, which only a program that has imported pydantic can name."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def _msgspec(where: str) -> Any:
    try:
        import msgspec
    except ImportError:
        raise BadAnnotation(
            f"{where} needs msgspec, which is not installed: pip install 'zmws[typed]'"
        ) from None
    return msgspec


def _schema_of(where: str, made: Callable[[], Schema]) -> Schema:
    try:
        return made()
    except Exception as wrong:  # the author's own model
        raise BadAnnotation(f"{where} has no JSON Schema: {type(wrong).__name__}: {wrong}") from None


def _flat(schema: Schema) -> Schema:
    """With the definitions of the parts at the top, where their references look for them."""
    shared: Schema = {}
    for name, one in schema["properties"].items():
        parts = one.pop("$defs", {})
        if any(shared.get(part, told) != told for part, told in parts.items()):
            schema["properties"][name] = {}  # two types of one name: of the second nothing is told
        else:
            shared |= parts
    return schema | {"$defs": shared} if shared else schema


# ---------------------------------------------------------------- plain types


def _plain(hint: Any, value: Any, path: str) -> Any:
    if hint is Any:
        return value
    if hint is None:
        hint = type(None)
    if hint in _SCALARS:
        if not _fits(hint, value):
            raise _unfit(_SCALARS[hint][1], value, path)
        try:
            return float(value) if hint is float else value
        except OverflowError:
            raise BadParams("a whole number that is too large for a float", path) from None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        if not isinstance(value, list):
            raise _unfit("a list", value, path)
        return [_plain(inner[0], one, f"{path}[{n}]") for n, one in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise _unfit("an object", value, path)
        return {key: _plain(inner[1], one, _joined(path, key)) for key, one in value.items()}
    # A whole number fits int before it fits float: the exact one is looked for first.
    faults: dict[Any, BadParams] = {}
    for one in sorted(inner, key=lambda one: one is float):
        try:
            return _plain(one, value, path)
        except BadParams as wrong:
            faults[typing.get_origin(one)] = wrong
    if type(value) in faults:
        raise faults[type(value)]  # it is a list or an object as asked for, and something inside is not
    raise _unfit(" or ".join(map(_named, inner)), value, path)


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float))
    if hint is int:
        return isinstance(value, int)
    return isinstance(value, hint)


def _named(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint][1]
    if hint is None:
        return "null"
    return {list: "a list", dict: "an object"}.get(typing.get_origin(hint), "a value")


def _plain_schema(hint: Any) -> Schema:
    if hint is Any:
        return {}
    if hint is None:
        hint = type(None)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint][0]}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return {"type": "array", "items": _plain_schema(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _plain_schema(inner[1])}
    return {"anyOf": [_plain_schema(one) for one in inner]}


# ---------------------------------------------------------------- msgspec and pydantic


def _converted(msgspec: Any, hint: Any, value: Any) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as wrong:
        # Its text: Expected `int`, got `str` - at `$.rows[0]`
        said, _, at = str(wrong).partition(" - at `$")
        path = at.rstrip("`").removeprefix(".")
        raise BadParams(said[:1].lower() + said[1:].replace("`", "'"), path) from None
    except RecursionError:
        raise BadParams("nested too deep") from None


def _of_model(model: Any, value: Any) -> Any:
    pydantic = sys.modules["pydantic"]
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as wrong:
        faults = wrong.errors(include_url=False, include_context=False, include_input=False)
        told = [BadParams(one["msg"][:1].lower() + one["msg"][1:], _path_of(one["loc"])) for one in faults]
        if len(told) == 1:
            raise told[0] from None
        more = f"; and {len(told) - _FAULTS_TOLD} more" if len(told) > _FAULTS_TOLD else ""
        raise BadParams("; ".join(map(str, told[:_FAULTS_TOLD])) + more) from None


def _path_of(parts: tuple[Any, ...]) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _joined(path, part)
    return path


# ---------------------------------------------------------------- what is told


def _within(name: str, decode: Decode, value: Any) -> Any:
    """Decode a part, and say in an error that it is one."""
    try:
        return decode(value)
    except BadParams as wrong:
        path = wrong.path
        raise BadParams(wrong.message, f"{name}{path}" if path[:1] == "[" else _joined(name, path)) from None


def _unfit(must_be: str, value: Any, path: str) -> BadParams:
    return BadParams(f"expected {must_be}, got {_kind_of(value)}", path)


def _joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path and key else path or str(key)


def _kind_of(value: Any) -> str:
    if isinstance(value, bytes):
        return "bytes"
    for kind in (bool, str, int, float, list, dict, type(None)):
        if isinstance(value, kind):
            return _SCALARS[kind][1]
    return type(value).__name__


def _listed(known: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in known) or "nothing"
