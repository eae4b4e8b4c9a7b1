"""A job's parameters, from frames to what `work()` gets, and results back to frames (WIRE section 2)."""

from __future__ import annotations

import json
import traceback
from typing import Any

from zmws.core import mdp, php
from zmws.errors import ProtocolError

_KINDS = (mdp.PARAM_JSON, mdp.JSON_PARAM, mdp.PARAM, mdp.PARAM_PHP)
TRACEBACK_MAX = 20_000  # characters of a traceback that are kept: the end, where the fault is


class BadParams(Exception):
    """The parameters cannot be decoded: the job fails for good, without retries."""


def decode_params(body: tuple[bytes, ...]) -> Any:
    """What `work()` is given: the decoded parameters, raw bytes, a list of raw frames, or {} for none.

    Raises BadParams.
    """
    given = [frame for frame in body if frame.startswith(_KINDS)]
    if len(given) > 1:
        raise BadParams("more than one frame of parameters")
    if given:
        if any(frame for frame in body if frame is not given[0]):
            raise BadParams("a frame of parameters and raw frames beside it")
        return _decode(given[0])
    if len(body) > 1:
        return list(body)
    return body[0] if body and body[0] else {}


def _decode(frame: bytes) -> Any:
    for prefix in (mdp.PARAM_JSON, mdp.JSON_PARAM):
        if frame.startswith(prefix):
            try:
                return json.loads(frame[len(prefix) :])
            except (ValueError, RecursionError) as wrong:
                name = prefix.decode().strip(": ")
                raise BadParams(f"{name} is not JSON: {str(wrong)[:200]}") from None
    prefix = mdp.PARAM_PHP if frame.startswith(mdp.PARAM_PHP) else mdp.PARAM
    try:
        return php.decode(frame[len(prefix) :])
    except ProtocolError as wrong:
        raise BadParams(f"parameters that PHP serialised cannot be decoded: {wrong}") from None


def encode_value(value: Any) -> tuple[bytes, ...]:
    """A result or partial result as frames: none for True, bytes as they are, else JSON.

    Raises TypeError, ValueError or RecursionError for what JSON cannot hold.
    """
    if value is True:
        return ()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (bytes(value),)
    return (mdp.PARAM_JSON + json.dumps(value, allow_nan=False).encode(),)


def encode_fault(fault: BaseException) -> dict[str, Any]:
    """ERROR of an exception that left `work()`."""
    text = "".join(traceback.format_exception(fault))
    name = type(fault).__name__
    try:
        said = str(fault)
    except Exception as wrong:  # its own __str__ is the user's code too
        said = f"{name}, whose text raised {type(wrong).__name__}"
    return {
        "code": "job_failed",
        "error": said[:TRACEBACK_MAX] or name,
        "type": name,
        "traceback": text[-TRACEBACK_MAX:],
    }
