"""Which processes are to run, how each is, and what is done about it. Pure: no process is touched here.

    stopped -> waiting -> starting -> running          waiting: for the broker
                 ^           |           |
                 |        backoff <------+             it has ended, and is started again in a while
                 +-----------+
    any of them -> stopping -> stopped

Rule 1: workers start when the broker is ready, and the broker stops when no worker is stopping any more.
Rule 2: who ends after it was ready is started again: at once, then after 0.1 s, twice as long each time,
        until it has run for `restart_window_s`. Who leaves to be started anew (exit code 75) is, and nothing
        counts. Who was sent away by an operator (76, `zmws workers drain`) stays away until it is wanted.
Rule 3: who ends `start_retries` times before it is ready is fatal. That is told, and it is tried again as
        seldom as anything is; with `give_up` it is not tried again.
Rule 4: to stop is told first (SIGTERM), then a worker is asked to give back what it has in hand (SIGINT),
        then its group is killed.

Time is an argument, in seconds of a clock that never goes back. `take` gives what is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

RECYCLED, DRAINED = 75, 76  # exit codes of workers (zmws/work/run.py)
REMEMBERED_S = 600.0  # restarts are counted for so long

_DELAY_S = 0.1  # before the second restart
_JITTER = 0.2  # of a delay: copies that died together do not start together


class State(Enum):
    """How a copy is; the picture is above."""

    STOPPED = "stopped"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"


class Step(Enum):
    """How far a copy is with stopping; each is the signal that it was sent, or none."""

    HELD = None  # the broker, while workers are stopping
    TOLD = "SIGTERM"
    ASKED = "SIGINT"
    KILLED = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a copy; times in seconds."""

    ready_timeout_s: float
    start_retries: int
    give_up: bool
    restart_delay_max_s: float
    restart_window_s: float
    stop_timeout_s: float
    kill_after_s: float


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended. `code`: as waitpid has it, below 0 a signal; None: nobody knows, or it never was.
    `why`: what is known beside; `peak_bytes`: of its memory; `meant`: it has left by its own
    design; `was_ready`: the broker knew it, though nobody has seen that."""

    code: int | None
    at: float
    peak_bytes: int | None = None
    why: str = ""
    meant: bool = True
    was_ready: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """To do: start this one."""

    name: str


@dataclass(frozen=True, slots=True)
class Signal:
    """To do: send it this; SIGKILL goes to all of its group."""

    name: str
    signal: str


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a copy, to be told. `in_s`: when it is tried again."""

    name: str
    what: Literal[
        "started", "ready", "died", "fatal", "recycled", "drained", "stopping", "stopped", "killing"
    ]
    end: End | None = None
    in_s: float | None = None
    why: str = ""


Output = Start | Signal | Event


@dataclass(slots=True)
class Copy:
    """A process that is to run, or was."""

    name: str
    is_broker: bool
    rules: Rules
    state: State = State.STOPPED
    wanted: bool = False
    adopted: bool = False  # it was started by a supervisor before this one
    pid: int | None = None
    since: float = 0.0  # when it came into its state
    ready_at: float | None = None
    due_at: float | None = None  # when something is done about it, should nothing happen
    step: Step = Step.HELD
    killing: str = ""  # why it is being killed, without being stopped
    deaths_before_ready: int = 0
    delay_s: float = 0.0  # before the next restart
    wait_s: float | None = None  # how long its jobs may take to end, where somebody has said it
    restarts: list[float] = field(default_factory=list)
    last_end: End | None = None

    @property
    def is_fatal(self) -> bool:
        """It never came up."""
        return self.deaths_before_ready >= self.rules.start_retries

    @property
    def lives(self) -> bool:
        """There is a process."""
        return self.pid is not None

    def restarts_since(self, at: float) -> int:
        """How often it was restarted since then."""
        return sum(one >= at for one in self.restarts)


