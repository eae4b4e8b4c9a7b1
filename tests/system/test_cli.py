"""The command line over real processes: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    SAMPLES,
    ZMWS,
    Installation,
    environment,
    free_ports,
    installation,
    run,
    worker_table,
)

SHAKY = """
import os
import signal
from zmws import WorkerBase

class Shaky(WorkerBase):
    service_name = "SHAKY"

    def work(self, job_id, params):
        how = params.get("how")
        if how == "raise":
            raise RuntimeError("it broke")
        if how == "false":
            return False
        if how == "bytes":
            return bytes([0, 255, 10])
        if how == "true":
            return True
        if how == "none":
            return None
        self.job.log("a line")
        self.job.progress(0.5, "half\\x1b[31m")
        return {"how": how}
"""


@pytest.fixture(scope="module")
def zmws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One running installation for all tests here."""
    root = tmp_path_factory.mktemp("installation")
    (root / "shaky.py").write_text(SHAKY)
    with installation(root, SAMPLES + worker_table("shaky", "shaky.py")) as made:
        started = made.run("start")
        assert started.code == 0, started.err
        yield made
        assert made.run("stop").code == 0


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    """An address at which nothing answers."""
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


# ---------------------------------------------------------------- call


def test_call_prints_the_result_and_nothing_else(zmws: Installation) -> None:
    ended = zmws.run("call", "STR-REV", "str=Hello, world")
    assert (ended.code, ended.out, ended.err) == (0, "dlrow ,olleH\n", "")


def test_call_prints_json_for_programs(zmws: Installation) -> None:
    assert zmws.run("call", "STR-REV", "str=äö", "--json").json() == "öä"
    assert zmws.run("call", "SHAKY", "how=dict", "--json").json() == {"how": "dict"}
    assert zmws.run("call", "SHAKY", "how=true", "--json").out == "true\n"
    assert zmws.run("call", "SHAKY", "how=bytes", "--json").json() == {"base64": "AP8K"}


def test_call_prints_nothing_for_a_job_without_a_result_and_bytes_as_they_are(zmws: Installation) -> None:
    assert zmws.run("call", "SHAKY", "how=none").out == ""
    assert zmws.run("call", "SHAKY", "how=none", "--json").out == "null\n"
    assert zmws.run("call", "SHAKY", "how=true").out == "true\n"
    assert zmws.run("submit", "SHAKY", "how=none", "--wait").out == ""
    assert zmws.run("submit", "SHAKY", "how=true", "--wait").out == "true\n"
    command = [*zmws.popen("call", "SHAKY", "how=bytes", stdout=subprocess.PIPE).communicate(timeout=30)]
    assert command[0] == b"\x00\xff\n"


