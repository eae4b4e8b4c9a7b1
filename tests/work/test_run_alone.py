"""zmws.work.run without a broker: the line is a script, and so is the time."""

from __future__ import annotations

import json
import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from zmws import WorkerBase
from zmws.dialog.worker import DialogSettings
from zmws.wire.messages import WorkerRequest
from zmws.work import Retry
from zmws.work import run as run_module
from zmws.work.attempt import Final
from zmws.work.declared import BadWorker
from zmws.work.job import JobInHand
from zmws.work.run import RECYCLED, Run

CALLS: list[str] = []  # what was called, in its order
Step = WorkerRequest | float | None | Callable[[], Any]


class Clock:
    now = 1000.0


class ScriptedLine:
    """Gives the jobs of a script, one after another: a number lets so many seconds pass without one."""

    script: list[Step] = []

    def __init__(self, service: str, brokers: Any, settings: Any, services: Any, *slots: Any) -> None:
        self.service, self.services = service, services
        self.dialog = SimpleNamespace(
            worker_id="w", stopping=False, drained=False, client_endpoint=None, broker="tcp://b:1"
        )
        self.dialog.settings = DialogSettings()
        self.unconfirmed, self.given_back, self.over, self.ended = 0, (), False, False
        self.fault: BaseException | None = None
        self.gets = 0
        self.idle_after_s = 15.0
        self.finished: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.stops: list[float | None] = []
        self.abandoned = False
        self.steps = list(self.script)

    def next(self, timeout_s: float | None) -> WorkerRequest | None:
        self.gets += 1
        if self.gets > 100:
            self.fault = AssertionError("it spins")
            raise self.fault
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, float):
                if timeout_s is None or timeout_s > step:
                    Clock.now += step
                    timeout_s = None if timeout_s is None else timeout_s - step
                    continue
                Clock.now += timeout_s
                self.steps.insert(0, step - timeout_s)
                raise queue.Empty
            if callable(step):
                step()
                continue
            return step
        return None

    def begin(self, token: bytes) -> bool:
        return True

    def look_around(self) -> None: ...

    def look(self, timeout_s: float) -> None:
        CALLS.append("look")

    def here(self) -> None:
        return None

    def start(self) -> None:
        CALLS.append("start")

    def stop(self, within_s: float | None = None) -> None:
        CALLS.append("stop")  # the I/O thread would take it up, later
        self.stops.append(within_s)

    def join(self, timeout_s: float) -> None:
        CALLS.append("join")

    def close(self) -> None:
        CALLS.append("close")

    def abandon(self, within_s: float) -> None:
        self.abandoned = True

    def finish(self, token: bytes, body: tuple[bytes, ...]) -> None:
        self.finished.append((token, body))

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None: ...

    def is_cancelled(self, token: bytes) -> bool:
        return False

    def lost(self, known: Any) -> None:
        return None


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    CALLS.clear()
    monkeypatch.setattr(Clock, "now", 1000.0)
    monkeypatch.setattr(run_module, "WorkerLine", ScriptedLine)
    monkeypatch.setattr(run_module, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    monkeypatch.setattr(run_module, "random", SimpleNamespace(random=lambda: 0.0))
    monkeypatch.setattr(ScriptedLine, "script", [])
    yield


class Called(WorkerBase):
    """Says what is called of it."""

    service_name = "A"

    def said(self, what: str) -> None:
        CALLS.append(f"{self.service_name} {what}")

    def setup(self) -> None:
        self.said("setup")

    def teardown(self) -> None:
        self.said("teardown")

    def idle(self) -> None:
        self.said(f"idle {Clock.now - 1000.0:g}")

    def work(self, job_id: str, params: Any) -> Any:
        self.said(f"work {job_id}")
        return self.service_name


class Second(Called):
    service_name = "B"


def job(service: str, job_id: str = "1") -> WorkerRequest:
    told = {"id": job_id, "service": service, "attempt": 1}
    return WorkerRequest(f"{job_id}/1/x".encode(), service, json.dumps(told).encode(), ())


def made(*workers: Any, script: list[Step] | None = None, **given: Any) -> tuple[Run, Any]:
    ScriptedLine.script = script or []
    given.setdefault("handle_signals", False)
    run = Run([(one() if isinstance(one, type) else one, None) for one in workers], ["tcp://b:1"], **given)
    return run, run.line


# ---------------------------------------------------------------- services


NOTHING: dict[str, Any] = {"defaults": {}, "params": {}, "slots": 1, "prefetch": 128}


def test_several_services_are_served_in_one_session() -> None:
    run, line = made(Called, Second, script=[job("B"), job("A", "2"), job("C", "3")])
    assert run.services == ["A", "B"] and line.services == {"A": NOTHING, "B": NOTHING}
    assert run.run() == 0
    (b, a, c) = line.finished
    assert b == (b"1/1/x", (b"COMPLETE", b'PARAM-JSON: "B"')) and a[1] == (b"COMPLETE", b'PARAM-JSON: "A"')
    assert b"this worker does not serve 'C'" in c[1][1]


def test_what_a_class_declares_is_told_and_that_it_declares_nothing_too() -> None:
    assert made(Called)[1].services == {"A": NOTHING}
    told = made(type("Told", (Called,), {"retries": 2}))[1].services
    assert told == {"A": NOTHING | {"defaults": {"retries": 2}}}


def test_two_classes_of_one_service_are_refused() -> None:
    with pytest.raises(BadWorker, match="two classes serve A; one process runs one of each service"):
        made(Called, type("Other", (Called,), {}))


# ---------------------------------------------------------------- begin and end


def test_setup_comes_before_the_registration_and_teardown_last_in_the_reverse_order() -> None:
    assert made(Called, Second, script=[job("A")])[0].run() == 0
    assert CALLS == [
        "A setup", "B setup", "start", "A work 1", "stop", "join", "close", "B teardown", "A teardown",
    ]  # fmt: skip


def test_a_setup_that_raises_ends_it_before_it_registers() -> None:
    class Fails(Second):
        def setup(self) -> None:
            raise OSError("no database")

    class Third(Called):
        service_name = "C"

    with pytest.raises(OSError, match="no database"):
        made(Called, Fails, Third)[0].run()
    assert CALLS == ["A setup", "close", "A teardown"]


def test_a_teardown_that_raises_keeps_no_other_from_its_own(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Second):
        def teardown(self) -> None:
            raise SystemExit("no")

    assert made(Called, Fails)[0].run() == 0
    assert CALLS[-1] == "A teardown" and "teardown() failed" in caplog.text


def test_coroutines_are_run_and_their_loop_lasts_until_the_teardown() -> None:
    import asyncio

    loops: list[Any] = []

    class Async(Called):
        async def setup(self) -> None:  # type: ignore[override]
            loops.append(asyncio.get_running_loop())

        async def teardown(self) -> None:  # type: ignore[override]
            loops.append(asyncio.get_running_loop())

    made(Async)[0].run()
    assert loops[0] is loops[1] and loops[0].is_closed()


# ---------------------------------------------------------------- idle


def test_idle_is_called_once_after_each_classs_own_time_and_again_after_a_job() -> None:
    class Quick(Called):
        idle_after = 2.0

    made(Quick, Second, script=[100.0, job("A"), 3.0, job("B", "2"), 1.0])[0].run()
    idles = [call for call in CALLS if " idle " in call or " work " in call]
    assert idles == ["A idle 2", "B idle 15", "A work 1", "A idle 102", "B work 2"]


def test_an_idle_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Called):
        def idle(self) -> None:
            raise SystemExit(1)

    _, line = runs = made(Fails, script=[100.0, job("A")])
    assert runs[0].run() == 0 and len(line.finished) == 1 and "idle() failed" in caplog.text


