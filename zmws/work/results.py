"""What `work()` returns as frames: JSON and bytes as they are, and in JSON's words what many programs have:

a dataclass                                                an object
a model of pydantic, a struct of msgspec                   an object, as its library writes it
datetime, date, time                                       a text, ISO 8601
Decimal, UUID, Path                                        a text
set, frozenset                                             a list
an Enum                                                    its value
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from zmws.errors import BadResult, BadValue
from zmws.wire.values import encode_value

_TEXTS = (Decimal, UUID, PurePath)
_TIMES = (datetime, date, time)
_CONTAINERS = (dict, list, tuple, set, frozenset)


def encode_result(value: Any, name: str) -> tuple[bytes, ...]:
    """A result or a partial one as frames; `name`: which. Raises BadResult."""
    try:
        try:
            return encode_value(value, name)
        except BadValue:
            return encode_value(_as_json(value, name, set()), name)
    except BadValue as wrong:
        raise BadResult(str(wrong)) from None
    except RecursionError:
        raise BadResult(f"{name} is nested too deep") from None


def _as_json(value: Any, name: str, around: set[int]) -> Any:
    """The value with all that JSON has no form for in the words above. What is none of these stays, and is
    for the encoding to refuse. `around`: what it is in, for a value may hold itself. Raises BadValue."""
    if isinstance(value, Enum):
        return _as_json(value.value, name, around)
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, _TIMES):
        return value.isoformat()
    pydantic, msgspec = sys.modules.get("pydantic"), sys.modules.get("msgspec")
    # Only a program that has imported one of them can have made a value of it.
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return _written(value, name, lambda: value.model_dump(mode="json"))
    if msgspec is not None and isinstance(value, msgspec.Struct):

        def other(one: Any) -> Any:
            made = _as_json(one, name, around)
            if made is one:
                raise TypeError(f"it holds a {type(one).__qualname__}")
            return made

        return _written(value, name, lambda: msgspec.to_builtins(value, str_keys=True, enc_hook=other))
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if not (is_record or isinstance(value, _CONTAINERS)):
        return value
    if id(value) in around:
        raise BadValue(f"{name} holds itself")
    around.add(id(value))
    made: Any
    if is_record:
        fields = dataclasses.fields(value)
        made = {field.name: _as_json(getattr(value, field.name), name, around) for field in fields}
    elif isinstance(value, dict):
        made = {key: _as_json(one, name, around) for key, one in value.items()}
    else:
        made = [_as_json(one, name, around) for one in value]
    around.discard(id(value))
    return made


def _written(value: Any, name: str, made: Callable[[], Any]) -> Any:
    """What its library makes of it. Raises BadValue."""
    try:
        return made()
    except (TypeError, ValueError) as wrong:
        kind, said = type(value).__qualname__, str(wrong).partition("\n")[0]
        raise BadValue(f"{name} holds a {kind} that JSON cannot hold: {said}") from None
