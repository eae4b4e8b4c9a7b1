"""zmws.wire.causes: what tells the failures of one cause from those of another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zmws.wire.causes import MESSAGE_MAX, WORD_MAX, FailureCause, cause_of, frame_of, masked

TRACE = """Traceback (most recent call last):
  File "/srv/zmws/zmws/work/inline.py", line 105, in _work
    result = worker.work(job.id, params)
> File "/srv/workers/orders/insert.py", line 17, in work
    self.save(row)
> File "/srv/workers/orders/rows.py", line 230, in save
    json.loads(row)
  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode
    raise JSONDecodeError("Expecting value", s, err.value) from None
json.decoder.JSONDecodeError: Expecting value
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no such table", "no such table"),
        ("'key'", "'…'"),
        ("bad row 12 of 'orders'", "bad row # of '…'"),
        ('cannot open "/tmp/a 1.txt": `x`', "cannot open '…': '…'"),
        ("", ""),
        # A quote after a letter opens nothing.
        ("can't find 'abc' and don't know \"it's\"", "can't find '…' and don't know '…'"),
        ("the user's name isn't known", "the user's name isn't known"),
        # Python's bytes, and a text that was cut before its quote.
        ("KeyError: b'abc' rb\"x\"", "KeyError: '…' '…'"),
        ("no user named 'someb", "no user named '…'"),
        ("'a', 'b'", "'…', '…'"),
        ("''", "'…'"),
        # Numbers, with what belongs to them.
        ("took 1.5 s of 10, at 12:30:01", "took # s of #, at #"),
        ("1,234,567 rows; -3; v2", "# rows; -#; v#"),
        ("10.0.0.7:5432 refused", "# refused"),
        ("zwölf ٣ Äpfel", "zwölf # Äpfel"),
        # Ids. A word of such letters alone is a word.
        ("job 01a217fd-8523-7d98-aec7-5ea1086f3cfb", "job #"),
        ("job deadbeef-dead-beef-dead-beefdeadbeef", "job #"),
        ("at 0x7f3a2c001a90, commit 9c59f5d2bb39", "at #, commit #"),
        ("faced a facade, effaced", "faced a facade, effaced"),
        ("DEADBEEF DEADBEE1", "DEADBEEF #"),
        # The first line, without what is around it.
        ("\n  first \r\nsecond 'x'", "first"),
        (" a\nb", "a"),
    ],
)
def test_what_is_another_each_time_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(expected) == expected


def test_a_message_is_cut_and_its_end_tells_nothing_apart() -> None:
    assert masked("x" * 10_000) == "x" * MESSAGE_MAX
    assert masked("x y " * 1_000) == ("x y " * 1_000)[: MESSAGE_MAX - 1]
    # A number that is masked leaves room for more words.
    assert masked("1" * 1_900 + " end") == "# end"


def test_the_frame_is_the_last_of_the_authors_own_with_its_folder() -> None:
    assert frame_of(TRACE) == "orders/rows.py:230 in save"
    assert frame_of(TRACE.replace("> File", "  File")) == "json/decoder.py:355 in raw_decode"
    assert frame_of('> File "C:\\workers\\orders\\rows.py", line 3, in save') == "orders/rows.py:3 in save"
    assert frame_of('  File "rows.py", line 3') == "rows.py:3 in ?"
    assert frame_of("") is None and frame_of("no File at all, line 3") is None


def test_the_frame_of_a_group_stands_behind_its_bars() -> None:
    group = """  + Exception Group Traceback (most recent call last):
  | > File "/srv/workers/a.py", line 5, in work
  |     raise ExceptionGroup("two", [ValueError(1)])
  +-+---------------- 1 ----------------
    | > File "/srv/workers/b.py", line 9, in one
    |     raise ValueError(1)
    +------------------------------------
"""
    assert frame_of(group) == "workers/b.py:9 in one"


def test_a_long_frame_keeps_its_parts_and_its_key_while_the_line_moves() -> None:
    file, function = "/srv/" + "f" * 100 + "/" + "g" * 100 + ".py", "h" * 300
    frames = [
        frame_of(f'> File "{file}", line {line}, in {function}\n') for line in ("9", "100000", "1" * 400)
    ]
    keys = {FailureCause("E", "m", frame).key("S") for frame in frames}
    assert len(keys) == 1
    assert all(frame is not None and len(frame) <= WORD_MAX for frame in frames)
    assert str(frames[0]).endswith("h" * 48) and ".py:9 in " in str(frames[0])


def test_of_a_traceback_without_end_its_end_is_looked_at() -> None:
    long = '> File "/srv/early.py", line 1, in early\n' + "x" * 5_000_000
    assert frame_of(long) is None
    assert frame_of(long + "\n" + TRACE) == "orders/rows.py:230 in save"


def test_a_cause_is_made_of_what_an_error_has() -> None:
    error = {"code": "job_failed", "type": "ValueError", "error": "bad row 7", "traceback": TRACE}
    assert cause_of(error) == FailureCause("ValueError", "bad row #", "orders/rows.py:230 in save")
    assert cause_of({"code": "timeout", "error": "ttr of 3.5 s passed"}) == FailureCause(
        "timeout", "ttr of # s passed", None
    )
    assert cause_of({"code": "mine", "type": ""}).type == "mine"
    assert cause_of(None) == cause_of({}) == FailureCause(None, "", None)


