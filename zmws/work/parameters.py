"""The parameters of `work()`, as its annotation has them: what came, checked and made into that type.

Rule 1: plain types of Python (str, int, list[str], int | None, ...) are checked here; models of pydantic, and
        types that hold something of pydantic's, by pydantic; dataclasses, TypedDicts, msgspec's structs and
        all else by msgspec. Either library is imported only where an annotation needs it, and that it is
        missing is told at the start.
Rule 2: what does not fit is BadParams: where it is, and what it must be. No attempt at it could succeed.
Rule 3: `Any`, `dict`, `bytes`, `object` and no annotation: what came is handed on as it is.
Rule 4: no annotation is looked at but those of parameters: a result's may name what is there for type
        checkers alone.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from zmws.core.table import SHOWN_CHARS_MAX, did_you_mean, shown
from zmws.errors import BadParams, ZmwsError

SCHEMA_BYTES_MAX = 64 * 1024  # of one service in READY (docs/protocol.md)
_FAULTS_TOLD = 3  # of a model's
_SAID_MAX = 500  # characters of what a library says of one: it quotes what came
_PATH_MAX = 200  # characters of the way to a part: its names are the sender's

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
# What msgspec says behind an error: where it is, and whether it is a key there.
_AT = re.compile(r"(?P<said>.*) - at `(?P<key>key` in `)?\$\.?(?P<path>[^`]*)`", re.DOTALL)
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
    try:
        named = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None  # not all of C's functions tell what they take
    if len(named) <= position or named[position].annotation is inspect.Parameter.empty:
        return None
    name = named[position].name
    return of_type(hint_of(function, name, where), f"{where}: the annotation of '{name}'")


def of_type(hint: Any, where: str) -> Parameters:
    """Parameters of this type. Raises BadAnnotation."""
    if any(hint is one for one in _AS_IT_IS):
        return ANYTHING
    if _is_plain(hint):
        return Parameters(lambda value: _plain(hint, value), _plain_schema(hint))
    if _holds_pydantic(hint):
        return _by_pydantic(hint, where)
    return _by_msgspec(hint, where)


def of_keywords(
    function: Callable[..., Any], where: str, left_out: frozenset[str] = frozenset()
) -> Parameters:
    """The keyword parameters of a function, out of a JSON object: `decode` gives them as a dict. `left_out`:
    parameters that are filled otherwise. Raises BadAnnotation."""
    known: dict[str, Parameters] = {}
    needed: list[str] = []
    defaults: dict[str, Schema] = {}  # those that a schema can tell
    others: Parameters | None = None  # of `**others`
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise BadAnnotation(
                f"{where}: '{name}' takes no keyword, and parameters come by name; write it as a plain one"
            )
        if name in left_out:
            continue
        one = of_type(hint_of(function, name, where), f"{where}: the annotation of '{name}'")
        if parameter.kind is parameter.VAR_KEYWORD:
            others = one
            continue
        known[name] = one
        if parameter.default is parameter.empty:
            needed.append(name)
        elif _is_json(parameter.default):
            defaults[name] = {"default": parameter.default}

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise BadParams(f"expected an object with {_listed(known)}, got {_kind_of(value)}")
        found = {}
        for name, inner in value.items():
            one = known.get(name) or (others if name not in left_out else None)
            if one is None or not isinstance(name, str):
                raise BadParams(f"there is no parameter {shown(name)}{did_you_mean(str(name), known)}")
            try:
                found[name] = one.decode(inner)
            except BadParams as wrong:
                raise _within(name, wrong) from None
        for name in needed:
            if name not in found:
                raise BadParams(f"'{name}' is missing: {_listed(known)} can be given")
        return found

    properties = {name: {**(one.schema or {}), **defaults.get(name, {})} for name, one in known.items()}
    rest = {} if others is None else others.schema or {}
    schema: Schema = {"type": "object", "properties": properties, "required": needed}
    schema["additionalProperties"] = False if others is None else rest
    if parts := _parts([*properties.values(), rest]):
        schema["$defs"] = parts
    return Parameters(decode, schema)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def schema_text(schema: Schema) -> str | None:
    """A schema as READY tells it; None if it is too large for that, or JSON cannot hold a default in it."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= SCHEMA_BYTES_MAX else None


# ---------------------------------------------------------------- what an annotation is


