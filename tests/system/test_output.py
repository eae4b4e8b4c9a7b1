"""What the command line writes: every character, to readers that leave, on narrow terminals, for programs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.system.installation import (
    ZMWS,
    Installation,
    environment,
    free_ports,
    installation,
    run,
    worker_table,
)

ODD = """
from zmws import WorkerBase

class Odd(WorkerBase):
    service_name = "ODD"

    def work(self, job_id, params):
        how = params.get("how", "")
        if how == "half":
            self.job.log("half \\ud83d")
            self.job.partial("part \\ud83d")
            return "half \\ud83d"
        if how == "words":
            return "\\u00e4 \\u20ac \\U0001f600"
        if how == "dict":
            return {"\\u00e4": "\\u20ac \\U0001f600"}
        if how == "red":
            return "\\x1b[31mred\\x1b[0m"
        if how == "lines":
            self.job.log("first\\nsecond\\x1b[2J")
        if how == "raise":
            raise RuntimeError("it broke: \\u20ac \\ud83d " + "x" * 300)
        return params
"""
C = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


@pytest.fixture(scope="module")
def zmws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("installation")
    (root / "odd.py").write_text(ODD)
    more = "[services.NOBODY]\n[services.PAUSED]\npaused = true\n"
    workers = worker_table("odd", "odd.py") + worker_table("sleep", "workers/sleep.py")
    with installation(root, workers, more=more) as made:
        started = made.run("start")
        assert started.code == 0, started.err
        yield made
        assert made.run("stop").code == 0


@pytest.fixture
def nowhere() -> str:
    return f"tcp://127.0.0.1:{free_ports(1)[0]}"


def terminal(zmws: Installation, *args: str, columns: int = 80) -> str:
    """What a terminal of so many columns is sent by a command."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(TERM="xterm")
    del env["COLUMNS"]
    process = subprocess.Popen(
        [*ZMWS, *args], cwd=zmws.root, env=env, stdout=slave, stderr=slave, stdin=slave
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
    process.wait(20)
    return shown.decode().replace("\r\n", "\n")


# ---------------------------------------------------------------- every character comes out


@pytest.mark.parametrize("locale", [{}, C, LATIN])
def test_half_a_surrogate_pair_comes_out_as_its_escape(zmws: Installation, locale: dict[str, str]) -> None:
    called = zmws.run("call", "ODD", "how=half", **locale)
    assert (called.code, called.out, called.err) == (0, "part \\ud83d\nhalf \\ud83d\n", "")
    told = zmws.run("call", "ODD", "how=half", "--json", **locale)
    assert [json.loads(line) for line in told.out.splitlines()] == ["part \ud83d", "half \ud83d"]
    job = zmws.run("submit", "ODD", "how=half").out.strip()
    for verb in ("wait", "show", "events", "result"):
        for flags in ([], ["--json"]):
            ended = zmws.run("job", verb, job, *flags, **locale)
            assert ended.code == 0 and "Traceback" not in ended.err, (verb, ended.err)
    assert zmws.run("job", "result", job, "--json", **locale).json() == "half \ud83d"


@pytest.mark.parametrize("locale", [C, LATIN])
def test_what_the_locale_cannot_show_is_escaped_and_json_stays_json(
    zmws: Installation, locale: dict[str, str]
) -> None:
    shown = zmws.run("call", "ODD", "how=words", **locale)
    a = "\\u00e4" if locale is C else "�"  # a byte of latin-1, which is no UTF-8
    assert (shown.code, shown.out) == (0, f"{a} \\u20ac \\ud83d\\ude00\n")
    command = [*ZMWS, "call", "ODD", "how=dict", "--json"]
    told = subprocess.run(
        command, cwd=zmws.root, env=environment(**locale), capture_output=True, check=True, timeout=30
    ).stdout
    assert json.loads(told.decode("latin-1")) == {"ä": "€ 😀"}


@pytest.mark.parametrize("locale", [{}, C, LATIN])
def test_errors_and_notes_come_out_in_any_locale(zmws: Installation, locale: dict[str, str]) -> None:
    failed = zmws.run("call", "ODD", "how=raise", **locale)
    assert failed.code == 1 and "it broke" in failed.err and "Traceback" not in failed.err
    for words in (
        ["call", "NOPE\udce4"],
        ["jobs", "--group", "ä\udce4"],
        ["submit", "ODD", "--each", "ä\udce4"],
    ):
        ended = zmws.run(*words, **locale)
        assert ended.code in (0, 2, 4) and "Traceback" not in ended.err, ended.err
    each = zmws.run(
        "submit", "ODD", "--each", "-", "--wait", "--retries", "0", stdin='{"how": "raise"}', **locale
    )
    assert each.code == 1 and "line 1: RuntimeError: it broke" in each.err and "Traceback" not in each.err


def test_the_escape_codes_of_a_result_are_its_own(zmws: Installation) -> None:
    assert zmws.run("call", "ODD", "how=red").out == "\x1b[31mred\x1b[0m\n"


# ---------------------------------------------------------------- readers that leave, disks that are full


@pytest.mark.parametrize(
    "verb", ["jobs", "job show seen", "job events seen", "services", "workers", "stats --json", "--help",
             "submit --help", "status", "config check", "logs broker", "call ODD how=dict"],
)  # fmt: skip
def test_a_reader_that_has_gone_ends_every_verb_with_141(zmws: Installation, verb: str) -> None:
    zmws.run("submit", "ODD", "--id", "seen")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*ZMWS, *verb.split()],
        cwd=zmws.root,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_answer_that_cannot_be_written_is_said(zmws: Installation) -> None:
    for verb in ("call ODD how=words", "jobs", "services --json", "submit ODD"):
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [*ZMWS, *verb.split()],
                cwd=zmws.root,
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=30,
            )
        assert ended.returncode == 1, verb
        assert ended.stderr == b"zmws: the answer cannot be written: No space left on device\n", verb


def test_notes_that_nobody_takes_change_no_exit_code(zmws: Installation) -> None:
    command = f"{' '.join(ZMWS)} call NOPE 2> >(exec true); echo code $?"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=zmws.root, env=environment(), capture_output=True, timeout=30
    )
    assert ended.stdout == b"code 4\n"


# ---------------------------------------------------------------- ERROR for programs


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


# ---------------------------------------------------------------- narrow terminals


def test_no_table_loses_a_column_at_80(zmws: Installation) -> None:
    zmws.run("submit", "ODD", "how=raise", "--retries", "0", "--id", "broken-" + "x" * 30, "--wait")
    for verb, heads in (
        (
            "services",
            ["SERVICE", "WAITING", "SCHEDULED", "RUNNING", "FAILED", "COMPLETE", "IDLE", "OLDEST", "PAUSED"],
        ),
        ("workers", ["SERVICE", "STATE", "HOST", "PID", "DONE", "FAILED", "SINCE", "HEARD", "JOB"]),
        ("jobs", ["ID", "SERVICE", "STATE", "ATTEMPT", "AGE", "NOTE"]),
        ("stats", ["BROKER", "COUNTED"]),
    ):
        shown = terminal(zmws, verb)
        assert all(len(line) <= 80 for line in shown.splitlines()), shown
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
