"""Every character comes out; readers that leave, disks that are full."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.system.installation import ZMWS, Installation, environment

C = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


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
