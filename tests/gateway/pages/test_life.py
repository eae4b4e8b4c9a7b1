"""A job's life out of its events: waits, attempts, backoffs, one after the other."""

from __future__ import annotations

from typing import Any

from zmws.gateway.pages.life import STEPS_MAX, picture, steps_of


def at(second: float) -> str:
    return f"2026-01-31T12:00:{second:06.3f}Z"


def state(n: int, second: float, name: str, attempt: int = 0) -> dict[str, Any]:
    return {"n": n, "at": at(second), "kind": "state", "state": name, "attempt": attempt}


def record(**more: Any) -> dict[str, Any]:
    return {"attempts": [], "ended_at": None, **more}


def told(record: dict[str, Any], events: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(one.colour, one.text, round(one.seconds, 3)) for one in steps_of(record, events)]


def test_a_job_that_failed_once_and_then_was_complete() -> None:
    events = [
        state(1, 0, "waiting"),
        state(2, 4.1, "running", 1),
        {"n": 3, "at": at(5), "kind": "progress", "done": 0.5, "text": ""},
        state(4, 6.1, "scheduled", 1),
        state(5, 10.3, "waiting", 1),
        state(6, 11.8, "running", 2),
        state(7, 20, "complete", 2),
    ]
    attempts = [{"attempt": 1, "error": {"code": "job_failed"}}, {"attempt": 2}]
    assert told(record(attempts=attempts, ended_at=at(20)), events) == [
        ("waiting", "waited", 4.1),
        ("failed", "attempt 1 failed", 2.0),
        ("scheduled", "backoff", 4.2),
        ("waiting", "waited", 1.5),
        ("complete", "attempt 2", 8.2),
    ]


def test_what_goes_on_has_no_end_and_counts_up_to_now() -> None:
    (*_, last) = steps_of(
        record(), [state(1, 0, "scheduled"), state(2, 1, "waiting"), state(3, 2, "running", 1)]
    )
    assert last.colour == "running" and last.ends is None and last.seconds > 1_000
    first = steps_of(record(), [state(1, 0, "scheduled"), state(2, 1, "waiting")])[0]
    assert first.text == "scheduled" and first.seconds == 1


def test_an_attempt_that_was_given_back_or_cancelled_is_no_failure() -> None:
    events = [
        state(1, 0, "running", 1),
        state(2, 1, "waiting", 1),
        state(3, 2, "running", 2),
        state(4, 3, "cancelled", 2),
    ]
    assert told(record(ended_at=at(3)), events)[0] == ("cancelled", "attempt 1, given back", 1.0)
    assert told(record(ended_at=at(3)), events)[-1] == ("cancelled", "attempt 2 cancelled", 1.0)


def test_a_wall_that_was_set_back_makes_nothing_shorter_than_nothing() -> None:
    assert told(record(), [state(1, 9, "waiting"), state(2, 3, "running", 1)])[0][2] == 0


def test_of_a_very_long_life_the_last_is_shown() -> None:
    events = [state(n, n % 60, "waiting" if n % 2 else "running", n) for n in range(200)]
    assert len(steps_of(record(), events)) == STEPS_MAX
    assert picture(steps_of(record(), events)).count("<rect") == STEPS_MAX and picture([]) == ""
