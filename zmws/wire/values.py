"""A body <-> a Python value, at both ends: what `work()` is given, what a caller gets, what people are shown.

Rule 1: bytes are opaque, both ways. Those that begin as a frame of ours does, and empty ones, go under
        `PARAM-RAW: `, which whoever decodes them takes off again.
Rule 2: no result is no frame, and None; True is `true`.
Rule 3: a value that cannot be sent is an error that says which part of it. What JSON has no other form for
        comes as JSON has it: a tuple as a list, a number that is a key as a text.
Rule 4: JSON that this process itself reads has a bounded depth (`json_in`): then all of it can go out again,
        however deep in the stack that is done.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from zmws.errors import BadJson, BadParams, BadValue, ProtocolError, ZmwsError
from zmws.wire import php_values

PARAM_JSON, JSON_PARAM, PARAM, PARAM_PHP = b"PARAM-JSON: ", b"JSON-PARAM: ", b"PARAM: ", b"PARAM-PHP: "
PARAM_RAW = b"PARAM-RAW: "
OPTS_JSON = b"OPTS-JSON: "  # the options of a job, beside its parameters
JOBS_JSON = b"JOBS-JSON: "  # what is to follow, behind a result
_JSON = (PARAM_JSON, JSON_PARAM)
_PARAMS = (*_JSON, PARAM, PARAM_PHP, PARAM_RAW)
# Bytes that begin so could be taken for a frame of the protocol.
_MARKS = (b"PARAM", b"JSON-PARAM", b"OPTS-JSON", b"JOB", b"COMPLETE", b"FAIL")

# What a value is, in records, leases and events (docs/protocol.md).
KIND_JSON, KIND_BYTES, KIND_PHP, KIND_FRAMES = "json", "bytes", "php", "frames"

DEPTH_MAX = 200  # levels of JSON that may come in, unless `json_depth_max` says otherwise
_TEXT = {str}
_CONTAINERS = (dict, list, tuple)
_PATH_MAX = 200  # characters of the way to the part of a value that is wrong


# ---------------------------------------------------------------- JSON that comes in


def json_in(data: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The value of a JSON text. Raises BadJson for what is none, or is nested deeper than `depth_max`."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise BadJson(f"nested more than {depth_max} deep") from None
    except ValueError as wrong:
        raise BadJson(str(wrong)) from None
    # Hardly any text has as many brackets: then there is nothing to look for.
    if data.count(b"[") + data.count(b"{") > depth_max and is_deeper(value, depth_max):
        raise BadJson(f"nested more than {depth_max} deep")
    return value


def is_deeper(value: Any, depth_max: int) -> bool:
    """Whether a value for JSON, or out of it, has more than so many levels of lists and objects."""
    level = [value] if isinstance(value, (list, tuple, dict)) else []
    for _ in range(depth_max):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (list, tuple, dict))
        ]
        if not level:
            return False
    return bool(level)


def json_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for whatever else."""
    try:
        value = json_in(data)
    except BadJson:
        return None
    return value if isinstance(value, dict) else None


# ---------------------------------------------------------------- values that go out


def encode_value(value: Any, name: str = "the value") -> tuple[bytes, ...]:
    """A value as frames: none for None, bytes as they are, else JSON. Raises BadValue, with it as `name`."""
    if value is None:
        return ()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (raw_frame(bytes(value)),)
    return (PARAM_JSON + encode_json(value, name),)


def raw_frame(data: bytes) -> bytes:
    """Bytes as a frame that nobody takes for anything else."""
    return PARAM_RAW + data if not data or data.startswith(_MARKS) else data


