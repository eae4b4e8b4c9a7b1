"""One attempt at a job: what is to work, and its parameters, in; its FINAL out.

Rule 1: no thread, no socket, no log, and nothing is kept from one attempt to the next.
Rule 2: False or an exception is a failed attempt; any other value is the result, None is none.
Rule 3: what would come out the same another time fails for good: parameters that cannot be read, a result
        that JSON cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zmws.errors import BadParams
from zmws.wire.values import PARAM_JSON, decode_params
from zmws.worker.fault import encode_fault, encode_result, is_a


@dataclass(slots=True)
class Final:
    """How an attempt ended: with its result, as frames, or with an ERROR of docs/errors.md."""

    result: tuple[bytes, ...] = ()
    error: dict[str, Any] | None = None

    @property
    def body(self) -> tuple[bytes, ...]:
        """As FINAL has it."""
        if self.error is None:
            return (b"COMPLETE", *self.result)
        return (b"FAIL", PARAM_JSON + json.dumps(self.error).encode())


def attempt(
    work: Callable[[Any], Any], body: tuple[bytes, ...], let_through: tuple[type[BaseException], ...] = ()
) -> Final:
    """Run `work` on the parameters in `body`. Raises what is `let_through`, and nothing else."""
    try:
        try:
            params = decode_params(body)
        except BadParams as wrong:
            return Final(error={"code": "bad_params", "error": str(wrong), "retry": False})
        result = work(params)
        if result is False:
            return Final(error={"code": "job_failed", "error": "work() returned False"})
        return Final(encode_result(result, "the result"))
    except BaseException as fault:
        if is_a(fault, let_through):
            raise
        return Final(error=encode_fault(fault))
