"""How values are shown: numbers in whole, times with UTC, states with their glyphs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from zmws.gateway.pages import shown
from zmws.gateway.pages.rows import job_row
from zmws.gateway.pages.shown import NO_VALUE

THIN = "\u202f"


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NO_VALUE),
        (0, "0"),
        (999, "999"),
        (1_004_212, f"1{THIN}004{THIN}212"),
        (2**63 + 1, f"9{THIN}223{THIN}372{THIN}036{THIN}854{THIN}775{THIN}809"),
        (0.0, "0"),
        (41.84, "41.8"),
        (0.034, "0.034"),
        (1_500.7, f"1{THIN}501"),
        (-5, "-5"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_shown_in_whole_with_thousands_apart(value: Any, text: str) -> None:
    assert shown.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NO_VALUE),
        (0, "0_s"),
        (-3, "0_s"),
        (0.0012, "1.2_ms"),
        (0.096, "96_ms"),
        (4.1, "4.1_s"),
        (59.4, "59_s"),
        (60, "1_m"),
        (192, "3_m 12_s"),
        (3_600, "1_h"),
        (3_725, "1_h 2_m"),
        (90_000, "1_d 1_h"),
        (8_640_000, "100_d"),
    ],
)
def test_how_long_is_told_in_two_units_at_most(seconds: Any, text: str) -> None:
    assert shown.span(seconds) == text.replace("_", THIN)


def test_sizes_and_shares() -> None:
    assert (shown.size(None), shown.size(0)) == (NO_VALUE, f"0{THIN}B")
    assert shown.size(17 * 1024 * 1024) == f"17{THIN}MiB"
    assert (shown.percent(None), shown.percent(0.646)) == (NO_VALUE, f"65{THIN}%")
    assert shown.percent(0.9991) == f"99{THIN}%", "it is not done"
    assert (shown.percent(1.0), shown.percent(0.0)) == (f"100{THIN}%", f"0{THIN}%")


def test_a_time_says_what_it_is_in_utc_wherever_it_came_from() -> None:
    text = str(shown.when("2026-01-31T13:00:00.123+01:00"))
    assert (
        'datetime="2026-01-31T12:00:00.123+00:00"' in text and 'title="2026-01-31 12:00:00.123 UTC"' in text
    )
    assert "data-at" in text and ">2026-01-31 12:00:00 UTC<" in text
    assert shown.when(None) == shown.ago(None) == shown.since(None) == NO_VALUE


def test_ages_are_told_and_what_is_to_come() -> None:
    assert f">3{THIN}m 20{THIN}s ago<" in str(shown.ago(ago(200)))
    assert f">in 2{THIN}h<" in str(shown.ago(ago(-7_200.4)))
    assert f">5.0{THIN}s<" in str(shown.since(ago(5.01)))
    assert shown.between(None, None) is None and shown.between(ago(10), ago(4)) == pytest.approx(6, abs=0.1)
    assert shown.between(ago(10), None) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, ""),
        ({}, ""),
        ({"code": "timeout"}, "timeout"),
        ({"code": "job_failed", "type": "ValueError", "error": "bad\nworse"}, "ValueError: bad"),
        ({"error": "only this"}, "only this"),
        ({"type": 5, "error": {"a": 1}}, "5: {'a': 1}"),
        ("a text", "a text"),
        ([1], "[1]"),
    ],
)
def test_whatever_a_worker_calls_an_error_is_one_line(error: Any, line: str) -> None:
    assert shown.error_line(error) == line


def row(**changes: Any) -> dict[str, Any]:
    told = {"state": "waiting", "ready_at": ago(9), "started_at": None, "ended_at": None}
    return job_row({**told, **changes})


def test_the_age_of_a_state_and_how_long_it_ran_are_two_things() -> None:
    assert row()["state_since"] == row()["ready_at"] or row()["ran_s"] is None
    running = row(state="running", started_at=ago(5))
    assert running["state_since"] == running["started_at"] and running["ran_s"] == pytest.approx(5, abs=0.1)
    ended = row(state="complete", started_at=ago(50), ended_at=ago(20))
    assert ended["state_since"] == ended["ended_at"] and ended["ran_s"] == pytest.approx(30, abs=0.1)
    backoff = row(state="scheduled", started_at=ago(50), ready_at=ago(-5))
    assert backoff["state_since"] is None and backoff["ran_s"] is None, "it does not run"
    again = row(state="waiting", started_at=ago(50))
    assert again["ran_s"] is None
    never = row(state="cancelled", ended_at=ago(1))
    assert never["ran_s"] is None and never["state_since"] == never["ended_at"]


def test_texts_are_cut_and_half_a_surrogate_pair_breaks_nothing() -> None:
    assert shown.cut("x" * 300) == "x" * 200 + "…" and shown.cut(None) == "" and shown.cut("ab", 2) == "ab"
    assert shown.clean("a\ud800b") == "a?b"
    assert shown.pretty({"a": 2**60 + 1}) == '{\n  "a": 1152921504606846977\n}'
    assert shown.text_of("x") == "x" and shown.text_of({"a": "é"}) == '{"a": "é"}'
    assert "\\ud800" in shown.pretty("\ud800") or "\ud800" in shown.pretty("\ud800")


def test_each_state_has_a_glyph_of_its_own() -> None:
    from zmws.core.states import STATES

    assert set(shown.GLYPHS) == set(STATES) and len(set(shown.GLYPHS.values())) == len(STATES)
    assert "<b>" not in str(shown.state("<b>"))
