"""`zmws completion`: TAB completes commands, services and processes, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tests.system.installation import ONE, ZMWS, environment, installation, run, worker_table
from zmws.cli import cli, names

BASH = """
eval "$(zmws completion bash)"
COMP_WORDS=({words}); COMP_CWORD={last}; COMPREPLY=()
_zmws_completion zmws
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(cwd: Path, *words: str) -> list[str]:
    """What there is for the last of these words, as click has it for any shell."""
    told = {"_ZMWS_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["zmws", *words])}
    told["COMP_CWORD"] = str(len(words))
    done = subprocess.run(
        ZMWS, cwd=cwd, env=environment(**told), capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options_are_completed(tmp_path: Path) -> None:
    assert completed(tmp_path, "sta") == ["start", "status", "stats"]
    assert completed(tmp_path, "job", "ca") == ["cancel"]
    assert "--priority" in completed(tmp_path, "submit", "X", "--pr")


def test_without_a_broker_or_with_broken_settings_there_is_nothing_and_nothing_is_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "zmws.toml").write_text('[broker]\nclient = "tcp://127.0.0.1:9"\n')
    assert completed(tmp_path, "call", "") == []
    (tmp_path / "etc" / "zmws.toml").write_text("[broken")
    assert completed(tmp_path, "call", "") == [] == completed(tmp_path, "stop", "")


def test_services_and_processes_are_completed(tmp_path: Path) -> None:
    with installation(tmp_path, ONE + worker_table("sleep", "workers/sleep.py", 2)) as zmws:
        assert completed(tmp_path, "stop", "") == ["broker", "reverse", "sleep", "sleep_00", "sleep_01"]
        assert completed(tmp_path, "logs", "sl") == ["sleep", "sleep_00", "sleep_01"]
        assert zmws.run("start").code == 0
        for words in (["call", "ST"], ["submit", "ST"], ["pause", "ST"], ["services", "show", "ST"]):
            assert completed(tmp_path, *words) == ["STR-REV"], words


def test_a_name_that_a_shell_would_run_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = names._quiet(lambda ctx: ["A", "A$(touch PWNED)", "A;x", "A b", "A:b", "A'b", "B"])
    assert offered(click.Context(cli), click.Option(["--x"]), "A") == ["A", "A:b"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_what_it_understands(tmp_path: Path, shell: str) -> None:
    made = run("completion", shell, cwd=tmp_path)
    assert made.code == 0 and "_ZMWS_COMPLETE" in made.out
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([program, "-n"], input=made.out, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_with_it(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "zmws").write_text(f'#!/bin/sh\nexec {" ".join(ZMWS)} "$@"\n')
    (bin_ / "zmws").chmod(0o755)
    script = BASH.format(words="zmws sta", last=1)
    path = {"PATH": f"{bin_}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(**path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.split(), done.stderr) == (["start", "status", "stats"], "")


def test_a_shell_is_guessed_and_where_that_fails_asked_for(tmp_path: Path) -> None:
    assert "fish" in run("completion", cwd=tmp_path, SHELL="/usr/bin/fish").out
    for shell in ("/bin/sh", ""):
        asked = run("completion", cwd=tmp_path, SHELL=shell)
        assert asked.code == 2 and "name your shell: bash, zsh, fish" in asked.err


def test_restart_takes_up_what_has_changed(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert "started: broker, reverse" in zmws.run("restart").out
        before = zmws.pids()
        again = zmws.run("restart", "--workers")
        assert again.code == 0 and "stopped: reverse" in again.out and "started: reverse" in again.out
        after = zmws.pids()
        assert after["broker"] == before["broker"] and after["reverse"] != before["reverse"]
        settings = tmp_path / "etc" / "zmws.toml"
        text = settings.read_text()
        settings.write_text(text + "[broken")
        refused = zmws.run("restart")
        assert refused.code == 2 and zmws.pids() == after, "nothing was stopped"
        settings.write_text(text)
