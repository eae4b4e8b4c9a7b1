"""What is given on the command line: lines of --each, durations, bytes. And who waits for nobody."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import Installation, installation, worker_table

# ---------------------------------------------------------------- a line of --each that cannot be taken

NO_JSON = "begins as a JSON object and is none"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (b'{"a": 1}\n{"a": 2}\n{"a": \xff}\n{"a": 4}\n', "line 3 of standard input is not UTF-8 (byte 7)"),
        (b'{"a": 1}\n{"a": 2}\n{"a": 3\n{"a": 4}\n', f"line 3 of standard input {NO_JSON}"),
        (b'{"a": 1}\n{"a": 2}\n{"a": NaN}\n', f"line 3 of standard input {NO_JSON}"),
        (b'{"a": 1}\n{"a": 2}\n{"a": ' + b"[" * 100_000 + b"\n", "it is nested too deep"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_taken_ends_each_by_its_number(
    zmws: Installation, lines: bytes, told: str
) -> None:
    for flags in ([], ["--wait"]):
        ended = zmws.run("submit", "ODD", "--each", "-", *flags, stdin=lines)
        assert ended.code == 2 and told in ended.err, ended.err
        assert "; 2 lines before it were submitted" in ended.err
        assert len(ended.out.splitlines()) == 2
        if flags:
            assert ended.out == '{"a": 1}\n{"a": 2}\n'
    first = zmws.run("submit", "ODD", "--each", "-", stdin=lines.split(b"\n")[2])
    assert (first.code, first.out) == (2, "") and "; nothing was submitted" in first.err


def test_with_as_a_line_is_a_text_whatever_it_looks_like(zmws: Installation) -> None:
    given = b'{"a": 1}\n{broken\n'
    ended = zmws.run("submit", "ODD", "--each", "-", "--as", "t", "--wait", "--json", stdin=given)
    assert [json.loads(line) for line in ended.out.splitlines()] == [{"t": '{"a": 1}'}, {"t": "{broken"}]
    refused = zmws.run("submit", "ODD", "--each", "-", "--as", "t", stdin=b"ok\n\xff\n")
    assert refused.code == 2 and "line 2 of standard input is not UTF-8" in refused.err
    assert zmws.run("submit", "ODD", "--as", "t").code == 2


def test_a_byte_order_mark_is_no_part_of_the_first_line(zmws: Installation) -> None:
    given = b'\xef\xbb\xbf{"a": 1}\r\n\xef\xbb\xbfword\r\n'
    ended = zmws.run("submit", "ODD", "--each", "-", "--wait", "--json", stdin=given)
    assert [json.loads(line) for line in ended.out.splitlines()] == [{"a": 1}, {"line": "\ufeffword"}]
    (zmws.root / "bom.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert zmws.run("call", "ODD", "@bom.json").json() == {"a": 1}


# ---------------------------------------------------------------- waiting for nobody


def test_whoever_waits_for_a_service_without_a_worker_is_told_so_once(zmws: Installation) -> None:
    lines = '{"a": 1}\n{"a": 2}\n'
    for words in (
        ["call", "NOBODY"],
        ["submit", "NOBODY", "--wait"],
        ["submit", "NOBODY", "--each", "-", "--wait"],
    ):
        process = zmws.popen(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None and process.stderr is not None
        began = time.monotonic()
        process.stdin.write(lines.encode())
        process.stdin.close()
        told = process.stderr.readline()
        took_s = time.monotonic() - began
        process.terminate()
        rest = process.stderr.read()
        process.wait(10)
        assert told.startswith(b"zmws: NOBODY has no worker") and rest == b"", (words, told, rest)
        assert took_s > 1.5
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    paused = zmws.run("call", "PAUSED", "--timeout", "3")
    assert paused.code == 124 and "no worker" in paused.err


def test_whoever_waits_for_a_busy_service_is_told_nothing(zmws: Installation) -> None:
    assert zmws.run("call", "SLEEP", "seconds:=2.5").err == ""


# ---------------------------------------------------------------- durations, bytes, again


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("500ms", 0.5)],
)
def test_durations_have_units(zmws: Installation, text: str, seconds: float) -> None:
    job = zmws.run("submit", "NOBODY", "--ttr", text, "--json").json()["id"]
    assert zmws.run("job", "show", job, "--json").json()["ttr"] == seconds


def test_a_duration_that_is_none_is_refused_by_name(zmws: Installation) -> None:
    for words in (["--ttr", "5x"], ["--delay", "m"], ["--keep", "1h 2"], ["--wait", "--timeout", "nan"]):
        ended = zmws.run("submit", "ODD", *words)
        assert ended.code == 2 and words[-2].lstrip("-") in ended.err, ended.err
    for words in (["--since", "yesterday"], ["--before", "2027-01-01"], ["--since", "3600"]):
        ended = zmws.run("jobs", *words)
        assert ended.code == 2 and "1h, 2d" in ended.err


def test_times_may_be_said_as_how_long_ago(zmws: Installation) -> None:
    job = zmws.run("submit", "ODD").out.strip()
    assert job in zmws.run("jobs", "--since", "1h").out
    assert job not in zmws.run("jobs", "--before", "1h").out
    assert zmws.run("job", "delete", "--before", "1h", "--json").code == 0
    zmws.run("job", "wait", job)
    assert (
        zmws.run("job", "delete", "--since", "1m", "--service", "ODD", "--state", "complete", "--json").code
        == 0
    )


def test_raw_sends_bytes_and_a_file_that_is_no_json_says_how(zmws: Installation) -> None:
    (zmws.root / "photo").write_bytes(b"\xff\x00\xfe")
    wrong = zmws.run("submit", "ODD", "@photo")
    assert (
        wrong.code == 2 and "photo is not JSON" in wrong.err and "--raw photo sends it as bytes" in wrong.err
    )
    job = zmws.run("submit", "NOBODY", "--raw", "photo").out.strip()
    record = zmws.run("job", "show", job, "--json").json()
    assert (record["params"], record["params_kind"]) == ({"base64": "/wD+"}, "bytes")
    job = zmws.run("submit", "NOBODY", "--raw", "-", stdin=b"\x00").out.strip()
    assert zmws.run("job", "show", job, "--json").json()["params"] == {"base64": "AA=="}
    assert zmws.run("submit", "NOBODY", "a=b", "--raw", "photo").code == 2
    assert zmws.run("submit", "NOBODY", "--raw", "nosuch").code == 2


def test_job_wait_of_an_expired_job_ends_with_124(zmws: Installation) -> None:
    assert zmws.run("submit", "NOBODY", "--expires", "500ms", "--id", "late").code == 0
    ended = zmws.run("job", "wait", "late", "--json")
    assert ended.code == 124 and ended.json()["state"] == "expired"
    result = zmws.run("job", "result", "late", "--json")
    assert result.code == 124 and result.json() == {
        "code": "expired", "error": "no worker of NOBODY began it in time", "id": "late"
    }  # fmt: skip


def test_cancelled_and_expired_jobs_are_retried_by_id_or_by_their_state(zmws: Installation) -> None:
    for job in ("c1", "c2", "e1"):
        more = ["--expires", "300ms"] if job == "e1" else []
        assert zmws.run("submit", "NOBODY", "--group", "again", "--id", job, *more).code == 0
    assert zmws.run("job", "cancel", "c1", "c2").code == 0
    assert zmws.run("job", "wait", "e1").code == 124
    # A filter without a state is for what has failed.
    assert zmws.run("job", "retry", "--group", "again", "--json").json()["count"] == 0
    assert zmws.run("job", "retry", "c1").out == "waits again: c1\n"
    assert zmws.run("job", "retry", "--group", "again", "--state", "cancelled", "--json").json()["count"] == 1
    assert zmws.run("job", "retry", "e1").code == 0
    for job in ("c1", "c2", "e1"):
        record = zmws.run("job", "show", job, "--json").json()
        assert (record["state"], record["error"], record["expires_at"]) == ("waiting", None, None)
    done = zmws.run("submit", "ODD", "--wait", "--id", "done")
    assert done.code == 0
    refused = zmws.run("job", "retry", "done")
    assert refused.code == 4 and "failed or cancelled or expired" in refused.err


def test_a_service_is_forgotten_and_stays_so_over_a_restart(tmp_path: Path) -> None:
    with installation(
        tmp_path, worker_table("reverse", "workers/reverse.py"), more="[services.FIXED]\n"
    ) as zmws:
        assert zmws.run("start").code == 0
        busy = zmws.run("services", "forget", "STR-REV")
        assert busy.code == 4 and "not_possible" in busy.err and "worker" in busy.err
        assert zmws.run("submit", "STR-REV", "str=ab", "--wait").code == 0
        assert zmws.run("stop", "--workers").code == 0
        job = zmws.run("submit", "STR-REV", "str=ab").out.strip()
        wait_until(lambda: "jobs that have not ended" in zmws.run("services", "forget", "STR-REV").err)
        assert zmws.run("job", "cancel", job).code == 0
        assert zmws.run("services", "forget", "FIXED").code == 4
        assert zmws.run("services", "forget", "STR-REV").out == "forgotten: STR-REV\n"
        for _ in range(2):
            assert "STR-REV" not in zmws.run("services").out
            assert zmws.run("submit", "STR-REV").code == 4
            assert zmws.run("services", "forget", "STR-REV").code == 4
            assert zmws.run("job", "show", job).code == 0  # its records are kept
            assert zmws.run("stop").code == 0
            assert zmws.run("start", "--servers").code == 0
        # Whoever wants one of its jobs again makes it known again.
        assert zmws.run("job", "retry", job).code == 0
        assert zmws.run("start").code == 0
        assert zmws.run("job", "wait", job).code == 0
        (row,) = [row for row in zmws.run("services", "--json").json() if row["service"] == "STR-REV"]
        assert (row["complete"], row["waiting"]) == (2, 0)
        assert zmws.run("stop").code == 0
