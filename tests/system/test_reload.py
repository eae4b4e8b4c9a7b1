"""`zmws worker FILE --reload`: real processes; what they do is seen in their log and asked of the broker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers import REPOSITORY, wait_until
from tests.system.installation import ZMWS, environment, run
from zmws.client import Client, Job
from zmws.errors import ZmwsError
from zmws.supervisor.pidfile import began
from zmws.supervisor.reload import _Reloader, _watcher
from zmws.testing import RunningBroker

WAIT_S = 40  # processes start here, and others may be busy

WORKER = """
import os, shoplib, signal
from zmws import WorkerBase

class W(WorkerBase):
    service_name = "RELOADED"

    def work(self, job_id, params):
        if params:
            self.job.progress(0.5)
            if params == "for ever":
                before = signal.getsignal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, lambda *a: (before(*a), self.job.progress(1, "told")))
                while True: pass
            if params == "deaf":
                open("deaf", "w").close()
                sum(range(10**15))  # never lets go of the interpreter
            open(params).close()  # until somebody opens the other end
        return "first" + shoplib.MORE
"""


@dataclass
class Reloaded:
    """The one who watches, and the file of its worker."""

    popen: subprocess.Popen[bytes]
    log: Path
    file: Path

    def text(self) -> str:
        return self.log.read_text()

    def await_text(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.text().count(text) >= times, WAIT_S, f"{text!r} in:\n{self.text()}")


@contextlib.contextmanager
def reloaded(root: Path, broker: RunningBroker, zmws: Sequence[str] = ZMWS) -> Iterator[Reloaded]:
    """It leads a group of its own, as a shell's command does. At the end all of the group is killed."""
    file = root / "workers" / "w.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(WORKER)
    (root / "shoplib.py").write_text('MORE = ""\n')
    log = root / "reload.log"
    command = [*zmws, "worker", "workers/w.py", "--broker", broker.worker, "--reload"]
    with log.open("wb") as out:
        popen = subprocess.Popen(
            command,
            cwd=root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
        )
    try:
        yield Reloaded(popen, log, file)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait(10)


def _worker(client: Client, but: int | None = None) -> int:
    """The number of the worker's process, when there is one alone; `but`: another than this."""

    def known() -> int | None:
        pids = [worker["pid"] for worker in client.workers()]
        return pids[0] if len(pids) == 1 and pids[0] != but else None

    return wait_until(known, WAIT_S, "one worker")


def _gone(pid: int) -> bool:
    return began(pid) is None


