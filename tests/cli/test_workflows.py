"""`zmws submit --then`, `zmws batch` and `zmws job tree`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.acting import Run, runner
from tests.client.workers import WORKERS
from zmws.testing import FakeClient

SERVICES: dict[str, dict[str, Any]] = {"NOBODY": {}, "TOLD": {}}


@pytest.fixture
def client() -> Iterator[FakeClient]:
    with FakeClient(workers=WORKERS, services=SERVICES) as fake:
        yield fake


@pytest.fixture
def run(client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(client, monkeypatch, capsys)


# ---------------------------------------------------------------- chains


def test_submit_then_makes_a_chain_and_prints_its_id(run: Run, client: FakeClient) -> None:
    ended = run("submit", "ECHO", "n:=1", "--then", "ECHO", "--then", 'ECHO {"a": ["$PREVIOUS"]}')
    assert ended.code == 0 and len(ended.lines) == 1
    assert client.get_chain(ended.lines[0]).result() == {"a": [{"n": 1}]}
    told = run("submit", "ECHO", "--then", "ECHO", "--id", "mine", "--json").json()
    assert told == {"id": "mine:1", "chain": "mine", "existing": False, "durability": "memory"}


def test_submit_then_wait_prints_the_last_result(run: Run) -> None:
    assert run("submit", "ECHO", "n:=1", "--then", 'ECHO ["$PREVIOUS"]', "--wait").out == '[{"n": 1}]\n'
    failed = run("submit", "SHAKY", "fails:=9", "--then", "ECHO", "--wait", "--retries", "0")
    assert failed.code == 1 and "RuntimeError: attempt 1" in failed.err and not failed.out
    late = run("submit", "NOBODY", "--then", "ECHO", "--id", "late", "--wait", "--timeout", "1")
    assert late.code == 124 and "the chain goes on" in late.err and "jobs --chain late" in late.err


def test_options_are_of_each_step_but_for_those_of_the_chain_and_of_the_first(
    run: Run, client: FakeClient
) -> None:
    batch = client.batch()
    flags = ("--priority", "3", "--delay", "5", "--id", "c", "--batch", batch.id, "--on-failed", "TOLD")
    assert run("submit", "ECHO", "--then", "ECHO", *flags).code == 0
    first, second = client.submitted[0].options["chain"]
    assert first["priority"] == second["priority"] == 3 and second["on_failed"] == "TOLD"
    assert first["delay"] == 5 and "delay" not in second
    assert client.get_chain("c").result() == {}
    assert batch.status()["total"] == 2


@pytest.mark.parametrize("step", ["", "  ", "ECHO {", "ECHO nonsense"])
def test_a_step_that_cannot_be_read_is_refused(run: Run, step: str) -> None:
    ended = run("submit", "ECHO", "--then", step)
    assert ended.code == 2 and ("step is empty" in ended.err or "is not JSON" in ended.err)


def test_each_line_may_be_a_chain_of_its_own(run: Run, tmp_path: Path, client: FakeClient) -> None:
    lines = tmp_path / "lines"
    lines.write_text("a\nb\nc\n")
    ended = run("submit", "ECHO", "--each", str(lines), "--then", 'ECHO {"was": "$PREVIOUS"}', "--wait")
    assert ended.code == 0
    assert ended.lines == [f'{{"was": {{"line": "{one}"}}}}' for one in "abc"]
    ids = run("submit", "ECHO", "--each", str(lines), "--then", "ECHO").lines
    assert [client.get_chain(one).result() for one in ids] == [{"line": one} for one in "abc"]
    lines.write_text('{"fails": 9}\n{"fails": 0}\n')
    ended = run("submit", "SHAKY", "--each", str(lines), "--then", "ECHO", "--wait", "--retries", "0")
    assert ended.code == 1 and ended.lines == ["", "1"] and "line 1: RuntimeError: attempt 1" in ended.err
    assert run("submit", "ECHO", "--each", str(lines), "--then", "ECHO {").code == 2


# ---------------------------------------------------------------- batches


def test_a_batch_is_opened_filled_closed_and_waited_for(run: Run, client: FakeClient, tmp_path: Path) -> None:
    batch_id = run(
        "batch", "open", "--then", 'ECHO {"to": "a"}', "--failed", "TOLD", "--meta", '{"m": 1}'
    ).out.strip()
    job_id = run("batch", "add", batch_id, "ECHO", "n:=1", "--priority", "2").out.strip()
    assert client.job(job_id).status()["batch"] == batch_id
    lines = tmp_path / "lines"
    lines.write_text("a\nb\n")
    assert len(run("batch", "add", batch_id, "ECHO", "--each", str(lines)).lines) == 2
    assert run("batch", "show", batch_id, "--json").json()["state"] == "open"
    assert run("batch", "close", batch_id).out == f"closed: {batch_id}, 0 of 3 unfinished\n"
    ended = run("batch", "wait", batch_id)
    assert ended.code == 0 and "state: complete" in ended.lines and "total: 3" in ended.lines
    assert client.job(f"{batch_id}:then").result() == {"to": "a"}
    listed = run("batch", "list", "--state", "complete").lines
    assert listed[1].split()[:4] == [batch_id, "complete", "3", "0"] and len(listed) == 2
    assert run("batch", "list", "--state", "open", "--json").json() == {"batches": [], "next": None}
    refused = run("batch", "add", batch_id, "ECHO", "--json")
    assert refused.code == 4 and refused.json()["code"] == "batch_closed"


def test_a_batch_of_lines_is_submitted_and_waited_for(run: Run, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("".join(f"{n}\n" for n in range(1_200)))
    flags = ("--as", "n", "--then", "TOLD", "--id", "b")
    ended = run("batch", "submit", "ECHO", "--each", str(lines), *flags, "--wait", "--json")
    row = ended.json()
    assert ended.code == 0 and row["complete"] == 1_200 and row["then_id"] == "b:then"
    again = run("batch", "submit", "ECHO", "--each", str(lines), *flags, "--wait", "--json")
    assert again.code == 0 and again.json() == row
    lines.write_text('{"fails": 9}\n{"fails": 0}\n')
    ended = run("batch", "submit", "SHAKY", "--each", str(lines), "--retries", "0", "--wait")
    assert ended.code == 1 and "failed: 1" in ended.lines and "did not complete, the first 1:" in ended.lines
    ended = run("batch", "submit", "NOBODY", "--each", str(lines), "--wait", "--timeout", "0.2")
    assert ended.code == 124 and "the batch goes on" in ended.err


def test_a_batch_of_standard_input_prints_its_id(
    run: Run, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    (batch_id,) = run("batch", "submit", "ECHO", "--each", "-").lines
    assert client.get_batch(batch_id).wait()["complete"] == 2


def test_a_line_that_is_refused_leaves_the_batch_open(run: Run, tmp_path: Path, client: FakeClient) -> None:
    lines = tmp_path / "lines"
    lines.write_text('{"n": 1}\n{"n": \n')
    ended = run("batch", "submit", "ECHO", "--each", str(lines), "--then", "TOLD", "--id", "b")
    assert ended.code == 2 and "line 2 of" in ended.err
    assert "batch b stays open, and nothing follows it" in ended.err and "batch cancel b" in ended.err
    assert client.get_batch("b").status()["state"] == "open"
    for words in (["--each", "missing"], ["--each", str(lines), "--timeout", "1"], []):
        assert run("batch", "submit", "ECHO", *words).code == 2
    assert run("batch", "open", "--then", 'TOLD {"a": "$PREVIOUS"}').code == 2
    assert run("batch", "open", "--then", "NONE").code == 4
    assert run("batch", "add", "b", "ECHO", "--as", "x").code == 2
    assert run("batch", "add", "b", "ECHO", "n=1", "--each", str(lines)).code == 2
    assert run("batch", "add", "b", "ECHO", "--id", "i", "--each", str(lines)).code == 2
    assert run("batch", "show", "none").code == 4


def test_a_batch_is_cancelled(run: Run, client: FakeClient) -> None:
    batch = client.batch([("NOBODY", n) for n in range(3)], id="x")
    assert run("batch", "cancel", "x").out == "cancelled: 3 jobs of batch x\n"
    assert run("batch", "wait", "x", "--json").json()["cancelled"] == 3
    assert run("batch", "wait", "x").code == 1 and batch.status()["state"] == "failed"


def test_a_wait_for_an_open_batch_says_so(run: Run, client: FakeClient) -> None:
    client.batch(id="o")
    ended = run("batch", "wait", "o", "--timeout", "0.1")
    assert ended.code == 124 and "batch o is open; it ends when it is closed, too" in ended.err


# ---------------------------------------------------------------- filters, and the tree


def test_jobs_are_listed_and_acted_on_by_batch_chain_and_parent(run: Run, client: FakeClient) -> None:
    client.batch([("NOBODY", 1), ("ECHO", 2)], id="b")
    client.chain([("ECHO", 1), ("NOBODY", 1)], id="c")
    ids = lambda *words: [row["id"] for row in run("jobs", *words, "--json").json()["jobs"]]  # noqa: E731
    assert ids("--chain", "c") == ["c:2", "c:1"] and ids("--parent", "c:1") == ["c:2"]
    assert len(ids("--batch", "b")) == 2
    assert run("job", "cancel", "--chain", "c", "--json").json() == {"count": 1}
    assert run("job", "retry", "--parent", "c:1", "--state", "cancelled", "--json").json()["count"] == 1
    assert run("job", "cancel", "--batch", "b").out == "cancelled: 1 job\n"
    assert run("job", "delete", "--batch", "b").out == "deleted: 2 jobs\n"
    assert run("job", "cancel", "--batch", "").code == 2


def test_the_tree_of_a_job_has_each_below_that_which_it_followed(run: Run, client: FakeClient) -> None:
    batch = client.batch([{"service": "SPLIT", "params": {"parts": 2}, "id": "top"}])
    lines = run("job", "tree", "top:2").lines
    assert [line.split()[:3] for line in lines] == [
        ["ID", "SERVICE", "STATE"],
        ["top", "SPLIT", "complete"],
        ["top:1", "ECHO", "complete"],
        ["top:2", "<-", "ECHO"],
    ]
    assert [len(line) - len(line.lstrip()) for line in lines[1:]] == [0, 2, 2] and batch.id not in lines[1]
    client.chain([("ECHO", 1), ("ECHO", PREVIOUS_TEXT)], id="c")
    shown = run("job", "tree", "c:1").lines
    assert shown[1].split()[:5] == ["c:1", "<-", "ECHO", "complete", "1/2"]
    assert shown[2].split()[:4] == ["c:2", "ECHO", "complete", "2/2"]
    told = run("job", "tree", "c:1", "--json").json()
    assert [row["id"] for row in told["jobs"]] == ["c:1", "c:2"] and told["next"] is None
    assert run("job", "tree", "none").code == 4


PREVIOUS_TEXT = "$PREVIOUS"  # means nothing but to the command line
