"""Small plots out of characters."""

from __future__ import annotations

import pytest

from zmws.cli import plots
from zmws.cli.plots import plot


@pytest.fixture(autouse=True)
def bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that has the characters."""
    monkeypatch.setattr(plots, "can_show", lambda text: True)


@pytest.mark.parametrize(
    ("values", "wide", "shown"),
    [
        ([], 4, "    "),
        ([0, 0], 4, "  ▁▁"),
        ([0, 1, 2, 4], 4, "▁▃▅█"),
        ([0, 0.001, 1000], 3, "▁▂█"),
        ([None, 5, None], 3, " █ "),
        ([1, 2, 3, 4, 5, 6], 3, "▃▆█"),
        ([9, 1, 2], 2, "█▃"),
        ([3], 0, ""),
    ],
)
def test_the_highest_value_is_the_highest_bar_and_the_newest_stands_at_the_right(
    values: list[float | None], wide: int, shown: str
) -> None:
    assert plot(values, wide) == shown


def test_a_bound_may_be_said_and_what_passes_it_is_as_high_as_can_be() -> None:
    assert plot([1, 2, 9], 3, most=4) == "▃▅█"


def test_where_there_are_no_such_characters_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "can_show", lambda text: False)
    assert plot([0, 1, 2, 4], 4) == "_-+@"


def test_ten_minutes_fit_into_any_width() -> None:
    for wide in (1, 7, 20, 100, 600, 700):
        assert len(plot([float(n) for n in range(600)], wide)) == wide
