"""zmws.worker.params: what `work()` is given, and what it gives back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zmws.core import mdp, php
from zmws.worker.params import TRACEBACK_MAX, BadParams, decode_params, encode_fault, encode_value

KINDS = (mdp.PARAM_JSON, mdp.JSON_PARAM, mdp.PARAM, mdp.PARAM_PHP)
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
    if value is True:
        assert frames == ()
    else:
        assert decode_params(frames) == value


@pytest.mark.parametrize("value", [b"", b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_bytes_pass_untouched(value: Any) -> None:
    assert encode_value(value) == (bytes(value),)


@pytest.mark.parametrize(
    ("value", "frame"),
    [(None, b"null"), (False, b"false"), ("dlrow", b'"dlrow"'), (1, b"1"), ([], b"[]"), ((1,), b"[1]")],
)
def test_other_values_become_json(value: Any, frame: bytes) -> None:
    assert encode_value(value) == (b"PARAM-JSON: " + frame,)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, {(1,): 2}, 1j, float("nan"), [float("inf")], nested(100_000)]
)
def test_a_value_that_json_cannot_hold_is_an_error_and_not_something_else(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, RecursionError)):
        encode_value(value)


def test_php_parameters_written_by_us_are_read_by_us() -> None:
    value = {"list": [1, 0.5, None], "text": "naïve"}
    assert decode_params((mdp.PARAM_PHP + php.encode(value),)) == value
    assert decode_params((mdp.PARAM + php.encode(value),)) == value


def test_a_fault_is_told_with_its_type_its_text_and_the_end_of_its_traceback() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise KeyError("the key" + "y" * TRACEBACK_MAX)

    with pytest.raises(KeyError) as caught:
        deep(3)
    said = encode_fault(caught.value)
    assert said["code"] == "job_failed"
    assert said["type"] == "KeyError"
    assert said["error"].startswith("'the key")
    assert len(said["traceback"]) == TRACEBACK_MAX
    assert json.loads(json.dumps(said)) == said


def test_a_fault_without_a_text_is_told_by_its_type() -> None:
    assert encode_fault(ValueError())["error"] == "ValueError"


def test_a_fault_whose_own_text_fails_is_told_all_the_same() -> None:
    class Spiteful(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    said = encode_fault(Spiteful())
    assert said["type"] == "Spiteful"
    assert said["error"] == "Spiteful, whose text raised RuntimeError"
