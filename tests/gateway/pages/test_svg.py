"""Plots, lanes and lives as SVG: right, bounded, and never able to carry anything but a picture."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmws.gateway.pages import svg
from zmws.gateway.pages.svg import Bar, Curve

Numbers = st.lists(st.none() | st.floats(0, 1e12), max_size=700)


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def path(picture: str) -> str:
    found = parsed(picture).find("path")
    return "" if found is None else str(found.get("d"))


@pytest.mark.parametrize(
    ("values", "top"),
    [
        ([], 1),
        ([None, None], 1),
        ([0, 0], 1),
        ([0.04], 0.05),
        ([1], 1),
        ([1.1], 2),
        ([7, None, 60], 100),
        ([101], 200),
        ([2.6], 3),
        ([999_999], 1_000_000),
    ],
)
def test_an_axis_ends_at_a_round_number_that_no_value_is_above(values: list[float], top: float) -> None:
    assert svg.nice_top(values) == pytest.approx(top)


@pytest.mark.parametrize(
    ("seconds", "top"),
    [(0.3, 0.3), (9, 10), (11, 30), (31, 60), (61, 120), (130, 180), (3_500, 3_600), (80_000, 86_400)],
)
def test_an_axis_of_seconds_ends_at_a_round_time(seconds: float, top: float) -> None:
    assert svg.nice_top([seconds], are_seconds=True) == pytest.approx(top)


@given(Numbers, st.booleans())
def test_no_value_is_ever_above_the_axis(values: list[float | None], are_seconds: bool) -> None:
    known = [one for one in values if one is not None]
    assert svg.nice_top(values, are_seconds) * 1.0001 >= max(known, default=0)


@given(Numbers)
def test_any_figures_make_a_picture_of_a_bounded_size(values: list[float | None]) -> None:
    top = svg.nice_top(values)
    for picture in (svg.plot([Curve("complete", values)], top), svg.spark(values, "failed")):
        assert parsed(picture).tag == "svg" and len(picture) < 5_000
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path(picture)):
            assert -1 <= float(x) <= 601 and -1 <= float(y) <= 121


def test_a_line_goes_through_its_values_from_the_left_to_the_right() -> None:
    assert path(svg.plot([Curve("complete", [0, 5, 10])], 10)) == "M0.0 120.0L300.0 60.0L600.0 0.0"


def test_what_is_not_known_is_a_gap_and_one_value_alone_is_seen() -> None:
    assert path(svg.plot([Curve("complete", [1, None, 1, 1])], 1)) == "M0.0 0.0h3M400.0 0.0L600.0 0.0"
    assert path(svg.spark([None, None], "complete")) == ""


def test_of_many_points_neighbours_are_put_together_and_the_largest_is_kept() -> None:
    values: list[float | None] = [0.0] * 1_000
    values[777] = 9.0
    thin = svg.thinned(values, 100)
    assert len(thin) == 100 and max(one or 0 for one in thin) == 9.0 and thin[77] == 9.0
    assert svg.thinned([None] * 300, 100) == [None] * 100
    assert svg.thinned([1, 2, 3], 3) == [1, 2, 3]


def test_marks_stand_where_they_were_and_none_beside_the_plot() -> None:
    picture = parsed(svg.plot([Curve("complete", [1, 1])], 1, [0.5, -0.1, 1.2]))
    assert [one.get("x1") for one in picture.findall("line") if one.get("class") == "mark"] == ["300.0"]
    assert svg.places([{"at_s": 150.0}], 100.0, 200.0) == [0.25] and svg.places([{"at_s": 1.0}], 0, 0) == []


def test_bars_stand_where_their_seconds_are_each_row_by_itself() -> None:
    bars = [Bar(0, 30, "complete", "a"), Bar(150, 300, "failed", "b", 1, "/ui/jobs/x")]
    picture = parsed(svg.lane(bars, 300, 2))
    assert picture.get("viewBox") == "0 0 1000 20"
    first, second = picture.iter("rect")
    assert [first.get(name) for name in ("class", "x", "width", "y")] == ["f-complete", "0.0", "100.0", "0.5"]
    assert [second.get(name) for name in ("class", "x", "width", "y")] == [
        "f-failed",
        "500.0",
        "500.0",
        "10.5",
    ]
    (link,) = picture.iter("a")
    assert link.get("href") == "/ui/jobs/x" and link.get("tabindex") == "-1"


def test_a_bar_of_no_time_can_still_be_seen() -> None:
    (rect,) = parsed(svg.lane([Bar(5, 5, "complete", "")], 300)).iter("rect")
    assert float(str(rect.get("width"))) > 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_the_parts_of_a_life_fill_the_bar_in_their_order_and_each_can_be_seen(lengths: list[float]) -> None:
    at, bars = 0.0, []
    for seconds in lengths:
        bars.append(Bar(at, at + seconds, "waiting", ""))
        at += seconds
    rects = [
        (float(str(r.get("x"))), float(str(r.get("width")))) for r in parsed(svg.life(bars)).iter("rect")
    ]
    assert len(rects) == len(lengths)
    for (x, wide), (after, _) in pairwise(rects):
        assert wide > 1 and x + wide <= after + 0.2
    assert rects[-1][0] + rects[-1][1] <= 1_000.2 and rects[0][0] == 0


def test_columns_are_as_tall_as_their_counts_and_none_for_nothing() -> None:
    rects = list(parsed(svg.columns([0, 5, 10], "failed")).iter("rect"))
    assert [(r.get("x"), r.get("height")) for r in rects] == [("5", "11.0"), ("10", "22.0")]
    assert list(parsed(svg.columns([], "failed"))) == []


def test_whatever_stands_in_a_title_a_colour_or_a_link_stays_a_text() -> None:
    evil = "\"'><script>alert(1)</script>"
    for picture in (
        svg.lane([Bar(0, 1, evil, evil, 0, evil)], 1),
        svg.plot([Curve(evil, [1, 2])], 2),
        svg.spark([1, 2], evil),
        svg.columns([1], evil),
    ):
        assert not list(parsed(picture).iter("script")) and "<script" not in picture
        assert "style=" not in picture and parsed(picture).get("aria-hidden") == "true"


@pytest.mark.parametrize(
    ("picture", "inner"),
    [
        (
            svg.plot([Curve("complete", [0, None, 2, 1])], 2, [0.25], height=60),
            'plot 0 0 600 60|<line class="grid" x1="0" x2="600" y1="0" y2="0"/>'
            '<line class="grid" x1="0" x2="600" y1="30" y2="30"/>'
            '<line class="grid" x1="0" x2="600" y1="60" y2="60"/>'
            '<line class="mark" x1="150.0" x2="150.0" y1="0" y2="60"/>'
            '<path class="line c-complete" d="M0.0 60.0h3M400.0 0.0L600.0 30.0"/>',
        ),
        (
            svg.plot([Curve("failed", [None])], 1),
            'plot 0 0 600 120|<line class="grid" x1="0" x2="600" y1="0" y2="0"/>'
            '<line class="grid" x1="0" x2="600" y1="60" y2="60"/>'
            '<line class="grid" x1="0" x2="600" y1="120" y2="120"/>',
        ),
        (
            svg.spark([1, 2], "failed"),
            'spark 0 0 110 22|<path class="line c-failed" d="M0.0 11.0L110.0 0.0"/>',
        ),
        (svg.spark([None, 0], "failed"), 'spark 0 0 110 22|<path class="line c-failed" d="M110.0 22.0h3"/>'),
        (
            svg.columns([1, 0, 4, 0.01], "failed"),
            'spark 0 0 20 22|<rect class="f-failed" x="0" y="16.5" width="4" height="5.5"/>'
            '<rect class="f-failed" x="10" y="0.0" width="4" height="22.0"/>'
            '<rect class="f-failed" x="15" y="20.5" width="4" height="1.5"/>',
        ),
        (
            svg.lane([Bar(0, 3, "complete", "t", 0, None, 0.5), Bar(6, 6, "failed", "u", 1, "/x")], 12, 5),
            'lane rows-4 0 0 1000 50|<rect class="f-complete" x="0.0" y="0.5" width="250.0" height="9">'
            '<title>t</title></rect><rect class="f-failed" x="0.0" y="5.0" width="250.0" height="4.5"/>'
            '<a href="/x" tabindex="-1"><rect class="f-failed" x="500.0" y="10.5" width="1.2" height="9">'
            "<title>u</title></rect></a>",
        ),
        (
            svg.lane([Bar(0, 12, "complete", "t", 0, None, 0.01)], 12),
            'lane 0 0 1000 10|<rect class="f-complete" x="0.0" y="0.5" width="1000.0" height="9">'
            '<title>t</title></rect><rect class="f-failed" x="0.0" y="6.8" width="1000.0" height="2.7"/>',
        ),
        (
            svg.life([Bar(0, 1, "waiting", "a"), Bar(1, 4, "running", "b")]),
            'life 0 0 1000 10|<rect class="f-waiting" x="0.0" y="0.5" width="251.5" height="9">'
            '<title>a</title></rect><rect class="f-running" x="253.0" y="0.5" width="745.5" height="9">'
            "<title>b</title></rect>",
        ),
        (svg.life([]), "life 0 0 1000 10|"),
    ],
)
def test_each_picture_is_just_this(picture: str, inner: str) -> None:
    head, _, parts = inner.partition("|")
    name, _, box = head.partition(" 0 0 ")
    frame = 'preserveAspectRatio="none" aria-hidden="true" focusable="false"'
    assert str(picture) == f'<svg class="{name}" viewBox="0 0 {box}" {frame}>{parts}</svg>'


def test_ticks_stand_at_the_top_the_middle_and_the_bottom() -> None:
    assert svg.ticks(8, str) == ["8", "4.0", "0"]


# ---------------------------------------------------------------- shares


def test_shares_fill_as_much_as_they_are_and_the_rest_stays_empty() -> None:
    told = str(svg.shares([("complete", 50), ("failed", 25), ("expired", 0)], 100))
    found = re.findall(r'class="f-(\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', told)
    assert found == [("complete", "0.0", "500.0"), ("failed", "500.0", "250.0")]
    assert "<title>25 failed</title>" in told


def test_the_smallest_share_is_seen_and_none_goes_past_the_end() -> None:
    told = str(svg.shares([("complete", 999_999), ("failed", 1)], 1_000_000))
    (_, (colour, x, wide)) = re.findall(r'class="f-(\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', told)
    assert colour == "failed" and float(wide) >= 6.0 and float(x) + float(wide) <= 1_000.0
    assert "rect" not in str(svg.shares([("complete", 0)], 0))