def test_a_cause_that_is_told_is_taken_and_bounded() -> None:
    told = {"type": "Oh", "message": "row 7 of 'x'", "frame": "a/b.py:1 in c"}
    assert cause_of({"type": "Other", "error": "other", "traceback": TRACE, "cause": told}) == FailureCause(
        "Oh", "row # of '…'", "a/b.py:1 in c"
    )
    long = cause_of({"cause": {"type": "t" * 9_000, "message": "m" * 9_000, "frame": "f" * 9_000}})
    assert [len(word or "") for word in long] == [WORD_MAX, MESSAGE_MAX, WORD_MAX]


@pytest.mark.parametrize("told", [None, [], "x", 7, True, 1e999, [{"type": "x"}]])
def test_a_cause_that_is_no_object_is_none(told: Any) -> None:
    assert cause_of({"code": "c", "error": "e", "cause": told}) == FailureCause("c", "e", None)


@pytest.mark.parametrize("value", [None, [], {}, 7, True, float("nan"), ["x"], {"a": "b"}])
def test_words_of_a_cause_that_are_no_texts_are_missing(value: Any) -> None:
    told = {"type": value, "message": value, "frame": value}
    assert cause_of({"code": "c", "error": "e", "cause": told}) == FailureCause(None, "", None)
    assert cause_of({"code": value, "type": value, "error": value, "traceback": value}) == FailureCause(
        None, "", None
    )


def test_a_key_is_the_same_wherever_the_line_is_and_another_for_any_other_difference() -> None:
    one = FailureCause("ValueError", "bad row", "a/b.py:7 in c")
    assert one.key("S") == one._replace(frame="a/b.py:1234 in c").key("S")
    others = [
        one.key("T"),
        one._replace(type="KeyError").key("S"),
        one._replace(type=None).key("S"),
        one._replace(message="bad column").key("S"),
        one._replace(frame="a/b.py:7 in d").key("S"),
        one._replace(frame="a/c.py:7 in c").key("S"),
        one._replace(frame=None).key("S"),
    ]
    assert len({one.key("S"), *others}) == 8
    # It stands in links and in files: a program of tomorrow makes the same.
    assert one.key("S") == "990ad8fccc8a"


_LETTERS = st.text(st.sampled_from("ab1#…' \"`\n\t\\bru0xf-,.:é\ud800\0"), max_size=60)
_TEXTS = st.one_of(
    _LETTERS, st.text(max_size=300), st.text(min_size=190, max_size=210).map(lambda one: one * 3)
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
_WORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "message", "frame"), _VALUES))
_NAMES = ("code", "error", "type", "traceback")
_ERRORS = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(_NAMES, _VALUES) | {"cause": st.one_of(_WORDS, _VALUES)}
)


@settings(deadline=None)
@given(_ERRORS)
def test_a_cause_of_whatever_error_is_bounded_and_has_a_key(error: Any) -> None:
    cause = cause_of(error)
    assert len(cause.message) <= MESSAGE_MAX and "\n" not in cause.message
    for word in (cause.type, cause.frame):
        assert word is None or 0 < len(word) <= WORD_MAX
    key = cause.key("S")
    assert len(key) == 12 and key == cause_of(error).key("S") != cause.key("T")
    assert json.loads(json.dumps(cause)) == [*cause]


@given(_TEXTS)
@example('it\'s "x"')
@example("' \"x\" '")
@example("5'x' '")
@example("a" * 199 + "'b'")
@example("a" * 199 + " b")
def test_what_is_masked_is_not_masked_again(text: str) -> None:
    once = masked(text)
    assert masked(once) == once


@given(_TEXTS, _TEXTS, st.integers(0, 10**9))
def test_a_told_cause_is_the_one_that_would_have_been_found(name: str, text: str, line: int) -> None:
    trace = f'> File "/srv/a/b.py", line {line}, in work\n'
    found = {"code": "job_failed", "type": name, "error": text, "traceback": trace}
    told = found | {"cause": cause_of(found)._asdict()}
    assert cause_of(told) == cause_of(found)
    assert cause_of(json.loads(json.dumps(told))).key("S") == cause_of(found).key("S")


@given(st.text(st.characters(exclude_characters="'\n", codec="ascii"), max_size=40), st.integers())
def test_two_that_differ_by_a_quoted_text_and_a_number_are_one(name: str, number: int) -> None:
    error = {"type": "KeyError", "error": f"row {number} has no '{name}'"}
    assert cause_of(error).message in ("row # has no '…'", "row -# has no '…'")


@pytest.mark.parametrize("text", ["a@b.cd-'x'", "a@b.cd-'x", 'me@here.de-"x" and 5', "5-'x'", "#'…'", "a'…'"])
def test_a_mask_behind_another_mask_is_no_quoted_text(text: str) -> None:
    assert masked(masked(text)) == masked(text)