class Keeper:
    """All copies of an installation. `jitter`: a number from 0 to 1, by chance."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.copies: dict[str, Copy] = {}
        self._jitter = jitter
        self._outputs: list[Output] = []
        self._answers = False  # the broker does
        self._ticked_at = 0.0

    def take(self) -> list[Output]:
        """What is to be done, and has happened, since the last time; in order."""
        taken, self._outputs = self._outputs, []
        return taken

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, should nothing happen before."""
        return min((one.due_at for one in self.copies.values() if one.due_at is not None), default=None)

    # ------------------------------------------------------------ what is wanted

    def add(self, name: str, is_broker: bool, rules: Rules) -> Copy:
        """Know of this one, or that other rules hold for it."""
        if name in self.copies:
            self.copies[name].rules = rules
        else:
            self.copies[name] = Copy(name, is_broker, rules)
        return self.copies[name]

    def forget(self, name: str) -> None:
        """It is stopped, and nobody wants it any more."""
        assert not self.copies[name].lives, f"{name} runs"
        del self.copies[name]

    def rename(self, name: str, to: str) -> None:
        """It goes by another name from now on."""
        assert to not in self.copies, f"{to} is there"
        copy = self.copies.pop(name)
        copy.name = to
        self.copies[to] = copy

    def want(self, names: Iterable[str], now: float) -> None:
        """These are to run. Who is about to stop starts again afterwards; who has given up tries again."""
        for name in names:
            copy = self.copies[name]
            copy.wanted = True
            if copy.state is State.STOPPED or (copy.state is State.BACKOFF and copy.is_fatal):
                copy.deaths_before_ready, copy.delay_s = 0, 0.0
                self._move(copy, State.WAITING, now)
            elif copy.is_fatal:  # it is just being tried
                copy.deaths_before_ready, copy.delay_s = 0, 0.0
        self._settle(now)

    def retry(self, names: Iterable[str], now: float) -> None:
        """Those of these that wait for their next try are tried now, as if for the first time."""
        for name in names:
            copy = self.copies[name]
            if copy.state is State.BACKOFF:
                copy.deaths_before_ready, copy.delay_s = 0, 0.0
                self._move(copy, State.WAITING, now)
        self._settle(now)

    def stop(self, names: Iterable[str], now: float, wait_s: float | None = None) -> None:
        """These are not to run any more. `wait_s`: how long their jobs may take; None: stop_timeout_s."""
        for name in names:
            copy = self.copies[name]
            copy.wanted = False
            copy.wait_s = wait_s
            if copy.state is State.STOPPING and copy.step is Step.TOLD and copy.due_at is not None:
                # Whoever asks again may be in more of a hurry.
                copy.due_at = min(copy.due_at, now + self._patience_s(copy))
            elif copy.lives and copy.state is not State.STOPPING:
                copy.step = Step.HELD
                self._move(copy, State.STOPPING, now)
                self._outputs.append(Event(name, "stopping"))
            elif not copy.lives and copy.state is not State.STOPPED:
                self._move(copy, State.STOPPED, now)
                self._outputs.append(Event(name, "stopped", why=Step.TOLD.name))
        self._settle(now)

    def hurry(self, now: float) -> None:
        """Who is stopping does not finish what it has in hand, but gives it back."""
        for copy in self.copies.values():
            if copy.state is State.STOPPING and copy.step is Step.TOLD:
                copy.due_at = now
        self.tick(now)

    def kill(self, name: str, why: str, now: float) -> None:
        """It is to end at once, and to be started again."""
        copy = self.copies[name]
        if copy.lives and not copy.killing:
            copy.killing = why
            self._outputs += [Event(name, "killing", why=why), Signal(name, Step.KILLED.value)]
        del now

    # ------------------------------------------------------------ what has happened

    def adopt(self, name: str, pid: int, now: float) -> None:
        """It runs already, and is to go on."""
        copy = self.copies[name]
        copy.wanted, copy.adopted, copy.pid = True, True, pid
        self._move(copy, State.STARTING, now)

    def started(self, name: str, pid: int, now: float) -> None:
        """A process was started for it."""
        copy = self.copies[name]
        copy.pid, copy.adopted = pid, False
        self._outputs.append(Event(name, "started"))
        if not copy.wanted:  # it was not to run any more, meanwhile
            copy.step = Step.HELD
            self._move(copy, State.STOPPING, now)
            self._settle(now)

    def ready(self, name: str, now: float) -> None:
        """The broker answers, or knows this worker."""
        copy = self.copies[name]
        if copy.state is State.STARTING and not copy.killing:
            copy.deaths_before_ready = 0
            copy.ready_at = now
            self._move(copy, State.RUNNING, now)
            self._outputs.append(Event(name, "ready"))
            self._settle(now)

    def broker_answers(self, answers: bool, now: float) -> None:
        """Whether it does. While it does not, no worker can become ready, and none is late."""
        self._let_time_pass(now)
        self._answers = answers

    def ended(self, name: str, end: End) -> None:
        """Its process has ended, or there never was one."""
        copy, now = self.copies[name], end.at
        if copy.killing and not end.why:
            end = replace(end, why=copy.killing)
        was, copy.pid, copy.killing, copy.last_end = copy.state, None, "", end
        ran_s = 0.0 if copy.ready_at is None else now - copy.ready_at
        copy.ready_at = None
        if was is State.STOPPING:
            self._outputs.append(Event(name, "stopped", end, why=copy.step.name))
            self._move(copy, State.WAITING if copy.wanted else State.STOPPED, now)
        elif end.code == RECYCLED and end.meant and (was is State.RUNNING or end.was_ready):
            self._outputs.append(Event(name, "recycled", end))
            self._move(copy, State.WAITING, now)
        elif end.code == DRAINED and end.meant:
            copy.wanted = False
            self._outputs.append(Event(name, "drained", end))
            self._move(copy, State.STOPPED, now)
        elif was is State.RUNNING or end.was_ready:
            copy.deaths_before_ready = 0
            if ran_s >= copy.rules.restart_window_s:
                copy.delay_s = 0.0
            self._back_off(copy, end, now)
        else:
            copy.deaths_before_ready += 1
            copy.delay_s = max(copy.delay_s, _DELAY_S)
            self._back_off(copy, end, now)
        self._settle(now)

    def stood_still(self, stood_s: float) -> None:
        """For so long nobody could see whether a copy is ready: none is late for that."""
        for copy in self.copies.values():
            if copy.state is State.STARTING and copy.due_at is not None:
                copy.due_at += stood_s

    def tick(self, now: float) -> None:
        """A deadline has come."""
        self._let_time_pass(now)
        for copy in self.copies.values():
            if copy.due_at is None or copy.due_at > now:
                continue
            if copy.state is State.BACKOFF:
                self._move(copy, State.WAITING, now)
            elif copy.state is State.STARTING:
                copy.due_at = None
                self.kill(copy.name, f"it was not ready within {copy.rules.ready_timeout_s:g} s", now)
            elif copy.state is State.STOPPING:
                self._go_on_stopping(copy, now)
        self._settle(now)

    # ------------------------------------------------------------ one at a time

    def _back_off(self, copy: Copy, end: End, now: float) -> None:
        rules = copy.rules
        copy.restarts = [one for one in copy.restarts if one >= now - REMEMBERED_S] + [now]
        if copy.is_fatal:
            delay_s: float | None = None if rules.give_up else rules.restart_delay_max_s
        else:
            delay_s = copy.delay_s
            copy.delay_s = min(max(2 * delay_s, _DELAY_S), rules.restart_delay_max_s)
        if delay_s:
            delay_s *= 1 - _JITTER * self._jitter()
        self._move(copy, State.BACKOFF, now)
        copy.due_at = None if delay_s is None else now + delay_s
        self._outputs.append(Event(copy.name, "fatal" if copy.is_fatal else "died", end, delay_s))

    def _go_on_stopping(self, copy: Copy, now: float) -> None:
        after = {Step.HELD: Step.TOLD, Step.TOLD: Step.KILLED if copy.is_broker else Step.ASKED}
        copy.step = after.get(copy.step, Step.KILLED)
        wait_s = {Step.TOLD: self._patience_s(copy), Step.ASKED: copy.rules.kill_after_s}.get(copy.step)
        copy.due_at = None if wait_s is None else now + wait_s
        if copy.step is Step.TOLD:
            copy.since = now
        assert copy.step.value is not None
        self._outputs.append(Signal(copy.name, copy.step.value))

    @staticmethod
    def _patience_s(copy: Copy) -> float:
        return copy.rules.stop_timeout_s if copy.wait_s is None else copy.wait_s

    def _settle(self, now: float) -> None:
        """Rule 1, and what is to start at once."""
        copies = self.copies.values()
        workers_stop = any(one.state is State.STOPPING and not one.is_broker for one in copies)
        # A broker that nobody wants from here is another's to keep.
        broker_runs = all(one.state is State.RUNNING for one in copies if one.is_broker and one.wanted)
        for copy in copies:
            if copy.state is State.STOPPING and copy.step is Step.HELD:
                if not copy.is_broker or not workers_stop:
                    self._go_on_stopping(copy, now)
            elif copy.state is State.BACKOFF and copy.due_at is not None and copy.due_at <= now:
                self._move(copy, State.WAITING, now)
            if copy.state is State.WAITING and (copy.is_broker or broker_runs):
                self._move(copy, State.STARTING, now)
                self._outputs.append(Start(copy.name))

    def _move(self, copy: Copy, state: State, now: float) -> None:
        copy.state, copy.since = state, now
        copy.due_at = now + copy.rules.ready_timeout_s if state is State.STARTING else None

    def _let_time_pass(self, now: float) -> None:
        passed_s, self._ticked_at = now - self._ticked_at, now
        if not self._answers:
            for copy in self.copies.values():
                if copy.state is State.STARTING and not copy.is_broker and copy.due_at is not None:
                    copy.due_at += passed_s
