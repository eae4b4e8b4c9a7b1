"""zmws.work.children: jobs in child processes, and what becomes of them."""

from __future__ import annotations

import functools
import io
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.work.executing import Bench
from tests.work.kinds import Color, Fails, Isolated, Leaves, Needs, Once, Renewed, Tight, function
from zmws.errors import ZmwsError
from zmws.wire.values import value_of
from zmws.work.birth import birth_of
from zmws.work.child_process import READS_MAX, ChildProcess
from zmws.work.children import Children
from zmws.work.declared import BadWorker, declared
from zmws.work.function import worker_of
from zmws.work.pipe import Pipe

Open = Callable[..., Bench]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid: int) -> bool:
    return not alive(pid)


@pytest.fixture
def opened() -> Iterator[Open]:
    """What opens children of a class; the main thread is called when they need it."""
    made: list[Children] = []
    over = threading.Event()

    def open_(
        cls: Any = Isolated,
        bytes_max: int = 1 << 20,
        give_up: Callable[[str], None] = lambda why: None,
        **declares: Any,
    ) -> Bench:
        worker = worker_of(cls)
        for name, value in declares.items():
            setattr(worker, name, value)
        children = Children(worker, declared(worker), lambda: None, give_up)
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
    said = io.StringIO()
    wait_until(lambda: said.write(capfd.readouterr().err) >= 0 and "about to fault" in said.getvalue())


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


# ---------------------------------------------------------------- what one job leaves to the next


def test_a_signal_of_somebody_elses_ends_no_job(opened: Open) -> None:
    bench = opened(Leaves)
    bench.start(["sleeps"])
    wait_until(lambda: bench.ear.words(b"PROGRESS"))
    for pid in bench.executor.pids:  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGTERM)  # as to all of a service at once
    assert value_of(bench.end_of().result) == "slept"


def test_signals_and_alarms_that_a_job_leaves_are_as_before_at_the_next(opened: Open) -> None:
    bench = opened(Leaves)
    bench.run(["alarm"])
    assert bench.run(["sleeps"]) == "slept", "no late alarm"
    job = bench.start(["waits"])
    wait_until(lambda: len(bench.ear.words(b"PROGRESS")) == 2)
    told: list[str] = []
    bench.executor.tell_stack(job, told.append)
    wait_until(lambda: told)
    assert "in waits" in told[0]
    bench.executor.cancel(job)
    error = bench.end_of().error
    assert error is not None and error["type"] == "Dropped", "it is told"


def test_what_a_job_sets_in_its_context_is_gone_with_it(opened: Open) -> None:
    bench = opened(Leaves)
    assert [bench.run(["context"]) for _ in range(2)] == ["none", "none"]


def test_idle_is_called_in_one_child_after_the_other(opened: Open, capfd: pytest.CaptureFixture[str]) -> None:
    bench = opened(Leaves, concurrency=2)
    pids = set(bench.executor.pids)  # type: ignore[attr-defined]
    for _ in pids:
        bench.run(["echo", 1])
    wait_until(lambda: len(bench.executor._free) == 3)  # type: ignore[attr-defined]
    bench.executor.idle()  # type: ignore[attr-defined]
    for name in "ab":
        bench.start(["echo", name], name)
    for name in "ab":
        assert value_of(bench.end_of(name).result) == name
    said = capfd.readouterr().err
    assert said.count("idle in") < 3, "they have not waited until all had been idle"

    def all_have() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return all(f"idle in {pid}" in said for pid in pids)

    wait_until(all_have)


def test_a_child_that_has_left_its_group_is_killed_too(opened: Open) -> None:
    bench = opened(Leaves)
    job = bench.start(["leaves_its_group"])
    wait_until(lambda: bench.ear.words(b"PROGRESS"))
    bench.executor.cancel(job)
    error = bench.end_of().error
    assert error is not None and "was killed" in error["error"]


def test_a_child_that_prints_elsewhere_costs_nothing(opened: Open) -> None:
    bench = opened(Leaves)
    bench.run(["redirects"])
    before = time.process_time()
    time.sleep(0.3)  # a span of time is what is measured
    assert time.process_time() - before < 0.2
    assert bench.run(["echo", 1]) == 1