def hint_of(function: Callable[..., Any], name: str, where: str) -> Any:
    """The annotation of one parameter as a type, Any if it has none. Raises BadAnnotation."""
    annotation = inspect.signature(function).parameters[name].annotation
    if annotation is inspect.Parameter.empty:
        return Any
    alone: Any = types.SimpleNamespace(__annotations__={name: annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(alone, names, include_extras=True)[name]
    except Exception as wrong:  # whatever the text of an annotation does when it is run
        raise BadAnnotation(
            f"{where}: the annotation of '{name}' cannot be read: {type(wrong).__name__}: {wrong}. "
            "What it names must be imported or defined at the top of its module, and not for type checkers "
            "alone"
        ) from None


def _is_plain(hint: Any) -> bool:
    if hint is Any or hint is object or hint is None or _is_scalar(hint):
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return all(map(_is_plain, inner))
    if origin is list:
        return all(map(_is_plain, inner))
    return origin is dict and (not inner or inner[0] is str) and all(map(_is_plain, inner[1:]))


def _is_scalar(hint: Any) -> bool:
    return isinstance(hint, type) and hint in _SCALARS


def _holds_pydantic(hint: Any) -> bool:
    """Whether it is of pydantic, or holds what is: a model, one of its dataclasses, a type or a mark of its
    own. Only a program that has imported pydantic can name one."""
    if "pydantic" not in sys.modules:
        return False
    if hasattr(hint, "__pydantic_validator__"):
        return True
    home = getattr(hint if isinstance(hint, type) else type(hint), "__module__", "")
    if str(home).partition(".")[0] in ("pydantic", "annotated_types"):
        return True
    return any(map(_holds_pydantic, typing.get_args(hint)))


def _parts(schemas: Iterable[Schema]) -> Schema:
    """The definitions of the parts of several schemas, taken out of them: their references look for them at
    the top of the whole. Of a second type of one name nothing is told."""
    shared: Schema = {}
    for one in schemas:
        parts = one.pop("$defs", {})
        if any(shared.get(part, told) != told for part, told in parts.items()):
            one.clear()
        else:
            shared |= parts
    return shared


# ---------------------------------------------------------------- plain types


def _plain(hint: Any, value: Any) -> Any:
    if hint is Any or hint is object:
        return value
    if hint is None:
        hint = type(None)
    if _is_scalar(hint):
        if not _fits(hint, value):
            raise _unfit(_SCALARS[hint][1], value)
        try:
            return float(value) if hint is float else value
        except OverflowError:
            raise BadParams("expected a number, got a whole number that is too large for one") from None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        if not isinstance(value, list):
            raise _unfit("a list", value)
        return _each(inner[0] if inner else Any, enumerate(value), list)
    if origin is dict:
        if not isinstance(value, dict):
            raise _unfit("an object", value)
        return _each(inner[1] if inner else Any, value.items(), dict)
    # A whole number fits int before it fits float: the exact one is looked for first.
    faults: dict[Any, BadParams] = {}
    for one in sorted(inner, key=lambda one: one is float):
        try:
            return _plain(one, value)
        except BadParams as wrong:
            faults[typing.get_origin(one)] = wrong
    if type(value) in faults:
        raise faults[type(value)]  # it is a list or an object as asked for, and something inside is not
    raise _unfit(" or ".join(map(_named, inner)), value)


def _each(hint: Any, parts: Iterable[tuple[Any, Any]], kind: type[list[Any]] | type[dict[Any, Any]]) -> Any:
    found = []
    key: Any = None
    try:
        for key, one in parts:
            found.append((key, _plain(hint, one)))
    except BadParams as wrong:
        raise _within(key, wrong) from None
    if kind is list:
        return [one for _, one in found]
    return {str(key): one for key, one in found}  # PHP makes a number of a key that looks like one


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint)


def _named(hint: Any) -> str:
    if _is_scalar(hint):
        return _SCALARS[hint][1]
    return _SCALARS[typing.get_origin(hint)][1]


def _plain_schema(hint: Any) -> Schema:
    if hint is Any or hint is object:
        return {}
    if hint is None:
        hint = type(None)
    if _is_scalar(hint):
        return {"type": _SCALARS[hint][0]}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return {"type": "array", "items": _plain_schema(inner[0] if inner else Any)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _plain_schema(inner[1] if inner else Any)}
    return {"anyOf": [_plain_schema(one) for one in inner]}


# ---------------------------------------------------------------- msgspec and pydantic


def _by_msgspec(hint: Any, where: str) -> Parameters:
    try:
        import msgspec
    except ImportError:
        raise BadAnnotation(
            f"{where} needs msgspec, which is not installed: pip install 'zmws[typed]'"
        ) from None

    def decode(value: Any) -> Any:
        try:
            return msgspec.convert(value, hint, str_keys=True)
        except msgspec.ValidationError as wrong:
            raise _as_msgspec_says(str(wrong)) from None
        except UnicodeError:
            raise BadParams("a text in it is no Unicode: it has half of a surrogate pair") from None
        except RecursionError:
            raise BadParams("nested too deep") from None

    try:
        return Parameters(decode, msgspec.json.schema(hint))
    except Exception as wrong:  # a name that is not there, in the author's own class
        said = str(wrong).strip().rpartition("\n")[2]
        raise BadAnnotation(f"{where} cannot be read from JSON: {type(wrong).__name__}: {said}") from None


def _as_msgspec_says(text: str) -> BadParams:
    """Expected `int`, got `str` - at `$.rows[0]`"""
    found = _AT.fullmatch(text)
    said, path = (found["said"], found["path"]) if found else (text, "")
    said = _uncapped(said).replace("`", "'")
    return BadParams(f"a key: {said}" if found and found["key"] else said, path[:_PATH_MAX])


def _by_pydantic(hint: Any, where: str) -> Parameters:
    pydantic: Any = sys.modules["pydantic"]

    def decode(value: Any) -> Any:
        try:
            try:
                text = json.dumps(value)
            except (TypeError, ValueError):  # bytes, or what PHP has serialised
                return adapter.validate_python(value)
            # As JSON: a strict model takes a time or an Enum as a text there alone.
            return adapter.validate_json(text)
        except pydantic.ValidationError as wrong:
            raise _as_pydantic_says(wrong) from None
        except RecursionError:
            raise BadParams("nested too deep") from None

    try:
        adapter = pydantic.TypeAdapter(hint)
        return Parameters(decode, adapter.json_schema())
    except Exception as wrong:  # the author's own model, or a pydantic that is too old
        said = str(wrong).strip().partition("\n")[0]
        raise BadAnnotation(f"{where} cannot be read from JSON: {type(wrong).__name__}: {said}") from None


def _as_pydantic_says(wrong: Any) -> BadParams:
    faults = wrong.errors(include_url=False, include_context=False, include_input=False)
    told = [BadParams(_uncapped(one["msg"]), _path_of(one["loc"])) for one in faults[:_FAULTS_TOLD]]
    if len(faults) == 1:
        return told[0]
    more = f"; and {len(faults) - len(told)} more" if len(faults) > len(told) else ""
    return BadParams("; ".join(map(str, told)) + more)


def _path_of(parts: tuple[Any, ...]) -> str:
    path = ""
    for part in parts:
        path = _joined(path, _step(part))
    return path[:_PATH_MAX]


# ---------------------------------------------------------------- what is told


def _unfit(must_be: str, value: Any) -> BadParams:
    return BadParams(f"expected {must_be}, got {_kind_of(value)}")


def _within(part: Any, wrong: BadParams) -> BadParams:
    """The fault of a part as one of the whole."""
    return BadParams(wrong.message, _joined(_step(part), wrong.path)[: _PATH_MAX + SHOWN_CHARS_MAX])


def _step(part: Any) -> str:
    """To the part of this name or number."""
    if isinstance(part, str):
        return part if part.isidentifier() and len(part) <= SHOWN_CHARS_MAX else f"[{shown(part)}]"
    return f"[{part}]"


def _joined(path: str, step: str) -> str:
    return f"{path}{step}" if not path or not step or step[0] == "[" else f"{path}.{step}"


def _uncapped(text: str) -> str:
    text = text[:1].lower() + text[1:]
    return text if len(text) <= _SAID_MAX else f"{text[:_SAID_MAX]}..."


def _kind_of(value: Any) -> str:
    for kind in (bool, str, int, float, list, dict, type(None)):
        if isinstance(value, kind):
            return _SCALARS[kind][1]
    return type(value).__name__


def _listed(known: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in known) or "nothing"
