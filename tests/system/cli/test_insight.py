"""`zmws failures`, `series`, `lanes`, `mark`, `job why`, `jobs --grep`, and the warnings of `zmws status`."""

from __future__ import annotations

import re

import pytest

from tests.peers import wait_until
from tests.system.installation import Installation


@pytest.fixture(scope="module")
def failed(zmws: Installation) -> list[str]:
    """Three jobs that have failed for one cause, with other words each."""
    ids = []
    for n in range(3):
        ran = zmws.run("submit", "STR-REV", f"str:={n}", "--retries", "0")
        ids.append(ran.out.strip())
        assert zmws.run("job", "wait", ids[-1]).code == 1
    return ids


def key_of(zmws: Installation) -> str:
    (cause,) = zmws.run("failures", "--service", "STR-REV", "--json").json()["causes"]
    return str(cause["cause"])


def test_what_failed_for_one_cause_stands_together(zmws: Installation, failed: list[str]) -> None:
    shown = zmws.run("failures", "--service", "STR-REV")
    first, second, third = shown.out.splitlines()[:3]
    assert re.fullmatch(r"[0-9a-f]{12}  STR-REV: 3 jobs, last \S+ (s|min) ago", first)
    assert second.strip().startswith("ValueError: ") and "reverse.py:" in third
    listed = zmws.run("jobs", "--cause", key_of(zmws), "--json").json()["jobs"]
    assert {job["id"] for job in listed} == set(failed)
    nothing = zmws.run("failures", "--service", "LOG")
    assert nothing.code == 0 and nothing.out == "" and "no job is failed of LOG" in nothing.err
    assert zmws.run("failures", "--service", "NOPE").code == 4


def test_all_of_one_cause_are_retried_and_deleted_and_counted(zmws: Installation, failed: list[str]) -> None:
    key = key_of(zmws)
    assert zmws.run("job", "retry", "--cause", key).out == "waits again: 3 jobs\n"
    for job_id in failed:
        zmws.run("job", "wait", job_id)
    shown = zmws.run("failures", "--service", "STR-REV").out
    assert "3 jobs, 6 ever" in shown
    assert zmws.run("job", "delete", "--cause", key).out == "deleted: 3 jobs\n"
    assert zmws.run("failures", "--service", "STR-REV").out == ""
    assert key in zmws.run("failures", "--service", "STR-REV", "--all").out
    assert zmws.run("job", "retry", "--cause", "no-such").out == "waits again: 0 jobs\n"


def test_why_a_job_waits_is_told_in_words_and_for_programs(zmws: Installation) -> None:
    assert zmws.run("pause", "WORDCOUNT").code == 0
    job_id = zmws.run("submit", "WORDCOUNT", "path=x").out.strip()
    shown = zmws.run("job", "why", job_id)
    assert "it waits now: WORDCOUNT is paused" in shown.out and "resume WORDCOUNT" in shown.out
    assert "it is the next" in shown.out and "the service was paused" in shown.out
    told = zmws.run("job", "why", job_id, "--json").json()
    assert told["now"]["reason"] == "paused"
    warned = zmws.run("status")
    assert "WORDCOUNT is paused, and one job waits" in warned.err and "resume WORDCOUNT" in warned.err
    (warning,) = zmws.run("status", "--json").json()["warnings"]
    assert warning["code"] == "paused"
    later = zmws.run("submit", "WORDCOUNT", "path=x", "--delay", "2h").out.strip()
    assert "scheduled for" in zmws.run("job", "why", later).out
    zmws.run("purge", "WORDCOUNT", "--yes")
    zmws.run("resume", "WORDCOUNT")
    assert zmws.run("job", "why", "gone").code == 4


def test_a_job_is_found_by_what_stands_in_it(zmws: Installation) -> None:
    job_id = zmws.run("submit", "STR-REV", "str=Grüße an alle", "--wait").out and newest(zmws)
    for text in ("Grüße an", "ella na", job_id[:30]):
        ran = zmws.run("jobs", "--grep", text)
        assert job_id in ran.out and "that is all" in ran.err, text
    told = zmws.run("jobs", "--grep", "nowhere at all", "--json").json()
    assert told["jobs"] == [] and told["looked"] > 0 and told["next"] is None
    page = zmws.run("jobs", "--limit", "1", "--json").json()
    rest = zmws.run("jobs", "--limit", "1", "--cursor", page["next"], "--json").json()
    assert rest["jobs"][0]["id"] != page["jobs"][0]["id"]
    assert zmws.run("jobs", "--grep", "x" * 256).code in (2, 4)


def newest(zmws: Installation) -> str:
    return str(zmws.run("jobs", "--limit", "1", "--json").json()["jobs"][0]["id"])


def test_what_was_done_is_plotted_with_its_marks(zmws: Installation) -> None:
    assert zmws.run("mark", "deploy 7").out == "marked: deploy 7\n"
    assert zmws.run("mark", "x", "--service", "NOPE").code == 4
    assert zmws.run("submit", "STR-REV", "str=ab", "--wait").code == 0

    def plotted() -> bool:
        shown = zmws.run("series", "STR-REV").out
        return bool(re.search(r"^complete .*[▂-█].* at most$", shown, re.MULTILINE))

    wait_until(plotted)
    shown = zmws.run("series")
    assert "deploy 7" in shown.out and "the broker started" in shown.out and "jobs run" not in shown.err
    told = zmws.run("series", "STR-REV", "--step", "minute", "--json").json()
    assert told["step"] == 60 and len(told["figures"]["complete"]) == told["points"]
    refused = zmws.run("series", "--step", "second", "--since", "2h")
    assert refused.code == 4 and "ask for longer steps" in refused.err
    assert "usually" in zmws.run("services", "show", "STR-REV").out
    assert "A SECOND, IN THE LAST MINUTE" in zmws.run("stats").out


def test_what_each_worker_did_is_drawn(zmws: Installation) -> None:
    assert zmws.run("submit", "STR-REV", "str=ab", "--wait").code == 0
    shown = zmws.run("lanes", "--service", "STR-REV")
    assert shown.code == 0 and re.search(r"^STR-REV \S+ .*[█#].* (idle|busy)$", shown.out, re.MULTILINE)
    assert "up to now; " in shown.out
    told = zmws.run("lanes", "--json").json()
    assert {"STR-REV", "LOG"} <= {name for lane in told["lanes"] for name in lane["services"]}
    worker = told["lanes"][0]["worker"]
    one = zmws.run("lanes", "--worker", worker, "--json").json()["lanes"]
    assert [lane["worker"] for lane in one] == [worker]
    assert zmws.run("lanes", "--worker", "none").code == 4
    assert zmws.run("lanes", "--service", "NOPE").code == 4
