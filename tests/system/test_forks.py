"""A worker whose own code forks: the child is no worker, and the worker takes no harm from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import RunningBroker, RunningProcess, await_workers, wait_until, worker_process
from zmws import JobFailed, WorkerBase
from zmws.testing import run_job

# One worker for all that happens here: it does what the job says.
FORKER = """
service_name = "FORK"
idle_code = None

def work(self, job_id, params):
    return getattr(self, params["do"])(params)

def nothing(self, params):
    return os.getpid()

def fork(self):
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: no child outlives a test that fails
    return pid

def code_of(self, pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def leave(self, params):
    if (pid := self.fork()) == 0:
        return self.out(params)
    return self.code_of(pid)

def out(self, params):
    if params["how"] == "return":
        return "from the child"
    if params["how"] == "false":
        return False
    if params["how"] == "exit":
        raise SystemExit(*params["code"])
    if params["how"] == "interrupt":
        raise KeyboardInterrupt
    raise RuntimeError("broken in the child")

async def leave_loop(self, params):
    if (pid := self.fork()) == 0:
        return self.out(params)
    return self.code_of(pid)

def cleanup(self, params):
    import atexit
    atexit.register(open(params["file"], "a").write, "x")
    return self.leave(params)

def idle(self):
    if os.path.exists(path := __file__ + ".idle"):
        if (pid := self.fork()) == 0:
            sys.exit(5)
        with open(path, "w") as out:
            out.write(str(self.code_of(pid)))

def printed(self, params):
    sys.stdout.reconfigure(write_through=False)  # as it is without PYTHONUNBUFFERED
    print("from the parent")
    if (pid := self.fork()) == 0:
        print("from the child")
        return
    return self.code_of(pid)

def terminate(self, params):
    import multiprocessing
    codes = set()
    for _ in range(params["times"]):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
        child.start()
        child.terminate()
        child.join(5)
        codes.add(child.exitcode)
        child.kill()
        child.join()
    return sorted(codes, key=str)

def interrupt(self, params):
    r, w = os.pipe()
    if (pid := self.fork()) == 0:
        os.write(w, b"x")
        time.sleep(60)
    os.read(r, 1)
    os.kill(pid, signal.SIGINT)
    return self.code_of(pid)

def kept(self, params):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
    if (pid := self.fork()) == 0:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)
    return self.code_of(pid)

def say(self, params):
    r, w = os.pipe()
    if (pid := self.fork()) == 0:
        for name, *args in params["calls"]:
            try:
                said = getattr(self.job, name)
                said(*args)
            except Exception as fault:
                os.write(w, f"{type(fault).__name__}: {fault}\\n".encode())
        os._exit(0)
    os.close(w)
    with open(r) as said:
        lines = said.read().splitlines()
    self.code_of(pid)
    self.job.log("from the worker")
    return lines

async def wake(self, params):
    import asyncio
    heard = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.append, 1)
    if (pid := self.fork()) == 0:
        signal.raise_signal(signal.SIGUSR1)
        os._exit(0)
    self.code_of(pid)
    for _ in range(5):
        await asyncio.sleep(0)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    return len(heard)

def raise_it(self, params):
    raise KeyboardInterrupt("from the user's code")

async def raise_it_in_the_loop(self, params):
    raise KeyboardInterrupt("from the user's code")
"""


@pytest.fixture
def forker(tmp_path: Path, broker: RunningBroker) -> Iterator[RunningProcess]:
    with worker_process(tmp_path, broker.worker, FORKER) as running:
        yield running


@pytest.fixture
def ask(forker: RunningProcess, broker: RunningBroker) -> Iterator[Any]:
    """Calls the forker: `ask("leave", how="return")`. Afterwards it is still there, and alone."""
    with broker.connect() as client:
        await_workers(client, 1)
        yield lambda do, **more: client.call("FORK", {"do": do, **more}, timeout=10)
        assert client.call("FORK", {"do": "nothing"}, timeout=5) == forker.pid
        assert len(client.ask("zmws.workers")) == 1


@pytest.mark.parametrize("do", ["leave", "leave_loop"])
@pytest.mark.parametrize(
    ("how", "code", "left"),
    [
        ("return", [], 0),
        ("false", [], 0),
        ("exit", [], 0),
        ("exit", [None], 0),
        ("exit", [3], 3),
        ("exit", [-1], 255),
        ("exit", [2**70 + 4], 255),
        ("exit", [True], 1),
        ("exit", ["what it was"], 1),
        ("interrupt", [], 1),
        ("raise", [], 1),
    ],
)
def test_a_forked_child_that_leaves_work_ends(
    ask: Any, forker: RunningProcess, do: str, how: str, code: list[Any], left: int
) -> None:
    assert ask(do, how=how, code=code) == left
    assert ("RuntimeError: broken in the child" in forker.text()) is (how == "raise")
    assert ("what it was" in forker.text()) is ("what it was" in code)
    assert " failed: " not in forker.text(), "a child's end is no failed attempt"


def test_a_child_forked_in_idle_ends_too(ask: Any, forker: RunningProcess) -> None:
    file = forker.log.with_name("worker.py.idle")
    file.touch()
    ask("nothing")  # before it heard of the broker's quick heartbeats, idle() was far away
    assert wait_until(file.read_text, 15, "idle() has waited for its child") == "5"


def test_a_childs_end_leaves_the_cleaning_up_to_the_worker(ask: Any, tmp_path: Path) -> None:
    file = tmp_path / "cleaned"
    assert ask("cleanup", how="exit", code=[0], file=str(file)) == 0
    assert file.read_text() == ""


def test_what_was_printed_before_a_fork_is_printed_once(ask: Any, forker: RunningProcess) -> None:
    assert ask("printed") == 0
    assert forker.text().count("from the parent") == 1 and forker.text().count("from the child") == 1


def test_a_forked_child_ends_by_sigterm_however_early_it_comes(ask: Any) -> None:
    assert ask("terminate", times=30) == [-15]


def test_a_forked_child_is_interrupted_like_any_program(ask: Any, forker: RunningProcess) -> None:
    assert ask("interrupt") == 1
    assert "KeyboardInterrupt" in forker.text()


def test_a_handler_of_the_users_own_stays_in_a_child(ask: Any) -> None:
    assert ask("kept") == 9


@pytest.mark.parametrize(
    "call", [["progress", 0.5], ["partial", 1], ["log", "x"], ["extend", 9], ["cancelled"]]
)
def test_a_forked_child_is_told_that_it_cannot_speak_for_the_job(ask: Any, call: list[Any]) -> None:
    (told,) = ask("say", calls=[call])
    what = call[0] if call[0] == "cancelled" else f"{call[0]}()"
    assert told.startswith(f"ZmwsError: self.job.{what} ") and "in the worker's own process" in told


def test_a_signal_to_a_child_does_not_wake_the_workers_loop(ask: Any) -> None:
    assert ask("wake") == 0


# ---------------------------------------------------------------- KeyboardInterrupt without a signal


@pytest.mark.parametrize("do", ["raise_it", "raise_it_in_the_loop"])
def test_a_keyboard_interrupt_of_the_users_is_a_failed_attempt(ask: Any, do: str) -> None:
    for _ in range(2):
        with pytest.raises(JobFailed, match="from the user's code") as failed:
            ask(do)
        assert failed.value.type == "KeyboardInterrupt"


class Interrupted(WorkerBase):
    service_name = "INTERRUPTED"

    def work(self, job_id: str, params: Any) -> Any:
        raise KeyboardInterrupt


def test_ctrl_c_in_a_job_without_a_worker_process_reaches_the_test() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_job(Interrupted)