def test_a_worker_starts_anew_when_its_file_or_a_module_of_the_installation_changes(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    with reloaded(tmp_path, broker) as one:
        first = _worker(zmws_client)
        assert first != one.popen.pid
        assert zmws_client.call("RELOADED", timeout=10) == "first"

        one.file.write_text(WORKER.replace("first", "second"))
        second = _worker(zmws_client, but=first)
        assert zmws_client.call("RELOADED", timeout=10) == "second" and _gone(first)
        assert "workers/w.py changed: the worker starts anew" in one.text()
        assert "watchfiles" not in one.text(), "the library tells nothing"

        (tmp_path / "shoplib.py").write_text('MORE = " and more"\n')
        _worker(zmws_client, but=second)
        assert zmws_client.call("RELOADED", timeout=10) == "second and more" and _gone(second)


def test_a_file_that_cannot_be_read_is_told_and_the_next_change_tried(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    with reloaded(tmp_path, broker) as one:
        first = _worker(zmws_client)
        one.file.write_text("def (:\n")
        one.await_text("the worker has ended with exit code 2; it starts again when a file changes")
        assert "SyntaxError" in one.text() and _gone(first) and one.popen.poll() is None
        assert one.text().count("the worker has ended") == 1

        one.file.write_text(WORKER)
        _worker(zmws_client, but=first)
        assert zmws_client.call("RELOADED", timeout=10) == "first"


def test_a_worker_that_has_been_killed_starts_again_with_a_change(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    with reloaded(tmp_path, broker) as one:
        first = _worker(zmws_client)
        os.kill(first, signal.SIGKILL)
        one.await_text("the worker has ended by SIGKILL")
        one.file.touch()
        _worker(zmws_client, but=first)


def _running(client: Client, params: str) -> Job:
    """A job of the worker that has begun."""
    job = client.submit("RELOADED", params, retries=0)
    _await_progress(job, 0.5)
    return job


def _await_progress(job: Job, done: float) -> None:
    wait_until(lambda: job.status()["progress"] == done, WAIT_S, f"progress {done}")


def test_the_job_in_hand_ends_before_the_worker_does(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with reloaded(tmp_path, broker) as one:
        first = _worker(zmws_client)
        job = _running(zmws_client, str(gate))
        one.file.write_text(WORKER.replace("first", "second"))
        one.await_text("starts anew")
        gate.open("w").close()
        assert job.result(timeout=10) == "first"
        _worker(zmws_client, but=first)
        assert zmws_client.call("RELOADED", timeout=10) == "second"


def test_a_job_that_does_not_end_is_given_up(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    hurried = "from zmws.supervisor import reload; reload.PATIENCE_S = 0.5; from zmws.cli import main; main()"
    with reloaded(tmp_path, broker, [sys.executable, "-c", hurried]) as one:
        first = _worker(zmws_client)
        _running(zmws_client, "for ever")
        one.file.write_text(WORKER.replace("first", "second"))
        one.await_text("the job in hand has not ended within 0.5 s: it is given back")
        _worker(zmws_client, but=first)
        assert _gone(first)


def test_ctrl_c_ends_both_and_the_job_in_hand_is_finished(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with reloaded(tmp_path, broker) as one:
        worker = _worker(zmws_client)
        job = _running(zmws_client, str(gate))
        os.killpg(one.popen.pid, signal.SIGINT)  # as a terminal does
        one.await_text("told to end (SIGINT): the worker finishes the job in hand")
        gate.open("w").close()
        assert one.popen.wait(WAIT_S) == 0 and _gone(worker)
        assert job.result(timeout=10) == "first"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_one_who_watches_ends_both(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client, number: signal.Signals
) -> None:
    with reloaded(tmp_path, broker) as one:
        worker = _worker(zmws_client)
        one.popen.send_signal(number)
        assert one.popen.wait(WAIT_S) == 0 and _gone(worker)
        one.await_text("stopped: SIGTERM")  # the worker's own word


def test_a_second_ctrl_c_gives_the_job_up(tmp_path: Path, broker: RunningBroker, zmws_client: Client) -> None:
    with reloaded(tmp_path, broker) as one:
        worker = _worker(zmws_client)
        job = _running(zmws_client, "for ever")
        one.popen.send_signal(signal.SIGINT)
        _await_progress(job, 1)
        one.popen.send_signal(signal.SIGINT)
        assert one.popen.wait(WAIT_S) == 130 and _gone(worker)


def test_it_ends_by_a_signal_while_there_is_no_worker(tmp_path: Path, broker: RunningBroker) -> None:
    with reloaded(tmp_path, broker) as one:
        one.file.write_text("1 / 0\n")
        one.await_text("the worker has ended")
        one.popen.terminate()
        assert one.popen.wait(WAIT_S) == 0


@pytest.mark.parametrize("params", [None, "deaf"])
def test_the_worker_does_not_outlive_the_one_who_watches(
    tmp_path: Path, broker: RunningBroker, zmws_client: Client, params: str | None
) -> None:
    with reloaded(tmp_path, broker) as one:
        worker = _worker(zmws_client)
        if params is not None:
            zmws_client.submit("RELOADED", params)
            wait_until((tmp_path / "deaf").exists, what="the job")
        one.popen.kill()
        one.popen.wait(10)
        wait_until(lambda: _gone(worker), what="the worker to end")


# ---------------------------------------------------------------- what is a change


def test_only_python_files_of_the_author_are_changes(tmp_path: Path) -> None:
    ignored = ["var/a.py", "logs/a.py", "run/a.py", ".venv/a.py", "a/__pycache__/a.py", "a/notes.txt"]
    wanted = ["runner.py", "a/var/b.py", "a/b.py"]
    for name in [*ignored, *wanted]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    until = threading.Event()
    changes = _watcher([tmp_path], [tmp_path / name for name in ("var", "logs", "run")])(until)
    assert next(changes) == set()
    for name in [*ignored, *wanted]:
        (tmp_path / name).write_text("1\n")
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(next(changes))
        return len(seen) >= len(wanted)

    wait_until(all_seen, what="the changes")
    assert seen == {str(tmp_path / name) for name in wanted}
    until.set()
    assert list(changes) == []


@pytest.mark.parametrize(("program", "code"), [("exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_change_while_the_worker_starts_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, program: str, code: int
) -> None:
    done: list[str] = []

    def watch(until: threading.Event) -> Iterator[set[str]]:
        done.append("watched")
        yield set()
        until.set()

    class Child(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **given: Any) -> None:
            done.append("started")
            super().__init__(command, **given)

    monkeypatch.setattr(_Reloader, "_take_signals", lambda self: self._signals.append(signal.SIGTERM))
    monkeypatch.setattr("zmws.supervisor.reload.subprocess.Popen", Child)
    assert _Reloader([sys.executable, "-c", program])(watch) == code
    assert done == ["watched", "started"]


def test_a_folder_that_cannot_be_watched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*folders: Path, **_: object) -> Iterator[set[str]]:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", watch)
    with pytest.raises(ZmwsError, match=r"^cannot watch /one and /two: OS file watch limit reached$"):
        next(_watcher([Path("/one"), Path("/two")], [])(threading.Event()))


# ---------------------------------------------------------------- what is refused


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text(WORKER)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "watchfiles.py").write_text("raise ImportError('not installed')\n")
    ended = run("worker", "w.py", "--reload", cwd=tmp_path, PYTHONPATH=f"{hidden}{os.pathsep}{REPOSITORY}")
    needs = "zmws: --reload needs the library watchfiles: pip install 'zmws[reload]'\n"
    assert (ended.code, ended.out, ended.err) == (2, "", needs)


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    ended = run("worker", "w.py", "--reload", cwd=tmp_path)
    assert (ended.code, ended.err) == (2, f"zmws: there is no worker file {tmp_path / 'w.py'}\n")


def test_zmws_start_cannot_start_one_with_it(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text(WORKER)
    ended = run("worker", "w.py", "--reload", cwd=tmp_path, ZMWSPROCESS=str(tmp_path / "run" / "w.pid"))
    assert ended.code == 2 and "--reload is for a worker in the foreground" in ended.err


# ---------------------------------------------------------------- where there is no prctl

ELSEWHERE = """
import subprocess, sys
child = "import os, sys, time; sys.platform = 'darwin'; from zmws.supervisor.tied import tie_to; "
child += "tie_to(os.getppid()); print(os.getpid(), flush=True); time.sleep(60)"
subprocess.run([sys.executable, "-c", child])
"""


def test_elsewhere_than_on_linux_a_process_ends_with_its_parent_too() -> None:
    command = [sys.executable, "-c", ELSEWHERE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as popen:
        assert popen.stdout is not None
        pid = int(popen.stdout.readline())
        popen.kill()
        wait_until(lambda: _gone(pid), what="the process to end")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_parent_that_has_gone_before_is_noticed(platform: str) -> None:
    program = f"import sys, time; sys.platform = {platform!r}; from zmws.supervisor.tied import tie_to\n"
    program += "tie_to(1); time.sleep(60)"  # whoever starts it is another
    ended = subprocess.run([sys.executable, "-c", program], env=environment(), timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