# ---------------------------------------------------------------- when it has done enough


def test_after_so_many_jobs_it_leaves_to_be_started_anew() -> None:
    class Few(Called):
        max_jobs = 2

    run, line = made(Few, script=[job("A", "1"), job("A", "2"), job("A", "3")])
    assert run.run() == RECYCLED
    assert line.stops[0] is None and CALLS.index("stop") == CALLS.index("A work 2") + 1
    assert line.stops == [None, None], "once for the limit, once at the end"


def test_a_log_that_nobody_reads_holds_up_no_other_jobs_end_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Few(Called):
        max_jobs = 1

    run, _ = made(Few)
    gate, reached = threading.Event(), threading.Event()

    def unread(level: int, text: str, *values: Any) -> None:
        reached.set()
        gate.wait(20)

    monkeypatch.setattr("zmws.work.run._say", unread)
    requests = [job("A", name) for name in "ab"]
    jobs = [JobInHand(run.line, request, "A") for request in requests]
    for request, one in zip(requests, jobs, strict=True):
        run._in_hand[request.token] = one
    first = threading.Thread(target=run._ended, args=(jobs[0], requests[0].token, 0.0, Final()))
    first.start()
    try:
        assert reached.wait(10), "it leaves, and says so"
        assert run._ending.acquire(timeout=0.5), "the other one's end waits for nobody"
        run._ending.release()
    finally:
        gate.set()
        first.join(10)


def test_at_its_age_it_leaves_also_while_there_is_no_job() -> None:
    class Short(Called):
        max_age = 5.0
        idle_after = 100.0

    run, _ = made(Short, script=[job("A"), 50.0])
    assert run.run() == RECYCLED and CALLS.count("stop") == 2


# ---------------------------------------------------------------- what the log has


