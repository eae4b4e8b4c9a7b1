"""`zmws limit`, `peek`, `job copy` and `events`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.peers import wait_until
from tests.system.installation import Installation


@pytest.fixture
def paused(zmws: Installation) -> Iterator[str]:
    """A service whose jobs wait."""
    assert zmws.run("pause", "WORDCOUNT").code == 0
    yield "WORDCOUNT"
    zmws.run("purge", "WORDCOUNT", "--yes")
    zmws.run("resume", "WORDCOUNT")


def test_limits_are_set_shown_and_taken_back(zmws: Installation) -> None:
    shown = zmws.run("limit", "LOG")
    assert shown.code == 0 and shown.out.split()[:3] == ["LIMIT", "VALUE", "FROM"]
    told = zmws.run("limit", "LOG", "--max-running", "3", "--rate", "2.5", "--json").json()
    assert told["options"]["max_running"] == {"value": 3, "from": "operator"}
    assert told["options"]["rate"] == {"value": 2.5, "from": "operator"}
    assert "operator" in zmws.run("limit", "LOG").out
    told = zmws.run("limit", "LOG", "--max-running", "default", "--rate", "default", "--json").json()
    assert told["options"]["max_running"]["from"] == told["options"]["rate"]["from"] == "default"


@pytest.mark.parametrize("value", ["0", "x", "-1", "1.5", ""])
def test_a_limit_that_cannot_be_is_refused_with_what_it_must_be(zmws: Installation, value: str) -> None:
    refused = zmws.run("limit", "LOG", "--max-running", value)
    assert refused.code == 2 and "a whole number from 1" in refused.err and "default" in refused.err


def test_a_limit_of_what_there_is_not_is_refused(zmws: Installation) -> None:
    assert zmws.run("limit", "NOPE", "--rate", "1").code == 4


def test_what_comes_next_is_listed_and_stays(zmws: Installation, paused: str) -> None:
    ids = [zmws.run("submit", paused, "path=x", "--priority", str(n)).out.strip() for n in range(3)]
    for _ in range(2):
        told = zmws.run("peek", paused, "--json").json()["jobs"]
        assert [job["id"] for job in told] == ids[::-1]
    shown = zmws.run("peek", paused, "--limit", "1")
    assert ids[2] in shown.out and ids[0] not in shown.out
    assert zmws.run("peek", "NOPE").code == 4


def test_a_job_is_run_again_with_changes(zmws: Installation, paused: str) -> None:
    first = zmws.run("submit", paused, "path=x", "--priority", "5", "--meta", '{"a": 1}').out.strip()
    same = zmws.run("job", "copy", first)
    assert same.code == 0 and same.out.strip() != first
    record = zmws.run("job", "show", same.out.strip(), "--json").json()
    assert (record["params"], record["priority"], record["meta"]) == ({"path": "x"}, 5, {"a": 1})
    told = zmws.run(
        "job", "copy", first, "path=y", "--id", "copied", "--service", "LOG", "--delay", "1h", "--json"
    ).json()
    assert told == {"id": "copied", "existing": False, "durability": "disk"}
    record = zmws.run("job", "show", "copied", "--json").json()
    assert (record["service"], record["params"], record["state"]) == ("LOG", {"path": "y"}, "scheduled")
    zmws.run("job", "cancel", "copied")
    assert zmws.run("job", "copy", "gone").code == 4
    assert zmws.run("job", "copy", first, "--meta", "[]").code == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_events_are_told_as_they_happen_until_ctrl_c(zmws: Installation, as_json: bool) -> None:
    words = ["events", "--service", "STR-REV", *(["--json"] if as_json else [])]
    watching = zmws.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None and watching.stderr is not None
    assert watching.stderr.readline() == b"watching; Ctrl-C ends\n"
    seen: list[bytes] = []

    def told() -> bool:
        # The subscription takes a moment to reach the broker.
        zmws.run("call", "SLEEP", "seconds:=0")
        zmws.run("submit", "STR-REV", "str=a", "--wait")
        seen.append(watching.stdout.readline() if watching.stdout else b"")
        return bool(seen[-1])

    wait_until(told, what="news")
    if as_json:
        item = json.loads(seen[-1])
        assert item["topic"] == f"STR-REV.{item['state']}" and item["service"] == "STR-REV"
    else:
        assert b"  STR-REV  " in seen[-1] and b"SLEEP" not in seen[-1]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130
    watching.stdout.close()
    watching.stderr.close()


def test_without_a_broker_events_say_so(zmws: Installation, nowhere: str) -> None:
    assert zmws.run("events", "--broker", nowhere).code == 3
