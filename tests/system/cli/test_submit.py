"""`zmws submit`, `--wait` and `--each`."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.terminal import terminal


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
    shown = terminal(zmws, "submit", "STR-REV", "--each", "few.txt", "--as", "str", "--wait", columns=120)
    assert "cba" in shown and "fed" in shown and "jobs done" in shown and "2/2" in shown