def test_what_a_child_forks_has_not_its_handlers(opened: Open) -> None:
    assert opened(Leaves).run(["terminates"]) == -signal.SIGTERM


def test_what_was_printed_before_a_crash_is_told(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    error = opened(Leaves).fails(["prints_and_dies"])
    assert "said before" in error["traceback"]


def test_a_child_imports_what_its_worker_does_and_nothing_of_the_folder_before_that(opened: Open) -> None:
    found = opened(Leaves).run(["path"])
    assert found[: len(sys.path)] == [folder or str(Path.cwd()) for folder in sys.path]


# ---------------------------------------------------------------- nothing gets ready any more


def test_jobs_that_find_no_child_go_back_and_the_worker_gives_up(opened: Open, tmp_path: Path) -> None:
    why: list[str] = []
    worker = worker_of(Once)
    worker.options = {"flag": str(tmp_path / "flag")}
    bench = opened(worker, give_up=why.append)
    (tmp_path / "flag").touch()
    for pid in bench.executor.pids:  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not bench.executor.pids)  # type: ignore[attr-defined]
    bench.start(["echo", 1])

    def released() -> bool:
        bench.executor.tend()  # as the main thread does when it is woken
        return bench.released == ["i"]

    wait_until(released)
    assert len(why) == 1 and "no child process gets ready any more" in why[0] and "no database" in why[0]


def test_options_of_the_workers_own_go_to_children_and_others_are_refused(opened: Open) -> None:
    worker = worker_of(Isolated)
    worker.options = {"color": Color.RED}
    assert opened(worker).run(["echo", 1]) == 1
    worker.options = {"how": lambda: None}
    with pytest.raises(ZmwsError, match="ISOLATED: its options cannot go to child processes"):
        opened(worker)


# ---------------------------------------------------------------- just when a child dies


def test_a_job_that_cannot_be_sent_to_a_child_that_has_just_died_goes_to_another(opened: Open) -> None:
    bench = opened(concurrency=2)
    children = bench.executor
    for _ in range(10):
        wait_until(lambda: len(children._free) >= 2)  # type: ignore[attr-defined]
        victim = children._free[-1]  # type: ignore[attr-defined]
        with children._lock:  # type: ignore[attr-defined]  # its death is not noticed before the job is given
            os.kill(victim.pid, signal.SIGKILL)
            wait_until(functools.partial(gone, victim.pid))
            bench.start(["tells"])
        final = bench.end_of()
        assert final.error is None, "it never ran in that one"
        job_pid = value_of(final.result)
        assert job_pid[0] != victim.pid
        children.tend()


def test_a_job_that_a_child_has_not_begun_when_it_dies_goes_back(opened: Open) -> None:
    bench = opened()
    bench.run(["echo", 1])
    victim = bench.executor._free[-1]  # type: ignore[attr-defined]
    os.kill(victim.pid, signal.SIGSTOP)
    bench.start(["echo", 2], "late")
    wait_until(lambda: victim.attempt is not None)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: bench.released == ["late"])
    bench.executor.tend()
    assert bench.run(["echo", 3]) == 3 and bench.finals == {}


def test_a_job_that_ends_its_child_while_that_reads_it_has_failed(opened: Open) -> None:
    error = opened(Tight).fails(["echo", "x" * (64 << 20)])
    assert error["type"] == "ChildDied" and "exit code 1" in error["error"]


def test_a_child_that_has_read_something_else_has_not_begun_the_next_job(opened: Open) -> None:
    bench = opened()
    bench.run(["echo", 1])
    victim = bench.executor._free[-1]  # type: ignore[attr-defined]
    bench.executor.idle()  # type: ignore[attr-defined]
    wait_until(lambda: not victim.idling and victim in bench.executor._free)  # type: ignore[attr-defined]
    os.kill(victim.pid, signal.SIGSTOP)
    with bench.executor._lock:  # type: ignore[attr-defined]  # it is the next
        bench.executor._free.remove(victim)  # type: ignore[attr-defined]
        bench.executor._free.append(victim)  # type: ignore[attr-defined]
        bench.start(["echo", 2], "late")
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: bench.released == ["late"])


