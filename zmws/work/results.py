"""What `work()` returns as frames: JSON and bytes as they are, and in JSON's words what many programs have:

a dataclass, a model of pydantic, a struct of msgspec      an object
datetime, date, time                                       a text, ISO 8601
Decimal, UUID, Path                                        a text
set, frozenset                                             a list
an Enum                                                    its value
"""

from __future__ import annotations

import dataclasses
import sys
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
            return encode_value(_as_json(value, set()), name)
    except BadValue as wrong:
        raise BadResult(str(wrong)) from None


def _as_json(value: Any, around: set[int]) -> Any:
    """The value with all that JSON has no form for in the words above. What is none of these stays, and is
    for the encoding to refuse. `around`: what it is in, for a value may hold itself."""
    if isinstance(value, Enum):
        return _as_json(value.value, around)
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, _TIMES):
        return value.isoformat()
    pydantic, msgspec = sys.modules.get("pydantic"), sys.modules.get("msgspec")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")  # only a program that has imported pydantic can have made one
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if id(value) in around or not (is_record or isinstance(value, _CONTAINERS)):
        return value
    around = around | {id(value)}
    if is_record:
        fields = dataclasses.fields(value)
        return {field.name: _as_json(getattr(value, field.name), around) for field in fields}
    if isinstance(value, dict):
        return {key: _as_json(one, around) for key, one in value.items()}
    return [_as_json(one, around) for one in value]