def test_params_come_as_text_json_file_or_standard_input(zmws: Installation) -> None:
    assert zmws.run("call", "SHAKY", 'how:={"a": [1, null]}').json() == {"how": {"a": [1, None]}}
    assert zmws.run("call", "SHAKY", "how=a=b").json() == {"how": "a=b"}
    (zmws.root / "order.json").write_text('{"str": "file"}')
    assert zmws.run("call", "STR-REV", "@order.json").out == "elif\n"
    assert zmws.run("call", "STR-REV", "-", stdin='{"str": "stdin"}').out == "nidts\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["str"], "'str' is neither key=text, key:=json, @FILE nor -"),
        (["=x"], "neither"),
        (["str:=x"], "the value of 'str' is not JSON"),
        (["@missing.json"], "cannot read missing.json: No such file"),
        (["-"], "standard input is not JSON"),
        (["str=a", "--timeout", "0"], "--timeout"),
        (["str=a", "--priority", "3000"], "option 'priority' is 3000, but must be a whole number"),
        (["str=a", "--prioritty", "3"], "Did you mean '--priority'?"),
        (["str=a", "--id", "a b"], "option 'id'"),
        (
            ["str=a", "--broker", "localhost"],
            "'localhost' is no endpoint to connect to; write tcp://HOST:PORT",
        ),
        (["str=a", "-c", "nowhere.toml"], "nowhere.toml: there is no such file"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_and_ends_with_2(
    zmws: Installation, words: list[str], told: str
) -> None:
    ended = zmws.run("call", "STR-REV", *words, stdin="{")
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err and "Traceback" not in ended.err


def test_an_unknown_verb_names_the_nearest(zmws: Installation) -> None:
    ended = zmws.run("cal", "STR-REV")
    assert ended.code == 2 and "'cal' is no command; did you mean 'call'?" in ended.err
    assert zmws.run("job", "sho", "x").code == 2


def test_partial_results_come_as_they_are_made(zmws: Installation) -> None:
    ended = zmws.run("call", "RANDSTREAM")
    lines = ended.out.splitlines()
    assert ended.code == 0 and len(lines) == 100 and all(re.fullmatch("[A-Za-z]{16}", line) for line in lines)
    shown = [json.loads(line) for line in zmws.run("call", "RANDSTREAM", "--json").out.splitlines()]
    assert len(shown) == 101 and shown[-1] is None


def test_a_failed_job_ends_with_1_and_its_reason(zmws: Installation) -> None:
    ended = zmws.run("call", "SHAKY", "how=raise")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "zmws: the job failed: RuntimeError: it broke\n"
    assert zmws.run("call", "SHAKY", "how=false").err == "zmws: the job failed: work() returned False\n"


def test_a_refused_request_ends_with_4_and_its_code(zmws: Installation) -> None:
    ended = zmws.run("call", "STR-REW", "str=x")
    assert (ended.code, ended.out) == (4, "")
    assert "refused (unknown_service)" in ended.err and "STR-REW" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_call_past_its_timeout_ends_with_124(zmws: Installation) -> None:
    ended = zmws.run("call", "SLEEP", "seconds:=3", "--timeout", "0.3")
    assert (ended.code, ended.err) == (124, "zmws: no answer of SLEEP within 0.3 s\n")


def test_no_broker_is_one_line_with_the_address_within_two_seconds(zmws: Installation, nowhere: str) -> None:
    took_s = []
    for verb in (["call", "STR-REV", "str=x"], ["submit", "STR-REV"], ["jobs"], ["job", "show", "x"]):
        began = time.monotonic()
        ended = zmws.run(*verb, "--broker", nowhere)
        took_s.append(time.monotonic() - began)
        assert (ended.code, ended.out) == (3, "")
        assert nowhere in ended.err and "start'" in ended.err and len(ended.err.splitlines()) == 1
    assert min(took_s) < 2.0 + 0.5, took_s  # whatever else keeps the machine busy


def test_a_broken_pipe_ends_quietly(zmws: Installation) -> None:
    for verb in ("call RANDSTREAM", "submit STR-REV --each etc/zmws.toml --as str"):
        command = f"{' '.join(ZMWS)} {verb} | head -1"
        ended = subprocess.run(
            ["bash", "-c", command], cwd=zmws.root, env=environment(), capture_output=True, timeout=30
        )
        assert len(ended.stdout.splitlines()) == 1
        assert b"Traceback" not in ended.stderr and b"Exception" not in ended.stderr


def test_ctrl_c_in_a_call_is_one_line_and_130_and_cancels_the_job(zmws: Installation) -> None:
    process = zmws.popen("call", "SLEEP", "seconds:=30", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: _running(zmws, "SLEEP"), what="the job to run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err.strip()) == (130, b"", b"zmws: interrupted")
    wait_until(lambda: not _running(zmws, "SLEEP"), what="the job to be cancelled")


def _running(zmws: Installation, service: str) -> int:
    rows = {row["service"]: row for row in zmws.run("services", "--json").json()}
    return int(rows[service]["running"])


# ---------------------------------------------------------------- submit


def test_submit_prints_the_id_and_nothing_else(zmws: Installation) -> None:
    ended = zmws.run("submit", "STR-REV", "str=abc")
    assert ended.code == 0 and ended.err == "" and re.fullmatch(r"[0-9a-f-]{36}\n", ended.out)
    assert zmws.run("job", "result", ended.out.strip(), "--wait").out == "cba\n"
    told = zmws.run("submit", "STR-REV", "str=abc", "--id", "mine", "--json").json()
    assert told == {"id": "mine", "existing": False, "durability": "disk"}
    assert zmws.run("submit", "STR-REV", "str=abc", "--id", "mine", "--json").json()["existing"] is True
    conflict = zmws.run("submit", "SLEEP", "--id", "mine")
    assert conflict.code == 4 and "id_conflict" in conflict.err


def test_submit_with_wait_prints_the_result(zmws: Installation) -> None:
    (zmws.root / "text.txt").write_text("one two\nthree\n")
    ended = zmws.run("submit", "WORDCOUNT", "path=text.txt", "--wait")
    assert ended.json() == {"lines": 2, "words": 3, "bytes": 14}
    missing = zmws.run("submit", "WORDCOUNT", "path=missing.txt", "--wait", "--retries", "0")
    assert missing.code == 1 and "there is no file 'missing.txt'" in missing.err


def test_submit_that_waits_too_long_ends_with_124_and_says_that_the_job_goes_on(zmws: Installation) -> None:
    ended = zmws.run("submit", "SLEEP", "seconds:=30", "--wait", "--timeout", "0.3")
    assert ended.code == 124 and ended.out == ""
    job_id = re.search(r"job wait (\S+)'", ended.err)
    assert job_id is not None and zmws.run("job", "cancel", job_id[1]).code == 0
    assert zmws.run("submit", "STR-REV", "--timeout", "1").code == 2


def test_ctrl_c_while_waiting_says_how_to_go_on(zmws: Installation) -> None:
    process = zmws.popen("submit", "SLEEP", "seconds:=30", "--id", "held", "--wait", stderr=subprocess.PIPE)
    wait_until(lambda: zmws.run("job", "show", "held").code == 0, what="the job to be accepted")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and b"job wait held" in err and b"Traceback" not in err
    assert zmws.run("job", "cancel", "held").code == 0


def test_each_line_is_a_job_and_results_come_in_their_order(zmws: Installation) -> None:
    lines = [f"line {n}" for n in range(300)]
    lines[7] = ""
    (zmws.root / "lines.txt").write_text("\n".join(lines))
    ended = zmws.run("submit", "STR-REV", "--each", "lines.txt", "--as", "str", "--wait")
    assert ended.code == 0, ended.err
    assert ended.out.split("\n") == [line[::-1] for line in lines] + [""]
    assert ended.err == ""  # no bar where there is no terminal


def test_each_takes_json_lines_and_standard_input(zmws: Installation) -> None:
    given = '{"str": "ab"}\n{"str": "äö"}\nnot json {\n{"str": 3}\n'
    ended = zmws.run("submit", "STR-REV", "--each", "-", "--wait", "--retries", "0", stdin=given)
    assert ended.code == 1
    assert ended.out.split("\n") == ["ba", "öä", "", "", ""]
    assert "line 3: ValueError: STR-REV needs 'str'" in ended.err and "line 4:" in ended.err
    assert ended.err.endswith("zmws: 2 of 4 lines failed\n")
    shown = zmws.run("submit", "STR-REV", "--each", "-", "--wait", "--retries", "0", "--json", stdin=given)
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert rows[:2] == ["ba", "öä"] and rows[3]["code"] == "job_failed"


def test_each_without_wait_prints_ids_in_order(zmws: Installation) -> None:
    ended = zmws.run("submit", "STR-REV", "--each", "-", "--as", "str", stdin="a\nb\nc\n")
    ids = ended.out.split()
    assert ended.code == 0 and len(ids) == 3
    results = [zmws.run("job", "result", job_id, "--wait").out for job_id in ids]
    assert results == ["a\n", "b\n", "c\n"]


def test_each_answers_before_its_input_ends(zmws: Installation) -> None:
    process = zmws.popen(
        "submit",
        "STR-REV",
        "--each",
        "-",
        "--as",
        "str",
        "--wait",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"abc\n")
    process.stdin.flush()
    assert select.select([process.stdout], [], [], 20)[0], "no answer while standard input is open"
    assert process.stdout.readline() == b"cba\n"
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_each_stops_at_what_is_wrong_with_every_line(zmws: Installation, nowhere: str) -> None:
    lines = "a\n" * 1000
    ended = zmws.run("submit", "NOPE", "--each", "-", stdin=lines)
    assert ended.code == 4 and len(ended.err.splitlines()) == 1
    ended = zmws.run("submit", "STR-REV", "--each", "-", "--broker", nowhere, stdin=lines)
    assert ended.code == 3 and len(ended.err.splitlines()) == 1
    assert zmws.run("submit", "STR-REV", "--each", "missing.txt").code == 2
    assert zmws.run("submit", "STR-REV", "--each", "etc").code == 2
    assert zmws.run("submit", "STR-REV", "a=b", "--each", "-").code == 2
    assert zmws.run("submit", "STR-REV", "--each", "-", "--id", "x").code == 2


def test_each_with_a_timeout_gives_up_a_line_and_goes_on(zmws: Installation) -> None:
    lines = '{"seconds": 20}\n{"seconds": 0}\n'
    ended = zmws.run("submit", "SLEEP", "--each", "-", "--wait", "--timeout", "1", stdin=lines)
    assert ended.code == 1 and ended.out == "\n\n"
    job = re.search(r"line 1: job (\S+) has not ended within 1 s", ended.err)
    assert job is not None and zmws.run("job", "cancel", job[1]).code == 0


def test_a_terminal_sees_a_bar_and_the_results(zmws: Installation) -> None:
    (zmws.root / "few.txt").write_text("abc\ndef\n")
    shown = _in_terminal(zmws, "submit", "STR-REV", "--each", "few.txt", "--as", "str", "--wait")
    assert "cba" in shown and "fed" in shown and "jobs done" in shown and "2/2" in shown


def _in_terminal(zmws: Installation, *args: str) -> str:
    """What a terminal of 120 columns is sent."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*ZMWS, *args], cwd=zmws.root, env=environment(TERM="xterm"), stdout=slave, stderr=slave, stdin=slave
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the last one has closed it
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(20) == 0
    return shown.decode()


# ---------------------------------------------------------------- looking on


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
    assert ended.code == 0 and "reverse-2" in ended.out and zmws.client in ended.out
    assert "kept in: disk" in ended.out
    told = zmws.run("status", "--json").json()
    assert {row["name"]: row["pid"] for row in told["processes"]} == zmws.pids()
    assert told["broker"]["workers"] == len(zmws.pids()) - 1 and told["error"] is None


def test_logs_are_shown_and_followed(zmws: Installation) -> None:
    assert "is ready" in zmws.run("logs", "broker", "-n", "1000").out
    both = zmws.run("logs", "reverse").out
    assert "==> reverse-1 <==" in both and "==> reverse-2 <==" in both
    assert len(zmws.run("logs", "reverse-1", "-n", "1").out.splitlines()) == 1
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
