"""`zmws call`, and what is wrong on a command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import pytest

from tests.peers import wait_until
from tests.system.installation import ZMWS, Installation, environment


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


@pytest.mark.timed
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
    wait_until(lambda: not _running(zmws, "SLEEP"), what="the jobs of other tests to end")
    process = zmws.popen("call", "SLEEP", "seconds:=30", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: _running(zmws, "SLEEP"), what="the job to run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err.strip()) == (130, b"", b"zmws: interrupted")
    wait_until(lambda: not _running(zmws, "SLEEP"), what="the job to be cancelled")


def _running(zmws: Installation, service: str) -> int:
    rows = {row["service"]: row for row in zmws.run("services", "--json").json()}
    return int(rows[service]["running"])