def test_a_child_that_dies_while_others_are_set_up_is_replaced(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ChildProcess] = []
    real = ChildProcess.__init__

    def first_dies(child: ChildProcess, birth: Any) -> None:
        real(child, birth)
        made.append(child)
        if len(made) == 2:
            wait_until(lambda: made[0].ready, 20)
            os.kill(made[0].pid, signal.SIGKILL)
            wait_until(functools.partial(gone, made[0].pid))  # while it dies, a job would still be sent to it

    monkeypatch.setattr(ChildProcess, "__init__", first_dies)
    bench = opened(concurrency=2)
    assert len(made) >= 3 and bench.run(["echo", 1]) == 1


def test_when_the_system_has_processes_again_children_are_started_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = threading.Event()
    bench = opened()
    children = bench.executor
    children._wake_main = woken.set  # type: ignore[attr-defined]

    def none_left(*_: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr("zmws.work.children.ChildProcess", none_left)
        for pid in children.pids:  # type: ignore[attr-defined]
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not children.pids)  # type: ignore[attr-defined]
        woken.clear()
        children.tend()
        assert not children.pids  # type: ignore[attr-defined]
    assert woken.wait(10), "the main thread is called when it is time to try again"
    children.tend()
    assert bench.run(["echo", 1]) == 1


def test_a_start_for_which_no_descriptor_is_left_leaks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    birth = birth_of(Isolated(), declared(Isolated()))
    for what in ("subprocess.Popen", "os.pidfd_open"):
        with monkeypatch.context() as patched:
            patched.setattr(what, fails)
            before = sum(1 for _ in Path("/proc/self/fd").iterdir())
            with pytest.raises(OSError, match="Too many open files"):
                ChildProcess(birth)
            assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


# ---------------------------------------------------------------- who reads what they say


def test_a_child_that_never_stops_talking_keeps_its_reader_for_a_moment_only(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = opened().executor._free[-1]  # type: ignore[attr-defined]
    monkeypatch.setattr(child, "_read", lambda fd: b"x\n" * 10)  # there is always more
    assert child.printed() == ["x"] * 10 * READS_MAX


class Endless:
    """A socket that always has more."""

    def recv(self, size: int) -> bytes:
        message = pickle.dumps(7)
        return struct.pack("!Q", len(message)) + message


def test_who_talks_without_an_end_over_the_pipe_is_not_read_for_ever() -> None:
    messages = list(Pipe(Endless()).receive(3))  # type: ignore[arg-type]
    assert messages == [7, 7, 7]


def test_one_thread_reads_what_they_say_and_another_may_take_that_over(opened: Open) -> None:
    bench = opened()
    bench.run(["echo", 1])
    bench.executor.attach()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name == "zmws-ISOLATED"]
    bench.start(["echo", 2])
    until = time.monotonic() + 10
    while not bench.finals:
        assert time.monotonic() < until
        bench.executor.step(0.01)  # type: ignore[attr-defined]
    assert bench.threads == {"i": threading.get_ident()}
    assert value_of(bench.end_of().result) == 2


def test_what_goes_wrong_with_one_thing_ends_not_the_thread_that_reads(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = opened()
    bench.executor.attach()  # type: ignore[attr-defined]

    def fails(now: float) -> None:
        raise KeyError("not registered")

    with monkeypatch.context() as patched:
        patched.setattr(bench.executor, "_look", fails)
        bench.executor.step(0.0)  # type: ignore[attr-defined]
    wait_until(lambda: "a fault in the worker; it goes on" in caplog.text)


def test_a_child_that_has_not_read_all_is_not_asked_for_when_its_pipe_is_gone(opened: Open) -> None:
    bench = opened()
    children = bench.executor
    children.attach()  # type: ignore[attr-defined]
    child = children._free[-1]  # type: ignore[attr-defined]
    children._selector.unregister(child.pipe.sock)  # type: ignore[attr-defined]
    child.pipe._left += b"x"
    children._look(0.0)  # type: ignore[attr-defined]
    child.pipe._left.clear()
