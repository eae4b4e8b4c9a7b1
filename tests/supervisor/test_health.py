"""Who is killed although its process runs, and who is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from zmws.supervisor.health import Health

NOW = 1_800_000_000.0
STATS = {"limits": {"cancel_grace_s": 5.0}}


def row(heard_s_ago: float, *states: str) -> dict[str, Any]:
    heard = datetime.fromtimestamp(NOW - heard_s_ago, UTC).isoformat().replace("+00:00", "Z")
    return {"heard_at": heard, "jobs": [{"state": state} for state in states]}


def test_a_broker_is_killed_when_it_has_not_answered_for_so_long_and_each_answer_begins_anew() -> None:
    health = Health(silence_max_s=30, unknown_max_s=60)
    assert [health.of_broker(False, 10) for _ in range(2)] == [None, None]
    assert health.of_broker(True, 0.1) is None
    assert [health.of_broker(False, 10) for _ in range(2)] == [None, None]
    assert health.of_broker(False, 10) == "it has not answered for 30 s"
    assert health.of_broker(False, 10) is None, "the next one has its own time"
    never = Health(silence_max_s=0, unknown_max_s=60)
    assert never.of_broker(False, 1e9) is None


def test_a_worker_is_killed_whose_job_is_over_and_that_has_said_nothing_for_twice_the_grace() -> None:
    health = Health(30, 60)
    rows = {
        "busy": row(100, "running"),
        "ahead": row(100, "ahead"),
        "hung": row(9.9, "running", "hung"),
        "gone": row(10.0, "running", "hung"),
        "idle": row(100),
    }
    wrong = health.of_workers(rows, rows, STATS, NOW, 2.0)
    assert wrong == {"gone": "its job is over and does not end, and it has said nothing for 10 s"}


def test_a_worker_is_killed_that_the_broker_has_not_known_for_so_long() -> None:
    health = Health(30, 60)
    for _ in range(5):
        assert health.of_workers(["a", "b"], {}, STATS, NOW, 10.0) == {}
    assert health.of_workers(["a", "b"], {"b": row(0)}, STATS, NOW, 10.0) == {
        "a": "the broker has not known it for 60 s"
    }
    for _ in range(5):
        assert health.of_workers(["b"], {}, STATS, NOW, 10.0) == {}, "it was known meanwhile"
    assert "b" in health.of_workers(["b"], {}, STATS, NOW, 10.0)
    assert health.of_workers(["a"], {}, STATS, NOW, 10.0) == {}, "who has gone is forgotten"
