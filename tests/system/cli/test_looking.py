"""Verbs that look on: job, jobs, status, logs, config check, help."""

from __future__ import annotations

import re
import select
import signal
import subprocess
from pathlib import Path

from tests.peers import wait_until
from tests.system.installation import Installation, run


def test_job_show_tells_the_record(zmws: Installation) -> None:
    assert zmws.run("submit", "SHAKY", "how=log", "--id", "shown", "--wait").code == 0
    record = zmws.run("job", "show", "shown", "--json").json()
    assert record["state"] == "complete" and record["result"] == {"how": "log"}
    assert record["log"] == ["a line"] and record["progress"] == 0.5
    text = zmws.run("job", "show", "shown").out
    assert "state: complete" in text and "\n  a line\n" in text and "\x1b" not in text


def test_job_wait_ends_with_1_for_a_job_that_did_not_complete(zmws: Installation) -> None:
    assert zmws.run("submit", "SHAKY", "how=raise", "--retries", "0", "--id", "broken").code == 0
    ended = zmws.run("job", "wait", "broken", "--json")
    assert ended.code == 1 and ended.json()["error"]["type"] == "RuntimeError"
    assert "job retry broken" in zmws.run("job", "show", "broken").err
    assert zmws.run("job", "result", "broken").code == 1
    assert zmws.run("job", "retry", "broken", "--json").json() == {"count": 1}
    assert zmws.run("job", "wait", "broken").code == 1
    assert zmws.run("job", "delete", "broken").out == "deleted: broken\n"
    gone = zmws.run("job", "show", "broken")
    assert gone.code == 4 and "unknown_job" in gone.err


def test_job_cancel_ends_a_running_job_and_a_second_one_is_refused(zmws: Installation) -> None:
    job_id = zmws.run("submit", "SLEEP", "seconds:=60").out.strip()
    unfinished = zmws.run("job", "result", job_id)
    assert unfinished.code == 4 and "--wait" in unfinished.err
    late = zmws.run("job", "wait", job_id, "--timeout", "0.2")
    assert late.code == 124
    assert zmws.run("job", "cancel", job_id).out == f"cancelled: {job_id}\n"
    assert zmws.run("job", "wait", job_id, "--json").json()["state"] == "cancelled"
    assert zmws.run("job", "cancel", job_id).code == 4


def test_jobs_services_and_workers_are_tables_or_json(zmws: Installation) -> None:
    assert zmws.run("submit", "STR-REV", "str=x", "--id", "listed", "--wait").code == 0
    assert zmws.run("submit", "STR-REV", "str=y", "--wait").code == 0
    listed = zmws.run("jobs", "--service", "STR-REV", "--limit", "1")
    assert listed.out.splitlines()[0].split() == ["ID", "SERVICE", "STATE", "ATTEMPT", "AGE", "NOTE"]
    assert len(listed.out.splitlines()) == 2 and "--limit shows more" in listed.err
    page = zmws.run("jobs", "--service", "STR-REV", "--state", "complete", "--json").json()
    assert any(job["id"] == "listed" for job in page["jobs"])
    assert zmws.run("jobs", "--state", "nope").code == 2
    rows = {row["service"]: row for row in zmws.run("services", "--json").json()}
    assert rows["STR-REV"]["workers"] == 2
    assert any(line.split()[0] == "STR-REV" for line in zmws.run("services").out.splitlines())
    pids = {row["pid"] for row in zmws.run("workers", "--json").json()}
    assert pids == {pid for name, pid in zmws.pids().items() if name != "broker"}
    assert len(zmws.run("workers").out.splitlines()) == 1 + len(pids)


def test_what_a_worker_wrote_cannot_move_the_terminal(zmws: Installation) -> None:
    assert zmws.run("submit", "SHAKY", "how=log", "--wait").code == 0
    assert "\x1b" not in zmws.run("jobs", "--service", "SHAKY").out


def test_status_tells_what_runs(zmws: Installation) -> None:
    ended = zmws.run("status")
    assert ended.code == 0 and "reverse_01" in ended.out and zmws.client in ended.out
    assert "kept in: disk" in ended.out
    told = zmws.run("status", "--json").json()
    assert {row["name"]: row["pid"] for row in told["processes"]} == zmws.pids()
    assert told["broker"]["workers"] == len(zmws.pids()) - 1 and told["error"] is None


def test_logs_are_shown_and_followed(zmws: Installation) -> None:
    assert "is ready" in zmws.run("logs", "broker", "-n", "1000").out
    both = zmws.run("logs", "reverse").out
    assert "==> reverse_00 <==" in both and "==> reverse_01 <==" in both
    assert len(zmws.run("logs", "reverse_00", "-n", "1").out.splitlines()) == 1
    unknown = zmws.run("logs", "nope")
    assert unknown.code == 2 and "there are broker, " in unknown.err
    process = zmws.popen("logs", "logger", "-f", "-n", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    log = zmws.root / "logs" / "logger.txt"

    def written() -> bool:
        with log.open("a") as file:
            file.write("a new line\n")
        assert process.stdout is not None
        return bool(select.select([process.stdout], [], [], 0.2)[0])

    wait_until(written, what="the new line")
    assert process.stdout.readline() == b"a new line\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")


def test_config_check_tells_what_the_file_comes_to(zmws: Installation) -> None:
    ended = zmws.run("config", "check")
    assert ended.code == 0 and ended.out.startswith("ok: ") and "worker reverse:" in ended.out
    told = zmws.run("config", "check", "--json").json()
    assert told["broker"]["client"] == zmws.client and told["broker"]["heartbeat_interval"] == 5.0


def test_config_check_tells_every_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "zmws.toml").write_text('[broker]\nclinet = "x"\n\n[[workers]]\nfile = "no.py"\n')
    ended = run("config", "check", cwd=tmp_path)
    assert ended.code == 2
    assert "etc/zmws.toml:2: 'clinet'" in ended.err and "etc/zmws.toml:5:" in ended.err
    assert "did you mean 'client'" in ended.err
    assert run("start", cwd=tmp_path).code == 2


def test_every_verb_has_help_and_the_list_is_complete(zmws: Installation) -> None:
    listed = zmws.run("--help")
    verbs = re.findall(r"^  (\w+) ", listed.out, re.MULTILINE)
    assert {"start", "stop", "call", "submit", "job", "jobs", "config"} <= set(verbs)
    from zmws.cli import cli

    for verb in cli.list_commands(None):  # type: ignore[arg-type]
        command = cli.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None and command.help and verb in verbs
    assert "--priority" in zmws.run("submit", "-h").out
    assert zmws.run("--version").out.startswith("zmws, version ")