def with_raw(body: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A body of peers that know no `PARAM-RAW`: what only looks like it is marked itself."""
    if not any(frame.startswith(PARAM_RAW) for frame in body):
        return body
    return tuple(PARAM_RAW + frame if frame.startswith(PARAM_RAW) else frame for frame in body)


def without_raw(body: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A body for peers that know no `PARAM-RAW`."""
    if not any(frame.startswith(PARAM_RAW) for frame in body):
        return body
    return tuple(frame.removeprefix(PARAM_RAW) for frame in body)


def without_options(frames: list[bytes]) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The options of a job (the body of OPTS-JSON, None if there is none), and the frames beside them."""
    for n, frame in enumerate(frames):
        if frame.startswith(OPTS_JSON):
            return frame[len(OPTS_JSON) :], tuple(frames[:n] + frames[n + 1 :])
    return None, tuple(frames)


def encode_json(value: Any, name: str) -> bytes:
    """A value as JSON. Raises BadValue."""
    try:
        text = json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise BadValue(_fault(value, name) or f"{name} is nested too deep, or holds itself") from None
    alike = _keys_alike(value)
    if alike is not None:
        raise BadValue(f"{name} has keys that JSON writes alike, {alike}, and one would be lost")
    return text


def _keys_alike(value: Any) -> str | None:
    """Two keys of one dict that are the same text in JSON, such as 1 and "1"; None if there are none such."""
    stack = [value] if isinstance(value, _CONTAINERS) else []
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if not _TEXT.issuperset(map(type, one)):
                known: dict[str, Any] = {}
                for key in one:
                    text = key if isinstance(key, str) else json.dumps(key)
                    if known.setdefault(text, key) is not key:
                        return f"{known[text]!r} and {key!r}"
            stack += [inner for inner in one.values() if isinstance(inner, _CONTAINERS)]
        else:
            stack += [inner for inner in one if isinstance(inner, _CONTAINERS)]
    return None


def _fault(value: Any, name: str) -> str | None:
    """Which part of a value JSON cannot hold, and what it is; None if there is none such."""
    stack, seen = [(value, name)], set()
    while stack:
        value, path = stack.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, dict):
                for key in value:
                    if key is not None and not isinstance(key, (str, int, float)):
                        kind = type(key).__qualname__
                        return f"{path} has a key that is a {kind}; JSON takes texts and numbers alone"
                    if (why := _scalar_fault(key)) is not None:
                        return f"a key of {path} {why}"
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            # Only so much of the way is shown; and the first fault is to be found first.
            short = path if len(path) <= _PATH_MAX else f"{path[:_PATH_MAX]}..."
            stack += [(one, f"{short}[{key!r}]") for key, one in inner][::-1]
            continue
        why = _scalar_fault(value)
        if why is not None:
            return f"{path} {why}"
    return None


def _scalar_fault(value: Any) -> str | None:
    if value is None or isinstance(value, (str, bool)):
        return None
    if isinstance(value, int):
        # Python writes no number of more than 4,300 digits.
        return "is a whole number of too many digits" if value.bit_length() > 14_280 else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}, which JSON cannot hold"
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"is a {name}, which JSON cannot hold"


# ---------------------------------------------------------------- values that come in


def decode_params(body: tuple[bytes, ...]) -> Any:
    """What `work()` is given: the decoded parameters, raw bytes, a list of raw frames, or {} for none.

    Raises BadParams.
    """
    given = [frame for frame in body if frame.startswith(_PARAMS)]
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
    if frame.startswith(PARAM_RAW):
        return frame[len(PARAM_RAW) :]
    for prefix in _JSON:
        if frame.startswith(prefix):
            try:
                return json.loads(frame[len(prefix) :])
            except (ValueError, RecursionError) as wrong:
                name = prefix.decode().strip(": ")
                raise BadParams(f"{name} is not JSON: {wrong}") from None
    prefix = PARAM_PHP if frame.startswith(PARAM_PHP) else PARAM
    return _decode_php(frame[len(prefix) :])


def _decode_php(data: bytes) -> Any:
    try:
        return php_values.decode(data)
    except ProtocolError as wrong:
        raise BadParams(f"parameters that PHP serialised cannot be decoded: {wrong}") from None


def value_of(body: tuple[bytes, ...]) -> Any:
    """A result's frames as a value: None for none, decoded JSON, bytes, or a list of bytes. Raises ZmwsError
    for what says that it is JSON and is not."""
    if not body:
        return None
    if len(body) > 1:
        return list(body)
    frame = body[0]
    if not frame.startswith(_JSON):
        return frame.removeprefix(PARAM_RAW)
    try:
        return json.loads(frame[len(PARAM_JSON) :], parse_constant=_no_constant)  # the other is as long
    except (ValueError, RecursionError) as wrong:
        raise ZmwsError(f"the worker's value says that it is JSON, and is not: {wrong}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


# ---------------------------------------------------------------- values as records show them


def shown(body: tuple[bytes, ...], params: bool = False) -> tuple[Any, str | None]:
    """A body for a record, and its kind: `json` as it is; `bytes` and `php` (serialised parameters) as
    `{"base64": ...}`; what none of these says, `frames`: a list of such. None and None if there is none."""
    if not body or (params and body == (b"",)):
        return None, None
    if len(body) > 1:
        return [_base64(frame) for frame in body], KIND_FRAMES
    frame = body[0]
    for prefix in _JSON:
        if frame.startswith(prefix):
            try:
                value = json_in(frame[len(prefix) :])
                json.dumps(value, allow_nan=False)  # it will go out as JSON again
            except ValueError:
                return [_base64(frame)], KIND_FRAMES
            return value, KIND_JSON
    if frame.startswith(PARAM_RAW):
        return _base64(frame[len(PARAM_RAW) :]), KIND_BYTES
    for prefix in (PARAM, PARAM_PHP):
        if params and frame.startswith(prefix):
            return _base64(frame[len(prefix) :]), KIND_PHP
    return _base64(frame), KIND_BYTES


def kind_of(record: Mapping[str, Any], name: str) -> str | None:
    """The kind of a value in a record. An older broker does not say: there what looks like bytes is bytes."""
    value = record[name]
    if f"{name}_kind" in record:
        kind: str | None = record[f"{name}_kind"]
        return kind
    if value is None:
        return None
    return KIND_BYTES if isinstance(value, dict) and set(value) == {"base64"} else KIND_JSON


def result_from(value: Any, kind: str | None) -> Any:
    """The result that a record shows, as `value_of` gives it. Raises ZmwsError."""
    if kind == KIND_FRAMES:
        return value_of(_frames(value))
    return _bytes(value) if kind == KIND_BYTES else value


def params_from(value: Any, kind: str | None) -> Any:
    """The parameters that a record shows, as `decode_params` gives them. Raises BadParams."""
    if kind == KIND_FRAMES:
        return decode_params(_frames(value))
    if kind == KIND_PHP:
        return _decode_php(_bytes(value))
    if kind == KIND_BYTES:
        return _bytes(value)
    return {} if kind is None else value


def field_of(name: str, value: Any) -> dict[str, Any]:
    """A value as a field of a question: JSON under its name, bytes as `NAME_base64`, none for None."""
    if value is None:
        return {}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {f"{name}_base64": base64.b64encode(bytes(value)).decode()}
    return {name: value}


def frames_of(asked: Mapping[str, Any], name: str) -> tuple[bytes, ...]:
    """The frames of a field of a question (`field_of`). Raises BadJson where NAME_base64 is no base64."""
    if f"{name}_base64" in asked:
        try:
            return (raw_frame(base64.b64decode(asked[f"{name}_base64"], validate=True)),)
        except (TypeError, ValueError):
            raise BadJson(f"'{name}_base64' is not base64") from None
    value = asked.get(name)
    return () if value is None else (PARAM_JSON + json.dumps(value).encode(),)


def _base64(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def _bytes(value: Mapping[str, str]) -> bytes:
    return base64.b64decode(value["base64"])


def _frames(values: Sequence[Mapping[str, str]]) -> tuple[bytes, ...]:
    return tuple(_bytes(value) for value in values)
