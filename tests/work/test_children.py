"""zmws.work.children: jobs in child processes, and what becomes of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.work.executing import Bench
from tests.work.kinds import Fails, Isolated, Needs, Renewed, function
from zmws.errors import ZmwsError
from zmws.work.birth import birth_of
from zmws.work.children import Children
from zmws.work.declared import BadWorker, declared
from zmws.work.function import worker_of

Open = Callable[..., Bench]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def opened() -> Iterator[Open]:
    """What opens children of a class; the main thread is called when they need it."""
    made: list[Children] = []
    over = threading.Event()

    def open_(cls: Any = Isolated, bytes_max: int = 1 << 20, **declares: Any) -> Bench:
        worker = worker_of(cls)
        for name, value in declares.items():
            setattr(worker, name, value)
        children = Children(worker, declared(worker), lambda: None)
        children.connect(lambda: bytes_max, lambda: None)
        made.append(children)
        children.open()
        return Bench(children, worker)

    yield open_
    over.set()
    pids = [pid for children in made for pid in children.pids]
    for children in made:
        children.close(5.0)
    wait_until(lambda: not any(map(alive, pids)), what="all children to be gone")


def test_a_job_runs_in_a_child_that_was_set_up_and_is_kept(opened: Open) -> None:
    bench = opened()
    pid, set_up_in, job_id, attempt = bench.run(["tells"])
    assert pid != os.getpid() and set_up_in == pid and (job_id, attempt) == ("i", 1)
    assert bench.run(["tells"])[0] == pid


def test_several_run_at_once_and_there_is_a_spare(opened: Open) -> None:
    bench = opened(concurrency=2)
    for name in "ab":
        bench.start(["waits"], name)
    wait_until(lambda: len(bench.ear.words(b"PROGRESS")) == 2)
    assert len(bench.executor.pids) == 3  # type: ignore[attr-defined]
    bench.executor.kill()


def test_results_and_faults_are_told_as_of_any_job(opened: Open) -> None:
    bench = opened()
    assert bench.run(["echo", {"a": [1, "ü"]}]) == {"a": [1, "ü"]}
    assert len(bench.run(["echo", "x" * 3_000_000])) == 3_000_000
    error = bench.fails(["raises"])
    assert (error["type"], error["error"]) == ("LookupError", "nothing there")
    assert "in raises" in error["traceback"]
    assert bench.fails(["leaves"])["type"] == "SystemExit"


def test_what_a_job_says_goes_out_and_its_log_too(opened: Open) -> None:
    bench = opened()
    bench.run(["says"])
    assert bench.ear.words(b"PROGRESS") == [b'{"done": 0.5, "text": "half"}']
    assert bench.ear.words(b"SAVE") == [b'{"n": 1}']
    assert bench.ear.words(b"LOG") == [b"WARNING author: a word"]


def test_what_is_too_large_is_refused_where_it_is_said(opened: Open) -> None:
    bench = opened(bytes_max=10)
    assert "message_bytes_max = 10" in bench.fails(["says"])["error"]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (["exits", 0], "ended with exit code 0"),
        (["exits", 7], "ended with exit code 7"),
        (["segfaults"], "was ended by SIGSEGV"),
        (["kills_itself"], "was ended by SIGKILL, by somebody, or by the system for want of memory"),
    ],
)
def test_what_ends_a_child_costs_the_attempt_in_it_and_nothing_else(
    opened: Open, how: list[Any], told: str
) -> None:
    bench = opened()
    pid = bench.run(["tells"])[0]
    error = bench.fails(how)
    assert error["error"].startswith(f"the job's child process {told}; it used up to ")
    assert error["error"].endswith(" MiB") and error["type"] == "ChildDied" and error["code"] == "job_failed"
    assert bench.run(["tells"])[0] != pid, "the spare one has taken its place"
    bench.executor.tend()
    wait_until(lambda: len(bench.executor.pids) == 2)  # type: ignore[attr-defined]


def test_what_it_has_printed_last_is_told_with_its_death(
    opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    error = opened().fails(["segfaults"])
    assert "about to fault" in error["traceback"] and "in segfaults" in error["traceback"]
    assert "> " in error["traceback"], "the author's own frames are marked"
    assert "about to fault" in capfd.readouterr().err, "and it is in the log of the worker"


def test_what_a_child_prints_is_read_however_much_it_is(
    opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = opened()
    bench.run(["prints", "x" * 500_000 + "\n" + "the end\n"])
    wait_until(lambda: "the end" in capfd.readouterr().err)


# ---------------------------------------------------------------- to be dropped


def test_who_is_to_drop_its_job_is_told_and_is_not_used_again(opened: Open) -> None:
    bench = opened()
    pid = bench.run(["tells"])[0]
    job = bench.start(["waits"])
    wait_until(lambda: bench.ear.words(b"PROGRESS"))
    bench.executor.cancel(job)
    error = bench.end_of().error
    assert error is not None and error["type"] == "Dropped"
    assert bench.ear.words(b"LOG") == [b"cleaned up, cancelled: True"]
    assert bench.run(["tells"])[0] != pid
    wait_until(lambda: not alive(pid))


def test_who_takes_no_notice_is_killed_with_what_it_has_started(opened: Open) -> None:
    bench = opened()
    job = bench.start(["ignores"])
    wait_until(lambda: bench.ear.words(b"PROGRESS"))
    bench.executor.cancel(job)
    bench.executor.cancel(job)
    error = bench.end_of().error
    assert error is not None and "was killed, for it did not drop the job" in error["error"]
    assert bench.run(["echo", 1]) == 1


def test_with_a_child_goes_what_it_has_started(opened: Open) -> None:
    bench = opened()
    job = bench.start(["starts_another"])
    wait_until(lambda: bench.ear.words(b"LOG"))
    other = int(bench.ear.words(b"LOG")[0])
    assert alive(other)
    bench.executor.cancel(job)
    bench.end_of()
    wait_until(lambda: not alive(other))


def test_a_job_that_waits_for_a_child_and_is_cancelled_never_begins(opened: Open) -> None:
    bench = opened()
    first, second = bench.start(["waits"], "a"), bench.start(["waits"], "b")
    third = bench.start(["echo", 1], "c")
    bench.executor.cancel(third)
    assert bench.released == ["c"]
    for job, name in ((first, "a"), (second, "b")):
        wait_until(lambda: len(bench.ear.words(b"PROGRESS")) == 2)
        bench.executor.cancel(job)
        bench.end_of(name)


def test_where_its_code_is_is_told_also_in_c(opened: Open) -> None:
    bench = opened()
    job = bench.start(["ignores"])
    wait_until(lambda: bench.ear.words(b"PROGRESS"))
    told: list[str] = []
    bench.executor.tell_stack(job, told.append)
    wait_until(lambda: told)
    assert "in ignores" in told[0] and "inline.py" not in told[0]
    bench.executor.kill()
    bench.end_of()


# ---------------------------------------------------------------- begin and end


def test_a_setup_that_fails_in_a_child_is_told_at_the_start(opened: Open) -> None:
    with pytest.raises(ZmwsError, match=r"(?s)a child process of FAILS did not start.*OSError: no database"):
        opened(Fails)


def test_a_child_that_has_done_enough_is_started_anew(opened: Open) -> None:
    bench = opened(Renewed)
    pids = set()
    for _ in range(3):
        pids.add(bench.run(["tells"])[0])
        bench.executor.tend()
    assert len(pids) == 3


def test_a_function_runs_in_a_child_too(opened: Open) -> None:
    word, pid = opened(function).run({"word": "x"})
    assert word == "x" and pid != os.getpid()


def test_a_class_that_a_child_cannot_find_or_make_is_refused() -> None:
    class Local(Isolated):
        pass

    with pytest.raises(BadWorker, match=r"Local: isolate .* must stand at the top of a file"):
        birth_of(Local(), declared(Local()))
    needs = Needs("it")
    with pytest.raises(BadWorker, match=r"Needs: isolate .* without arguments, and that raised TypeError"):
        birth_of(needs, declared(needs))
    Hidden = type("Hidden", (Isolated,), {"__module__": "tests.work.kinds"})
    with pytest.raises(BadWorker, match=r"Hidden: isolate .* tests\.work\.kinds has none of that name"):
        birth_of(Hidden(), declared(Hidden()))


def test_where_there_is_no_process_to_be_had_the_start_says_so(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("zmws.work.children.ChildProcess", none_left)
    with pytest.raises(ZmwsError, match="a child process of ISOLATED did not start"):
        opened()
