"""Tables on narrow terminals, `jobs` and `job show`."""

from __future__ import annotations

import re

from tests.system.installation import Installation
from tests.system.terminal import terminal

# ---------------------------------------------------------------- narrow terminals


def test_no_table_loses_a_column_at_80(zmws: Installation) -> None:
    zmws.run("submit", "ODD", "how=raise", "--retries", "0", "--id", "broken-" + "x" * 30, "--wait")
    for verb, heads in (
        (
            "services",
            ["SERVICE", "WAITING", "SCHEDULED", "RUNNING", "FAILED", "COMPLETE", "IDLE", "OLDEST", "PAUSED"],
        ),
        ("workers", ["SERVICE", "STATE", "HOST", "PID", "DONE", "FAILED", "SINCE", "HEARD", "JOBS"]),
        ("jobs", ["ID", "SERVICE", "STATE", "ATTEMPT", "AGE", "NOTE"]),
        ("stats", ["BROKER", "COUNTED"]),
    ):
        shown = terminal(zmws, verb)
        assert all(len(re.sub(r"\x1b\[\d+m", "", line)) <= 80 for line in shown.splitlines()), shown
        assert all(head in shown.split() for head in heads), shown
    assert "broken-" + "x" * 30 in terminal(zmws, "jobs")
    wide = terminal(zmws, "services", columns=200)
    assert "CALLS FAILED" in wide.splitlines()[0] and len(wide.splitlines()) == 1 + 4


def test_what_goes_into_a_file_is_one_line_a_row_and_whole(zmws: Installation) -> None:
    zmws.run("submit", "ODD", "how=raise", "--retries", "0", "--wait")
    shown = zmws.run("jobs", "--state", "failed", "--limit", "1", COLUMNS="40").out.splitlines()
    assert len(shown) == 2 and "job_failed: RuntimeError: it broke" in shown[1] and shown[1].endswith("xxx")


# ---------------------------------------------------------------- jobs and job show


def test_jobs_say_why_they_failed_and_when_they_start(zmws: Installation) -> None:
    zmws.run("submit", "ODD", "how=raise", "--retries", "0", "--id", "why", "--wait")
    zmws.run("submit", "ODD", "--delay", "1h", "--id", "later")
    page = {job["id"]: job for job in zmws.run("jobs", "--json").json()["jobs"]}
    assert (
        set(page["why"]["error"]) == {"code", "error", "type"} and len(page["why"]["error"]["error"]) == 200
    )
    assert page["later"]["error"] is None
    rows = {line.split()[0]: line for line in zmws.run("jobs").out.splitlines()}
    assert "job_failed: RuntimeError: it broke" in rows["why"]
    assert rows["later"].endswith(("starts in 1 h", "starts in 60 min"))
    shown = terminal(zmws, "jobs")
    assert "job_failed: RuntimeError: it broke" in shown and "…" in shown


def test_job_show_prints_a_traceback_once_per_attempt_line_by_line(zmws: Installation) -> None:
    zmws.run("submit", "ODD", "how=raise", "--retries", "1", "--backoff", "0", "--id", "traced", "--wait")
    shown = zmws.run("job", "show", "traced").out
    assert shown.count("Traceback (most recent call last):\n") == 2  # two attempts
    assert shown.count("    raise RuntimeError(") == 2 and "\\n" not in shown
    assert "\nerror: job_failed: RuntimeError: it broke" in shown
    assert "\n  1: " in shown and "\n  2: " in shown


def test_log_lines_keep_their_lines_and_move_no_cursor(zmws: Installation) -> None:
    job = zmws.run("submit", "ODD", "how=lines").out.strip()
    zmws.run("job", "wait", job)
    assert "log:\n  first\n  second [2J\n" in terminal(zmws, "job", "show", job)