def test_the_log_has_each_jobs_end_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    class Later(Retry):
        pass

    class Does(Called):
        def work(self, job_id: str, params: Any) -> Any:
            Clock.now += 1.5
            if job_id == "again":
                raise Later("busy")
            if job_id == "fails":
                raise KeyError("x")
            return job_id != "false"

    caplog.set_level(logging.INFO, "zmws.worker")
    made(Does, script=[job("A", name) for name in ("done", "again", "fails", "false")])[0].run()
    said: list[Any] = [record for record in caplog.records if record.job_id]
    lines = [(one.job_id, one.levelname, one.getMessage().partition("\n")[0]) for one in said]
    assert lines == [
        ("done", "INFO", "complete in 1.500 s"),
        ("again", "INFO", "after 1.500 s: busy"),
        ("fails", "WARNING", "failed (job_failed) after 1.500 s: KeyError: 'x'"),
        ("false", "WARNING", "failed (job_failed) after 1.500 s: work() returned False"),
    ]
    assert "> File" in said[2].getMessage() and said[2].service == "A"


def test_results_leave_before_the_lines_of_their_jobs_that_nobody_may_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Tells(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            CALLS.append(record.getMessage())

    monkeypatch.setattr("zmws.work.job_lines.MOMENT_S", 60.0)
    log, tells = logging.getLogger("zmws.worker"), Tells()
    caplog.set_level(logging.INFO, "zmws.worker")
    log.addHandler(tells)
    try:
        made(Called, script=[job("A")])[0].run()
    finally:
        log.removeHandler(tells)
    assert CALLS[-5:] == ["join", "close", "complete in 0.000 s", "A teardown", "stopped"]


def test_an_exception_out_of_nowhere_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def alarm() -> None:
        raise TimeoutError("an alarm of a job that has ended")

    run, line = made(Called, script=[job("A", "1"), alarm, job("A", "2")])
    assert run.run() == 0 and len(line.finished) == 2
    assert "after a job: the worker goes on" in caplog.text


# ---------------------------------------------------------------- signals


class Patient(Second):
    stop_timeout = 60.0


@pytest.mark.parametrize(
    ("numbers", "stops", "code"),
    [
        ([signal.SIGTERM], [60.0], 0),
        ([signal.SIGINT], [60.0], 0),
        ([signal.SIGHUP], [60.0], RECYCLED),
        ([signal.SIGINT, signal.SIGINT], [60.0, 0], 130),
        ([signal.SIGTERM, signal.SIGHUP], [60.0, 60.0], 0),
        ([signal.SIGTERM, signal.SIGTERM], [60.0, 60.0], 0),
    ],
)
def test_a_signal_stops_it_within_the_longest_time_of_its_classes(
    numbers: list[int], stops: list[float], code: int
) -> None:
    run, line = made(Called, Patient, handle_signals=True)
    run._connected = True
    assert run._signals is not None
    for number in numbers:
        run._signals.came.append(number)
        run._on_signal(number)
    for timer in run._timers:
        timer.cancel()
    assert line.stops == stops and run._code == code and len(run._timers) == 1


def test_a_job_that_hangs_makes_it_leave_unless_it_is_to_stay(caplog: pytest.LogCaptureFixture) -> None:
    run, line = made(Called, handle_signals=True)
    run._on_hang(b"1/1/x")
    assert line.abandoned and run._code == RECYCLED and "in test_a_job_that_hangs" in caplog.text
    for worker, signals in ((type("Stays", (Called,), {"on_hung": "stay"}), True), (Called, False)):
        run, line = made(worker, handle_signals=signals)
        run._on_hang(b"1/1/x")
        assert not line.abandoned and run._code == 0


def test_what_was_given_back_ends_with_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    for signals in (True, False):
        run, line = made(Called, handle_signals=signals)
        run._on_gone()
        line.given_back = (b"a/1/x",)
        run._on_gone()
    assert codes == [0], "but not the process of a test"


def test_the_stack_of_the_job_in_hand_is_told_and_of_no_other() -> None:
    told: list[Any] = []

    class Looks(Called):
        def work(self, job_id: str, params: Any) -> None:
            line.on_stack(b"2/1/x", told.append)
            line.on_stack(b"1/1/x", told.append)

    run, line = made(Looks, script=[job("A")])
    run.run()
    line.on_stack(b"1/1/x", told.append)
    assert len(told) == 1 and "in work" in told[0]


def test_each_worker_is_given_the_client_of_the_session() -> None:
    one, two = Called(), Second()
    run, _ = made(one, two, client="tcp://c:1")
    assert one.client_of is two.client_of is run._client


# ---------------------------------------------------------------- jobs ahead


def test_after_a_long_job_the_socket_is_read_before_the_next_begins() -> None:
    def long() -> None:
        Clock.now += 0.03

    def short() -> None:
        Clock.now += 0.01

    class Takes(Called):
        def work(self, job_id: str, params: Any) -> None:
            CALLS.append(job_id)
            (long if job_id == "2" else short)()

    run, _ = made(Takes, script=[job("A", "1"), job("A", "2"), job("A", "3")])
    run.run()
    assert [call for call in CALLS if call in ("1", "2", "3", "look")] == ["1", "2", "look", "3"]
