"""JSON Pointers (RFC 6901): where in a value another is to be put.

Rule: the way to the place must be there. A member of an object may be new; an element of a list is replaced.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

POINTER_CHARS_MAX = 1_000
_INDEX = re.compile(r"(0|[1-9][0-9]{0,8})\Z")  # RFC 6901, section 4: no leading zeros


def fault_of(value: Any, pointer: Any) -> str | None:
    """Why nothing can be put there, None if something can."""
    if not isinstance(pointer, str) or len(pointer) > POINTER_CHARS_MAX:
        return f"a JSON Pointer is a text of at most {POINTER_CHARS_MAX} characters"
    try:
        _parts_of(pointer)
        if pointer:
            _place_of(value, pointer)
    except NoPlace as wrong:
        return str(wrong)
    return None


def put(value: Any, pointer: str, new: Any) -> Any:
    """The value with `new` at that place; "" is all of it. The value itself is changed. Raises NoPlace."""
    if not pointer:
        return new
    container, key = _place_of(value, pointer)
    container[key] = new
    return value


class NoPlace(Exception):
    """Nothing can be put there; the message says why."""


def overlap_of(pointers: Sequence[str]) -> tuple[str, str] | None:
    """Two of these of which one is within the other, or the same: what is put at the first takes the way to
    the second away. None if there are none such."""
    parts = sorted((_parts_of(pointer), pointer) for pointer in pointers)
    for (one, outer), (other, inner) in itertools.pairwise(parts):
        if other[: len(one)] == one:
            return outer, inner
    return None


def _parts_of(pointer: str) -> list[str]:
    # RFC 6901, section 3: each part stands behind a "/"; "~1" is a "/" and "~0" a "~".
    if pointer and not pointer.startswith("/"):
        raise NoPlace(f"'{pointer[:80]}' is no JSON Pointer: it is empty or begins with '/'")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _place_of(value: Any, pointer: str) -> tuple[Any, Any]:
    """The object or list, and the key or index in it. Raises NoPlace."""
    *way, last = _parts_of(pointer)
    for part in way:
        value = value[_key_of(value, part, pointer, new=False)]
    return value, _key_of(value, last, pointer, new=True)


def _key_of(value: Any, part: str, pointer: str, new: bool) -> Any:
    if isinstance(value, dict):
        if new or part in value:
            return part
    elif isinstance(value, list) and _INDEX.match(part) and int(part) < len(value):
        return int(part)
    raise NoPlace(f"'{pointer[:80]}' points at nothing in the parameters (at '{part[:80]}')")
