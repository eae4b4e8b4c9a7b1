"""Chains, batches and schedules from a shell, with worker processes."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.terminal import terminal


def test_a_chain_from_a_shell(zmws: Installation) -> None:
    again = 'STR-REV {"str": "$PREVIOUS"}'
    ended = zmws.run("submit", "STR-REV", "str=abc", "--then", again, "--then", again, "--wait")
    assert (ended.code, ended.out, ended.err) == (0, "cba\n", "")
    chain = zmws.run("submit", "STR-REV", "str=abc", "--then", again).out.strip()
    wait_until(lambda: zmws.run("job", "result", f"{chain}:2").code == 0, what="the chain to end")
    shown = zmws.run("job", "tree", f"{chain}:1").out.splitlines()
    assert shown[1].startswith(f"{chain}:1 <-") and shown[2].startswith(f"  {chain}:2")
    lines = "".join(f"line {n}\n" for n in range(100))
    ended = zmws.run(
        "submit", "STR-REV", "--each", "-", "--as", "str", "--then", again, "--wait", stdin=lines
    )
    assert ended.code == 0 and ended.out == lines, ended.err


def test_a_batch_from_a_shell_shows_a_terminal_how_far_it_is(zmws: Installation) -> None:
    (zmws.root / "words.txt").write_text("".join(f"word {n}\n" for n in range(300)))
    words = ("batch", "submit", "STR-REV", "--each", "words.txt", "--as", "str", "--then", "LOG")
    shown = terminal(zmws, *words, "--id", "words", "--wait", columns=120)
    assert "jobs submitted" in shown and "jobs done" in shown and "300/300" in shown
    assert "state: complete" in shown
    row = zmws.run("batch", "show", "words", "--json").json()
    assert row["complete"] == 300 and row["then_id"] == "words:then"
    ended = zmws.run("batch", "wait", "words", "--json")
    assert ended.code == 0 and ended.err == "" and json.loads(ended.out) == row


def test_ctrl_c_while_a_batch_is_waited_for_says_how_to_go_on(zmws: Installation) -> None:
    made = zmws.run("batch", "submit", "SLEEP", "--each", "-", "--id", "slow", stdin='{"seconds": 60}\n')
    assert made.out == "slow\n", made.err
    process = zmws.popen("batch", "wait", "slow", stderr=subprocess.PIPE)
    wait_until(lambda: zmws.run("jobs", "--batch", "slow", "--state", "running", "--json").json()["jobs"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and b"Traceback" not in err
    assert zmws.run("batch", "cancel", "slow").out == "cancelled: 1 job of batch slow\n"
    assert zmws.run("batch", "wait", "slow").code == 1


def test_a_schedule_from_a_shell(zmws: Installation) -> None:
    added = zmws.run("schedule", "add", "tick", "STR-REV", "str=abc", "--every", "1")
    assert added.code == 0 and added.out.startswith("added: tick, due ")
    state = lambda: zmws.run("schedule", "show", "tick", "--json").json()  # noqa: E731
    row = wait_until(lambda: (row := state())["last"] and row["last"]["state"] == "complete" and row)
    assert row["last"]["id"].startswith("cron:tick:") and row["fired"] >= 1
    assert zmws.run("job", "result", row["last"]["id"]).out == "cba\n"
    job_id = zmws.run("schedule", "run", "tick").out.strip()
    assert zmws.run("job", "result", job_id, "--wait").out == "cba\n"
    assert zmws.run("schedule", "remove", "tick").code == 0
    assert zmws.run("schedule", "next", "--cron", "@daily", "--broker", "tcp://127.0.0.1:9").code == 0
