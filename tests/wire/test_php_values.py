"""zmws.wire.php_values: serialize() data from PHP peers, well and badly formed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zmws.errors import ProtocolError
from zmws.wire import php_values

# The first text that hypothesis draws on a machine builds its tables, which takes seconds.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(php_values.INT_MIN, php_values.INT_MAX)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, min_size=1)
    ),
    max_leaves=30,
)


def refusal_of(data: bytes, **bounds: int) -> str:
    with pytest.raises(ProtocolError) as caught:
        php_values.decode(data, **bounds)
    assert caught.value.reason == "bad_params"
    return str(caught.value)


# What PHP 8 prints for serialize() of the value.
@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"N;", None),
        (b"b:1;", True),
        (b"b:0;", False),
        (b"i:0;", 0),
        (b"i:-42;", -42),
        (b"i:9223372036854775807;", 2**63 - 1),
        (b"i:-9223372036854775808;", -(2**63)),
        (b"d:0.1;", 0.1),
        (b"d:-0;", -0.0),
        (b"d:1.0E+25;", 1e25),
        (b"d:1.0E-7;", 1e-7),
        (b"d:INF;", math.inf),
        (b"d:-INF;", -math.inf),
        (b's:0:"";', ""),
        (b's:5:"Hello";', "Hello"),
        (b's:6:"a"b;c}";', 'a"b;c}'),
        ('s:7:"na\u00efve\U0001f600";'.encode().replace(b"s:7", b"s:10"), "na\u00efve\U0001f600"),
        (b"a:0:{}", []),
        (b"a:2:{i:0;i:1;i:1;i:2;}", [1, 2]),
        (b'a:1:{s:3:"str";s:5:"Hello";}', {"str": "Hello"}),
        (b"a:2:{i:0;N;i:2;N;}", {"0": None, "2": None}),
        (b"a:2:{i:1;i:1;i:0;i:0;}", {"1": 1, "0": 0}),
        (b'a:2:{i:0;b:1;s:1:"x";b:0;}', {"0": True, "x": False}),
        (b'a:1:{s:1:"0";N;}', {"0": None}),
        (
            b'a:2:{s:4:"list";a:2:{i:0;d:0.5;i:1;a:0:{}}s:4:"more";a:1:{i:-1;s:1:"z";}}',
            {"list": [0.5, []], "more": {"-1": "z"}},
        ),
    ],
)
def test_a_value_as_php_writes_it_is_read(data: bytes, value: Any) -> None:
    found = php_values.decode(data)
    assert found == value
    assert type(found) is type(value)
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


def test_not_a_number_is_read() -> None:
    assert math.isnan(php_values.decode(b"d:NAN;"))
    assert math.isnan(php_values.decode(php_values.encode(math.nan)))


@patient
@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same(value: Any) -> None:
    assert php_values.decode(php_values.encode(value)) == value


def test_tuples_come_back_as_lists_and_an_empty_dict_as_an_empty_list() -> None:
    assert php_values.decode(php_values.encode((1, (2,), {}))) == [1, [2], []]


@patient
@given(st.binary() | st.text("NbidsaOCErR:;{}\"'0123456789.+-eEIF").map(str.encode))
@example(b"d:+-INF;")
@example(b"d:+NAN;")
@example(b"d:.;")
@example(b"d:e5;")
@example(b"d:1e99999;")
@example(b"i:\xd9\xa1;")
def test_no_input_raises_anything_but_protocol_error(data: bytes) -> None:
    try:
        php_values.decode(data)
    except ProtocolError as wrong:
        assert wrong.reason == "bad_params"


@patient
@given(VALUES, st.data())
def test_no_damage_to_good_data_raises_anything_but_protocol_error(value: Any, draw: st.DataObject) -> None:
    good = php_values.encode(value)
    at = draw.draw(st.integers(0, len(good)))
    cut = draw.draw(st.integers(0, 3))
    bad = good[:at] + draw.draw(st.binary(max_size=3)) + good[at + cut :]
    try:
        php_values.decode(bad)
    except ProtocolError as wrong:
        assert wrong.reason == "bad_params"


@patient
@given(VALUES)
def test_no_beginning_of_good_data_is_taken_for_a_whole(value: Any) -> None:
    good = php_values.encode(value)
    for end in range(min(len(good), 200)):
        refusal_of(good[: min(end, len(good) - 1)])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'O:8:"stdClass":0:{}', "object"),
        (b'C:11:"ArrayObject":21:{x:i:0;a:0:{};m:a:0:{}}', "object"),
        (b'E:11:"Suit:Hearts";', "enumeration"),
        (b"a:2:{i:0;i:1;i:1;R:2;}", "reference"),
        (b"a:2:{i:0;i:1;i:1;r:1;}", "reference"),
        (b'a:1:{i:0;O:3:"Foo":0:{}}', "object"),
    ],
)
def test_objects_enumerations_and_references_are_refused_by_name(data: bytes, why: str) -> None:
    assert why in refusal_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b"n;",
        b"b:2;",
        b"b:true;",
        b"i:;",
        b"i:1",
        b"i:1.5;",
        b"i: 1;",
        b"i:1_000;",
        b"i:9223372036854775808;",
        b"i:99999999999999999999;",
        b"d:;",
        b"d:0x1p3;",
        b"d:inf;",
        b"d:" + b"9" * 5000 + b";",
        b"s:5:Hello;",
        b's:4:"Hello";',
        b's:6:"Hello";',
        b's:-1:"";',
        b's:2:"\xff\xfe";',
        b's:1:"\xc3\xa9";',
        b'S:1:"a";',
        b"a:1:{}",
        b"a:0:{i:0;N;}",
        b"a:1:{N;N;}",
        b"a:1:{d:0.5;N;}",
        b"a:1:{b:1;N;}",
        b"a:1:{a:0:{}N;}",
        b"a:1:{i:0;N;",
        b"a:1:{i:0;N;};",
        b"N;N;",
        b"N;\n",
        b"{}",
        b'{"json": true}',
    ],
)
def test_what_php_would_not_write_is_refused(data: bytes) -> None:
    refusal_of(data)


@pytest.mark.parametrize(
    "data", [b"a:999999999:{", b"a:9999999999:{i:0;N;}", b's:9999999999:"x";', b"s:99999999999999:"]
)
def test_a_length_beyond_the_data_is_refused_before_memory_is_taken(data: bytes) -> None:
    refusal_of(data)


def test_depth_is_bounded() -> None:
    def nested(depth: int) -> bytes:
        return b"a:1:{i:0;" * (depth - 1) + b"a:0:{}" + b"}" * (depth - 1)

    value = php_values.decode(nested(php_values.DEPTH_MAX))
    for _ in range(php_values.DEPTH_MAX - 1):
        (value,) = value
    assert value == []
    assert "deep" in refusal_of(nested(php_values.DEPTH_MAX + 1))
    assert "deep" in refusal_of(nested(100_000))
    assert php_values.decode(b"i:1;", depth_max=0) == 1
    assert "deep" in refusal_of(b"a:0:{}", depth_max=0)


def test_depth_costs_no_stack_where_the_caller_allows_it() -> None:
    depth = 50_000
    data = b"a:1:{i:0;" * depth + b"N;" + b"}" * depth
    value = php_values.decode(data, depth_max=depth)
    seen = 0
    while value is not None:  # taken apart here, for comparing or freeing it would recurse
        (value,) = value
        seen += 1
    assert seen == depth


def test_size_and_entries_are_bounded() -> None:
    assert "at most 3" in refusal_of(b"i:1;", bytes_max=3)
    assert php_values.decode(b"i:1;", bytes_max=4) == 1
    two = b"a:2:{i:0;i:1;i:1;i:2;}"
    assert php_values.decode(two, items_max=2) == [1, 2]
    assert "entries" in refusal_of(two, items_max=1)
    # Counted over all arrays, not for each.
    assert "entries" in refusal_of(b"a:1:{i:0;" + two + b"}", items_max=2)


def test_a_refusal_says_at_which_byte() -> None:
    assert "byte 9" in refusal_of(b"a:1:{i:0;x}")


@pytest.mark.parametrize("value", [b"bytes", {1: "int key"}, object(), {"deep": [set()]}])
def test_a_value_that_php_has_not_is_not_encoded(value: Any) -> None:
    with pytest.raises(TypeError):
        php_values.encode(value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800"])
def test_a_number_or_text_that_php_could_not_hold_is_not_encoded(value: Any) -> None:
    with pytest.raises(ValueError):
        php_values.encode(value)
