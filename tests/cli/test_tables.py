"""zmws.cli.tables: what fits a terminal, and what does not."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import pytest

from zmws.cli import tables

Show = Callable[..., list[str]]
HEADS = ("ID", "SERVICE", "NOTE")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """The lines of a table on a terminal of so many columns."""

    def show(columns: int, *rows: tuple[object, ...]) -> list[str]:
        monkeypatch.setattr(tables, "terminal_width", lambda: columns)
        tables.show_table(HEADS, rows, may_cut=("NOTE",))
        return capsys.readouterr().out.splitlines()

    return show


def test_a_table_that_fits_is_one_line_a_row(shown: Show) -> None:
    assert shown(20, ("a", "S", "why"), ("b", "LONGER", None)) == [
        "ID  SERVICE  NOTE",
        "a   S        why",
        "b   LONGER   -",
    ]


def test_a_note_that_is_too_long_is_cut_with_a_mark(shown: Show) -> None:
    assert shown(30, ("a", "S", "x" * 30)) == ["ID  SERVICE  NOTE", "a   S        " + "x" * 16 + "…"]


def test_what_does_not_fit_stands_below_and_an_empty_line_is_left_out(shown: Show) -> None:
    assert shown(24, ("a" * 14, "S", "why it is so, in many words"), ("b", "S", None)) == [
        "ID              SERVICE",
        "    NOTE",
        "aaaaaaaaaaaaaa  S",
        "    why it is so, in ma…",
        "b               S",
    ]


def test_a_cell_wider_than_the_terminal_is_whole(shown: Show) -> None:
    assert shown(10, ("i" * 30, "S", "n"))[3] == "i" * 30


def test_wide_characters_take_two_columns(shown: Show) -> None:
    lines = shown(80, ("日本", "S", "e\u0301 1"), ("abcd", "S", "2"))
    assert lines[1:] == ["日本  S        e\u0301 1", "abcd  S        2"]
    assert tables.cut("日本語", 5) == "日本…" and tables.cut("日本語", 4) == "日…"


def test_the_mark_is_what_the_encoding_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert tables.cut("abcdefgh", 6) == "abc..."


def test_times_to_come_are_said_as_how_long_that_is() -> None:
    assert tables.until("2000-01-01T00:00:00Z") == "now"
    assert tables.until("9000-01-01T00:00:00Z").startswith("in ")


def test_a_long_text_goes_on_behind_its_indent_parted_at_spaces_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: 12)
    for text in (
        "twelve chars",
        "error: it broke here",
        "  " + "x" * 20,
        "日本" * 4,
        "",
        "a  b" + " " * 9 + "c",
    ):
        tables.show_text(text)
    assert capsys.readouterr().out.splitlines() == [
        "twelve chars",
        "error: it",
        "    broke",
        "    here",
        "  " + "x" * 10,
        "    " + "x" * 8,
        "    xx",
        "日本日本日本",
        "    日本",
        "",
        "a  b",
        "    c",
    ]
    monkeypatch.setattr(tables, "terminal_width", lambda: 4)
    tables.show_text("no room for more", "     ")
    assert capsys.readouterr().out == "no room for more\n"


def test_a_terminal_shows_states_in_colours_unless_it_is_to_have_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("a", "running", 1),
        ("b", "fatal, again in 3 s", None),
        ("c", "running, hung", 2),
        ("d", "odd", 3),
    ]
    tables.show_table(("NAME", "STATE", "PID"), rows)
    plain_text = capsys.readouterr().out
    assert "\x1b" not in plain_text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tables.show_table(("NAME", "STATE", "PID"), rows)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert "\x1b[32mrunning  " in lines[1] and "\x1b[31mfatal, again in 3 s\x1b[0m" in lines[2]
    assert "\x1b[31mrunning, hung" in lines[3] and "\x1b" not in lines[0] + lines[4]
    assert re.sub(r"\x1b\[\d+m", "", text) == plain_text, "as wide as without"
    monkeypatch.setenv("NO_COLOR", "1")
    tables.show_table(("NAME", "STATE", "PID"), rows)
    assert capsys.readouterr().out == plain_text
