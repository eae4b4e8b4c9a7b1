"""Figures as plots: rates out of counts, means out of sums, marks, and words for who cannot see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from zmws.gateway.pages import plots
from zmws.gateway.pages.rows import causes_shown, urgency

THIN = "\u202f"
FROM = "2026-01-31T12:00:00.000Z"


def told(
    step: int = 1, points: int = 4, marks: list[dict[str, Any]] | None = None, **figures: Any
) -> dict[str, Any]:
    return {"step": step, "points": points, "from": FROM, "figures": figures, "marks": marks or []}


def mark(second: int, text: str = "deploy") -> dict[str, Any]:
    return {
        "at": f"2026-01-31T12:00:{second:02}.000Z",
        "kind": "mark",
        "text": text,
        "service": None,
        "by": None,
    }


def test_counts_of_seconds_are_smoothed_over_three_and_of_minutes_divided() -> None:
    assert plots.per_second([3, 0, 3, None, 6], 1) == [3, 1.5, 2, None, 4.5]
    assert plots.per_second([120, None, 60], 60) == [2, None, 1]


def test_a_plot_has_its_axis_its_legend_and_a_sentence() -> None:
    shown = plots.ends(told(complete=[0, 0, 30, 0], failed=[0, 0, 0, 3]))
    assert shown.title == "Ends per second" and shown.legend == [
        ("complete", "complete"),
        ("failed", "failed"),
    ]
    assert shown.ticks == [f"10{THIN}/s", f"5{THIN}/s", f"0{THIN}/s"]
    assert shown.summary == (
        f"Ends per second: complete 10{THIN}/s now, failed 1{THIN}/s now; 10{THIN}/s at most."
    )
    assert shown.picture is not None and shown.began == FROM


def test_what_is_not_known_is_said_and_not_drawn() -> None:
    shown = plots.oldest(told(oldest_s=[None, None]))
    assert (
        shown.picture is None and shown.summary == "Nothing is known of this time yet." and shown.ticks == []
    )


def test_marks_stand_at_their_time_and_the_last_of_many_are_named() -> None:
    shown = plots.oldest(told(oldest_s=[0, 90], points=10, marks=[mark(0), mark(5)]))
    assert str(shown.picture).count('class="mark"') == 2 and 'x1="300.0"' in str(shown.picture)
    assert shown.ticks == [f"2{THIN}m", f"1{THIN}m", f"0{THIN}s"], "an axis of times"
    many = plots.oldest(told(oldest_s=[1], marks=[mark(n, f"m{n}") for n in range(30)]))
    assert [one["text"] for one in many.marks] == [f"m{n}" for n in range(18, 30)]


def test_how_long_jobs_run_is_a_mean_of_seconds_and_two_shares_of_minutes() -> None:
    seconds = plots.times(told(run_s=[4.0, 0, None], ran=[2, 0, None]))
    assert seconds.legend == [("running", "mean")] and f"2.0{THIN}s at most" in seconds.summary
    minutes = plots.times(told(60, run_p50=[1], run_p95=[5]))
    assert [name for _, name in minutes.legend] == ["half take less", "95 of 100"]


def test_waiting_and_running_share_an_axis() -> None:
    assert plots.load(told(waiting=[1_500], running=[2])).ticks[0] == f"2{THIN}000"


def test_a_beginning_is_told_to_the_minute() -> None:
    at = datetime.fromisoformat(plots.since(3_600)["since"])
    assert (at.second, at.microsecond) == (0, 0)
    assert timedelta(hours=1) <= datetime.now(UTC) - at < timedelta(minutes=61)


def row(name: str, **more: Any) -> dict[str, Any]:
    known = {"service": name, "waiting": 0, "running": 0, "failed": 0, "workers": 1, "paused": False}
    return {**known, **more}


def test_services_that_need_a_look_come_first() -> None:
    rows = [
        row("idle"),
        row("failed", failed=3),
        row("runs", running=2),
        row("waits", waiting=9),
        row("paused", waiting=1, paused=True),
        row("nobody", waiting=2, workers=0),
    ]
    order = [one["service"] for one in sorted(rows, key=urgency)]
    assert order == ["nobody", "paused", "waits", "runs", "failed", "idle"]


def test_causes_for_which_nothing_is_failed_any_more_are_left_out() -> None:
    causes = [{"count": 0, "trend": [1]}, {"count": 2, "trend": [0, 2]}]
    assert causes_shown(None) == [] and [one["count"] for one in causes_shown({"causes": causes})] == [2]
