"""What a target is, and how a parser is asked: by `taken`, which knows what is wrong with an answer.

Rule 1: a refusal that is documented is an answer; every other exception goes up, a RecursionError too.
Rule 2: no parser takes a second of CPU for a message of a megabyte, or a head of 32 KiB. What other processes
        do meanwhile does not count.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Refusal = type[Exception] | tuple[type[Exception], ...]

REFUSED: Any = object()
CPU_S_MAX = 1.0
FRAMES_MAX = 65_536
slowness = 1.0  # how much longer everything takes, where each branch is counted


@dataclass(frozen=True, slots=True)
class Target:
    """A surface. `check` raises where something is wrong with what these bytes lead to. `words`: what its
    parsers know; `seeds`: inputs to begin with; `grown_bytes`: the most that comes in one message."""

    name: str
    check: Callable[[bytes], None]
    words: tuple[bytes, ...]
    seeds: tuple[bytes, ...]
    grown_bytes: int = 1_000_000


class Slow(AssertionError):
    """A parser took too long."""


def taken(refusal: Refusal, parser: Callable[..., T], *given: Any, **more: Any) -> T:
    """What the parser makes of it, `REFUSED` where it refuses as documented. Raises Slow, and whatever else
    the parser raises."""
    begun = time.process_time()
    try:
        return parser(*given, **more)
    except refusal as why:
        str(why)
        return REFUSED  # type: ignore[no-any-return]
    finally:
        check_time(begun, parser.__name__)


def check_time(begun: float, what: str) -> None:
    """Raises Slow where too much CPU went by since."""
    took = time.process_time() - begun
    if took > CPU_S_MAX * slowness:
        raise Slow(f"{what} took {took:.2f} s of CPU")


def frames_in(data: bytes) -> list[bytes]:
    """Bytes as the frames of a message: each line is one. There are no more than the settings may allow."""
    return data.split(b"\n", FRAMES_MAX - 1)


def check_plain(value: Any) -> None:
    """What has been taken can be stored and sent: it is JSON, and its texts are UTF-8."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def same(one: Any, other: Any) -> bool:
    """Equal, where a NaN is as good as another, 1 is not 1.0, and 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
