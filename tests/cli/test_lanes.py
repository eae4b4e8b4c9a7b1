"""What `zmws lanes` draws, whatever the broker tells it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from zmws.cli import lanes as module
from zmws.cli import options
from zmws.cli.lanes import columns, drawn, lanes

FROM, NOW = "2027-01-31T08:00:00.000Z", "2027-01-31T08:05:00.000Z"

Draw = Callable[..., tuple[list[str], str]]


def bar(start: float, end: float | None, **more: Any) -> dict[str, Any]:
    return {
        **{"start": start, "end": end, "row": 0, "service": "E", "jobs": 1, "failed": 0, "other": 0},
        **{"id": "j"},
        **more,
    }


def lane(worker: str = "w-1", bars: Any = (), **more: Any) -> dict[str, Any]:
    return {
        **{"worker": worker, "host": "h", "pid": 7, "services": ["E"], "slots": 1, "since": FROM},
        **{"state": "busy", "gone_at": None, "why": None, "bars": list(bars)},
        **more,
    }


class FakeClient:
    """Answers this, and keeps what it was asked."""

    asked: Any = None

    def __init__(self, told: Any) -> None:
        self.told = told

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def ask(self, service: str, question: Any) -> Any:
        FakeClient.asked = (service, question)
        return self.told


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 80 columns that has the characters, and no colours."""
    monkeypatch.setattr(module, "terminal_width", lambda: 80)
    monkeypatch.setattr(module, "can_show", lambda text: True)


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Draw:
    """Runs the verb against a broker that tells these lanes; its lines, and its notes."""

    def draw(*shown: Any, args: tuple[str, ...] = (), **more: Any) -> tuple[list[str], str]:
        told = {"now": NOW, "from": FROM, "step": 1.0, "lanes": list(shown), "more": 0, "marks": [], **more}
        monkeypatch.setattr(options, "_client", lambda *_: FakeClient(told))
        lanes.main([*args], standalone_mode=False)
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err

    return draw


def picture(bars: list[dict[str, Any]], wide: int = 10, here: tuple[float, float] = (0.0, 100.0)) -> str:
    return drawn(columns(bars, (0.0, 100.0), here, wide))


@pytest.mark.parametrize(
    ("bars", "shown"),
    [
        ([], "··········"),
        ([bar(0, 20)], "██········"),
        ([bar(90, None)], "·········▒"),
        ([bar(10, 20, failed=1), bar(20, 40, other=1)], "·▀▄▄······"),
        ([bar(55, 55)], "·····█····"),
        ([bar(50, 59.5), bar(59.5, 59.6, jobs=9, failed=1)], "·····▀····"),
        ([bar(50, 56), bar(56, 60, other=1)], "·····█····"),
        ([bar(-50, 5), bar(-50, -5)], "█·········"),
        ([bar(-50, -5)], "··········"),
        ([bar(99.99, 100.001)], "·········█"),
        ([bar(0, None)], "▒▒▒▒▒▒▒▒▒▒"),
    ],
)
def test_a_column_shows_the_end_of_most_of_it_and_any_failure(bars: Any, shown: str) -> None:
    assert picture(bars) == shown


def test_where_a_worker_was_not_here_there_is_nothing() -> None:
    assert picture([bar(40, 50)], here=(35.0, 62.0)) == "   ·█··   "


def test_without_such_characters_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "can_show", lambda text: False)
    bars = [bar(0, 20), bar(20, 30, failed=1), bar(30, 40, other=1), bar(80, None)]
    assert picture(bars) == "##xo....=="


def test_a_terminal_has_colours_and_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [bar(0, 20), bar(20, 30, failed=1), bar(30, 40, other=1), bar(80, None)]
    without = picture(bars)
    monkeypatch.setattr(module, "has_colours", lambda: True)
    assert (
        picture(bars) == ("\x1b[32m██\x1b[0m\x1b[31m▀\x1b[0m\x1b[33m▄\x1b[0m····\x1b[36m▒▒\x1b[0m")
        and re.sub(r"\x1b\[\d+m", "", picture(bars)) == without
    )


def test_a_worker_is_a_line_and_who_is_gone_says_why(draw: Draw) -> None:
    gone = lane("w-2", [bar(0, 60, other=1)], state="gone", gone_at=FROM, why="its connection is gone")
    lines, _ = draw(lane(bars=[bar(0, 150), bar(150, None)]), gone)
    assert len(lines) == 3 and all(len(line) <= 80 for line in lines[:2])
    assert re.fullmatch(r"E w-1 █+▒+ busy", lines[0])
    assert re.fullmatch(r"E w-2 ▄+ +gone \S+ \S+ ago: its connection is gone", lines[1])
    assert (
        lines[2].startswith("5 min up to now; █ complete, ▒ running, ▄ given back") and "▀ failed" in lines[2]
    )


def test_what_was_before_the_first_of_them_came_is_left_out(draw: Draw) -> None:
    lines, _ = draw(lane(since="2027-01-31T08:04:00.000Z"))
    assert lines[1].startswith("60 s up to now") and re.fullmatch(r"E w-1 ·+ busy", lines[0])
    lines, _ = draw(lane(since="2027-01-31T08:04:00.000Z", bars=[bar(180, 200)]))
    assert lines[1].startswith("2 min up to now"), "it was here before: its bars say so"
    lines, _ = draw(lane(since=NOW))
    assert lines[1].startswith("10 s up to now") and re.fullmatch(r"E w-1 +· busy", lines[0])


def test_no_line_is_wider_than_the_terminal_but_for_a_picture_that_is_as_small_as_can_be(draw: Draw) -> None:
    lines, _ = draw(lane("w" * 128, services=["S" * 255]), lane("w\n\x1b[31m"))
    assert all(len(line) <= 80 for line in lines[:2]) and "\x1b" not in "".join(lines)


def test_what_is_asked_for_is_asked_of_the_broker(draw: Draw) -> None:
    _, err = draw(lane(), more=1, args=("--service", "E", "--worker", "w", "--limit", "7"))
    assert FakeClient.asked == ("zmws.lanes", {"service": "E", "worker": "w", "limit": 7})
    assert err == "1 more worker is not shown\n"
    lines, err = draw()
    assert not lines and err == "no worker was here in that time\n"
    assert draw(more=3)[1] == "none of these is kept\n"
    lines, _ = draw(lane(), args=("--json",))
    assert lines[0].startswith('{"now": ')
