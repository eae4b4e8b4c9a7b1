"""zmws.wire.values: what `work()` is given and gives back, what a caller gets, what records show."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zmws.errors import BadJson, BadParams, BadValue, ZmwsError
from zmws.wire import php_values, values
from zmws.wire.values import (
    DEPTH_MAX,
    decode_params,
    encode_json,
    encode_value,
    field_of,
    frames_of,
    is_deeper,
    json_in,
    kind_of,
    params_from,
    raw_frame,
    result_from,
    shown,
    value_of,
    without_raw,
)

MARKS = [b"PARAM", b"JSON-PARAM", b"OPTS-JSON", b"JOB", b"COMPLETE", b"FAIL"]
KINDS = (values.PARAM_JSON, values.JSON_PARAM, values.PARAM, values.PARAM_PHP)
# The first text that hypothesis draws on a machine builds its tables, which takes seconds.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ((b'PARAM-JSON: {"str": "Hello"}',), {"str": "Hello"}),
        ((b'PARAM-JSON: {"str":"Hello"}',), {"str": "Hello"}),
        ((b"PARAM-JSON: [1, 2]",), [1, 2]),
        ((b"PARAM-JSON: null",), None),
        ((b"PARAM-JSON:  7 ",), 7),
        (('PARAM-JSON: "naïve"'.encode(),), "naïve"),
        ((b'JSON-PARAM: {"n": 0.5}',), {"n": 0.5}),
        ((b'PARAM: a:1:{s:3:"str";s:5:"Hello";}',), {"str": "Hello"}),
        ((b"PARAM-PHP: a:2:{i:0;i:1;i:1;b:1;}",), [1, True]),
        ((b"PARAM-PHP: N;",), None),
    ],
)
def test_a_frame_of_parameters_is_decoded_by_its_prefix(body: tuple[bytes, ...], params: Any) -> None:
    assert decode_params(body) == params
    assert decode_params((*body, b"")) == params
    assert decode_params((b"", *body)) == params


@pytest.mark.parametrize("body", [(), (b"",)])
def test_no_parameters_are_an_empty_dict(body: tuple[bytes, ...]) -> None:
    assert decode_params(body) == {}


@pytest.mark.parametrize("raw", [b"\x00\xff raw", b'{"json": "without a prefix"}', b"PARAMETERS: 1", b" "])
def test_one_raw_frame_is_given_as_its_bytes(raw: bytes) -> None:
    assert decode_params((raw,)) == raw


@pytest.mark.parametrize("body", [(b"a", b"b"), (b"a", b"", b"b"), (b"", b"")])
def test_several_raw_frames_are_given_as_they_are_the_empty_ones_too(body: tuple[bytes, ...]) -> None:
    assert decode_params(body) == list(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ((b"PARAM-JSON: {",), "PARAM-JSON is not JSON"),
        ((b"PARAM-JSON: ",), "PARAM-JSON is not JSON"),
        ((b"PARAM-JSON: \xff\xfe\xff",), "PARAM-JSON is not JSON"),
        ((b"PARAM-JSON: " + b"[" * 100_000,), "PARAM-JSON is not JSON"),
        ((b"PARAM-JSON: " + b"9" * 10_000,), "PARAM-JSON is not JSON"),
        ((b"JSON-PARAM: nope",), "JSON-PARAM is not JSON"),
        ((b"PARAM: a:1:{}",), "PHP"),
        ((b"PARAM: {}",), "PHP"),
        ((b'PARAM-PHP: O:8:"stdClass":0:{}',), "an object is not taken"),
        ((b"PARAM-JSON: 1", b"PARAM-JSON: 1"), "more than one"),
        ((b"PARAM-JSON: 1", b"PARAM: i:1;"), "more than one"),
        ((b"PARAM-JSON: 1", b"raw"), "beside it"),
        ((b"raw", b"PARAM-PHP: N;"), "beside it"),
    ],
)
def test_what_cannot_be_decoded_is_bad_params_and_says_why(body: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(BadParams, match=why):
        decode_params(body)


@patient
@given(st.lists(st.binary() | st.builds(bytes.__add__, st.sampled_from(KINDS), st.binary()), max_size=3))
def test_no_body_raises_anything_but_bad_params(body: list[bytes]) -> None:
    try:
        decode_params(tuple(body))
    except BadParams as wrong:
        assert str(wrong)


@patient
@given(JSON_VALUES)
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    frames = encode_value(value)
    assert value_of(frames) == value
    assert type(value_of(frames)) is type(value), "true is not 1"
    if value is not None:
        assert decode_params(frames) == value


@patient
@given(
    st.binary() | st.builds(bytes.__add__, st.sampled_from([*KINDS, values.PARAM_RAW, *MARKS]), st.binary())
)
def test_bytes_pass_untouched_whatever_they_look_like(data: bytes) -> None:
    (frame,) = body = encode_value(data)
    assert decode_params(body) == data and value_of(body) == data
    assert frame == data or data == b"" or data.startswith(tuple(MARKS)), "a prefix only where it is needed"
    assert without_raw(body) == (data,), "peers that know no PARAM-RAW"
    for params, from_record in ((False, result_from), (True, params_from)):
        assert from_record(*shown(body, params)) == data
    assert frames_of(field_of("x", data), "x") == body


@pytest.mark.parametrize("value", [bytearray(b"bytes"), memoryview(b"bytes")])
def test_what_is_like_bytes_is_bytes(value: Any) -> None:
    assert encode_value(value) == (b"bytes",)


@pytest.mark.parametrize(
    ("value", "frame"),
    [(True, b"true"), (False, b"false"), ("dlrow", b'"dlrow"'), (1, b"1"), ([], b"[]"), ((1,), b"[1]")],
)
def test_other_values_become_json(value: Any, frame: bytes) -> None:
    assert encode_value(value) == (b"PARAM-JSON: " + frame,)


def test_none_is_no_frame_and_comes_back_as_none() -> None:
    assert encode_value(None) == () and value_of(()) is None
    assert result_from(*shown(())) is None and params_from(*shown((), True)) == {}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "the result is a object, which JSON cannot hold"),
        ({"when": [1, datetime(2026, 1, 1)]}, r"the result\['when'\]\[1\] is a datetime.datetime"),
        ({"a": {1, 2}}, r"the result\['a'\] is a set"),
        ([b"x"], r"the result\[0\] is a bytes"),
        ({(1,): 2}, "has a key that is a tuple"),
        (1j, "is a complex"),
        (float("nan"), "the result is nan"),
        ({"x": [float("inf")]}, r"the result\['x'\]\[0\] is inf"),
        (nested(100_000), "nested too deep"),
        (10**5_000, "too many digits"),
        ({float("nan"): 1}, "a key of the result is nan"),
        ([{1: "a", "1": "b"}], "keys that JSON writes alike, 1 and '1'"),
        ({"x": ({True: 1, "true": 2},)}, "keys that JSON writes alike, True and 'true'"),
        ({None: 1, "null": 2}, "alike, None and 'null'"),
    ],
    ids=lambda it: it[:12] if isinstance(it, str) else "",
)
def test_a_value_that_json_cannot_hold_is_an_error_that_says_where(value: Any, why: str) -> None:
    with pytest.raises(BadValue, match=why) as caught:
        encode_value(value, "the result")
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ZmwsError)


def test_a_value_that_holds_itself_is_an_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(BadValue, match="holds itself"):
        encode_value(circle)


@pytest.mark.parametrize("frame", [b"PARAM-JSON: {", b"PARAM-JSON: NaN", b"PARAM-JSON: " + b"[" * 100_000])
def test_a_result_that_says_it_is_json_and_is_not_is_an_error_of_ours(frame: bytes) -> None:
    with pytest.raises(ZmwsError, match="says that it is JSON, and is not"):
        value_of((frame,))
    value, kind = shown((frame,))
    assert kind == "frames", "a record shows it as it is"
    with pytest.raises(ZmwsError, match="says that it is JSON, and is not"):
        result_from(value, kind)


@pytest.mark.parametrize(
    ("body", "params", "expected"),
    [
        ((), True, (None, None)),
        ((b'PARAM-JSON: {"base64": "eA=="}',), False, ({"base64": "eA=="}, "json")),
        ((b"JSON-PARAM: [1]",), True, ([1], "json")),
        ((b"raw",), False, ({"base64": "cmF3"}, "bytes")),
        ((b"",), False, ({"base64": ""}, "bytes")),
        ((b"PARAM: i:1;",), True, ({"base64": "aToxOw=="}, "php")),
        ((b"PARAM: i:1;",), False, ({"base64": "UEFSQU06IGk6MTs="}, "bytes")),
        ((b"a", b"b"), False, ([{"base64": "YQ=="}, {"base64": "Yg=="}], "frames")),
        ((b"PARAM-JSON: NaN",), False, ([{"base64": "UEFSQU0tSlNPTjogTmFO"}], "frames")),
    ],
)
def test_a_record_shows_a_value_and_what_it_is(
    body: tuple[bytes, ...], params: bool, expected: tuple[Any, str | None]
) -> None:
    assert shown(body, params) == expected


def test_what_a_record_shows_of_bytes_is_not_what_it_shows_of_a_dict_that_looks_like_it() -> None:
    marked = {"base64": "eA=="}
    assert result_from(*shown(encode_value(marked))) == marked
    assert result_from(*shown(encode_value(b"x"))) == b"x"
    assert shown(encode_value(marked))[0] == shown(encode_value(b"x"))[0]


@pytest.mark.parametrize("mark", [values.PARAM_JSON, values.JSON_PARAM, values.PARAM, values.PARAM_PHP, b""])
@pytest.mark.parametrize("rest", [b"1", b"N;", b"", b'{"a": [1e999]}'])
def test_a_call_and_a_record_tell_the_same_result(mark: bytes, rest: bytes) -> None:
    def told(reader: Callable[[], Any]) -> Any:
        try:
            return reader()
        except ZmwsError as wrong:
            return str(wrong)

    body = (mark + rest,)
    assert told(lambda: value_of(body)) == told(lambda: result_from(*shown(body)))
    if mark in (values.PARAM_JSON, values.JSON_PARAM) and rest == b"1":
        assert value_of(body) == 1


def test_a_deep_value_comes_through_a_record_whole() -> None:
    deep = nested(2 * DEPTH_MAX)
    value, kind = shown(encode_value(deep))
    assert kind == "frames" and result_from(value, kind) == deep
    assert params_from(*shown(encode_value(deep), True)) == deep


# ---------------------------------------------------------------- JSON that comes in


@pytest.mark.parametrize("depth", [0, 1, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 900, 100_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[1, "[[[]]]", {"b":', "}]")])
def test_json_comes_in_up_to_a_depth(depth: int, begin: str, end: str) -> None:
    levels = depth * (2 if begin.count(":") and begin.count("1") else 1)
    text = (begin * depth + "0" + end * depth).encode()
    if levels <= DEPTH_MAX:
        assert json_in(text) == json.loads(text)
        assert json_in(text, depth_max=max(1, levels)) is not Ellipsis
    else:
        with pytest.raises(BadJson, match=f"nested more than {DEPTH_MAX} deep"):
            json_in(text)


def test_brackets_in_texts_are_no_depth() -> None:
    many = [f"{'[' * 1_000}{'{' * 1_000}" for _ in range(3)]
    assert json_in(json.dumps(many).encode()) == many
    assert json_in(json.dumps([[]] * 10_000).encode(), depth_max=2) == [[]] * 10_000


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"\xff", b"9" * 10_000, b"1 2"])
def test_what_is_no_json_is_an_error_of_ours(text: bytes) -> None:
    with pytest.raises(BadJson):
        json_in(text)


def test_is_deeper_counts_lists_and_objects() -> None:
    assert not is_deeper(1, 0) and is_deeper([], 0)
    assert not is_deeper([{"a": []}], 3) and is_deeper([{"a": []}], 2)


def test_what_comes_in_can_go_out_from_deep_in_the_stack() -> None:
    value = json_in(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)

    def deep(n: int) -> str:
        return deep(n - 1) if n else json.dumps({"jobs": [[value]]})

    assert deep(500)


def test_a_frame_is_marked_only_where_it_could_be_taken_for_another() -> None:
    assert raw_frame(b"") == b"PARAM-RAW: " and raw_frame(b"JOB: X") == b"PARAM-RAW: JOB: X"
    assert raw_frame(b"PARAM-RAW: x") == b"PARAM-RAW: PARAM-RAW: x"
    assert raw_frame(b"\x00PARAM") == b"\x00PARAM"


def test_php_parameters_written_by_us_are_read_by_us() -> None:
    value = {"list": [1, 0.5, None], "text": "naïve"}
    assert decode_params((values.PARAM_PHP + php_values.encode(value),)) == value
    assert decode_params((values.PARAM + php_values.encode(value),)) == value


@pytest.mark.parametrize(
    ("value", "field", "frames"),
    [
        (None, {}, ()),
        (1, {"v": 1}, (b"PARAM-JSON: 1",)),
        ([None], {"v": [None]}, (b"PARAM-JSON: [null]",)),
        (b"\x00", {"v_base64": "AA=="}, (b"\x00",)),
        (bytearray(b""), {"v_base64": ""}, (b"PARAM-RAW: ",)),
        (b"JOB: x", {"v_base64": "Sk9COiB4"}, (b"PARAM-RAW: JOB: x",)),
    ],
)
def test_a_value_as_a_field_of_a_question_and_back_as_frames(
    value: Any, field: dict[str, Any], frames: tuple[bytes, ...]
) -> None:
    assert field_of("v", value) == field and frames_of(field, "v") == frames


@pytest.mark.parametrize("text", ["A", "AA", "é", 7, None])
def test_what_is_no_base64_is_an_error_of_ours(text: Any) -> None:
    with pytest.raises(BadJson, match="'v_base64' is not base64"):
        frames_of({"v_base64": text}, "v")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"v": 1, "v_kind": "json"}, "json"),
        ({"v": {"base64": "AA=="}, "v_kind": None}, None),
        ({"v": None}, None),
        ({"v": {"base64": "AA=="}}, "bytes"),
        ({"v": {"base64": "AA==", "more": 1}}, "json"),
        ({"v": [1]}, "json"),
    ],
)
def test_the_kind_of_a_value_in_a_record(record: dict[str, Any], kind: str | None) -> None:
    assert kind_of(record, "v") == kind


@pytest.mark.parametrize(
    ("value", "kind", "result", "params"),
    [
        (None, None, None, {}),
        (1, "json", 1, 1),
        ({"base64": "AAE="}, "bytes", b"\x00\x01", b"\x00\x01"),
        ([{"base64": "AA=="}, {"base64": "AQ=="}], "frames", [b"\x00", b"\x01"], [b"\x00", b"\x01"]),
    ],
)
def test_a_value_out_of_a_record_is_as_it_was(value: Any, kind: str | None, result: Any, params: Any) -> None:
    assert result_from(value, kind) == result and params_from(value, kind) == params


def test_php_parameters_come_out_of_a_record_decoded() -> None:
    assert params_from({"base64": base64.b64encode(b"i:5;").decode()}, "php") == 5


@pytest.mark.parametrize(("digits", "good"), [(4_299, True), (4_301, False)])
def test_whole_numbers_have_as_many_digits_as_python_writes(digits: int, good: bool) -> None:
    number = 10 ** (digits - 1)
    if good:
        assert encode_json(number, "x") == b"1" + b"0" * (digits - 1)
        return
    with pytest.raises(BadValue, match="x is a whole number of too many digits"):
        encode_json(number, "x")


def test_keys_that_json_writes_alike_are_an_error_wherever_they_stand() -> None:
    for value in ({1: 0, "1": 0}, [{"a": {None: 0, "null": 0}}], ({"x": [{True: 0, "true": 0}]},)):
        with pytest.raises(BadValue, match="keys that JSON writes alike"):
            encode_json(value, "x")
    assert encode_json({1: 0, "2": 0, "1.0": {2: 1}}, "x") == b'{"1": 0, "2": 0, "1.0": {"2": 1}}'


def test_a_whole_number_is_too_long_from_so_many_bits_on() -> None:
    for bits, part in ((14_280, r"\[1\] is a"), (14_281, r"\[0\] is a whole number of too many digits")):
        with pytest.raises(BadValue, match=part):
            values.encode_value([1 << (bits - 1), object()])
