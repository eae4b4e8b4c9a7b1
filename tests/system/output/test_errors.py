"""Failures under --json are for programs to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.installation import Installation, run
from zmws.testing import free_ports


@pytest.fixture
def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


def test_a_failure_under_json_is_an_error_on_standard_output(zmws: Installation, nowhere: str) -> None:
    failed = zmws.run("call", "ODD", "how=raise", "--json")
    told = failed.json()
    assert failed.code == 1 and (told["code"], told["type"]) == ("job_failed", "RuntimeError")
    assert "Traceback" in told["traceback"] and told["id"] and told["error"].startswith("it broke")

    refused = zmws.run("call", "NOPE", "--json")
    assert refused.code == 4 and refused.json()["code"] == "unknown_service"

    late = zmws.run("call", "SLEEP", "seconds:=5", "--timeout", "0.2", "--json")
    assert late.code == 124 and late.json()["code"] == "timeout" and "SLEEP" in late.json()["error"]

    waited = zmws.run("submit", "SLEEP", "seconds:=20", "--wait", "--timeout", "200ms", "--json")
    assert waited.code == 124 and waited.json()["code"] == "timeout"
    assert zmws.run("job", "cancel", waited.json()["id"], "--json").json() == {"count": 1}
    cancelled = zmws.run("job", "result", waited.json()["id"], "--json")
    assert cancelled.code == 1 and cancelled.json()["code"] == "cancelled"


@pytest.mark.parametrize(
    "verb",
    ["call ODD", "submit ODD", "submit ODD --wait", "jobs", "services", "workers", "stats", "job show x",
     "job wait x", "job result x", "job events x", "job cancel x", "job cancel x y", "job retry --all",
     "job delete --all", "pause ODD", "resume ODD", "purge ODD", "services forget ODD"],
)  # fmt: skip
def test_every_verb_says_as_json_that_there_is_no_broker(zmws: Installation, nowhere: str, verb: str) -> None:
    ended = zmws.run(*verb.split(), "--broker", nowhere, "--json")
    assert ended.code == 3 and nowhere in ended.err and len(ended.err.splitlines()) == 1
    told = ended.json()
    assert told["code"] == "no_broker" and nowhere in told["error"] and told["maybe_accepted"] is False


@pytest.mark.parametrize("verb", ["show", "wait", "result", "events", "cancel", "retry", "delete"])
def test_what_is_said_of_no_job_is_an_error_too(zmws: Installation, verb: str) -> None:
    ended = zmws.run("job", verb, "nosuch", "--json")
    assert ended.code == 4 and ended.json()["code"] == "unknown_job"


def test_of_many_jobs_those_that_were_refused_are_named(zmws: Installation) -> None:
    job = zmws.run("submit", "NOBODY").out.strip()
    ended = zmws.run("job", "cancel", job, "nosuch", "--json")
    assert ended.code == 4 and ended.json()["count"] == 1
    assert [(one["id"], one["code"]) for one in ended.json()["refused"]] == [("nosuch", "unknown_job")]


def test_settings_and_stores_that_cannot_be_used_are_errors_too(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "zmws.toml").write_text('[broker]\nclinet = "x"\n')
    wrong = run("config", "check", "--json", cwd=tmp_path)
    assert wrong.code == 2 and wrong.json()["code"] == "bad_settings" and "clinet" in wrong.json()["error"]
    (tmp_path / "etc" / "zmws.toml").write_text("")
    missing = run("check", "--json", cwd=tmp_path)
    assert missing.code == 1 and missing.json()["code"] == "store_failed"
