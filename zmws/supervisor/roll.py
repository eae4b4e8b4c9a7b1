"""Reading the settings file again, without an interruption: what is new starts, what is gone leaves, and what
has changed is rolled, one copy after the other.

Rule 1: the new process of a copy is ready before the old one is told to leave.
Rule 2: a new process that does not come up ends the roll: the old one goes on, and so do those that follow.
Rule 3: nothing is changed by a file that cannot be read.

Meanwhile two processes are of one copy. The new one is noted as NAME~new, then the old one as NAME~old;
should the supervisor die in between, the next one ends either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from zmws.errors import SettingsError
from zmws.supervisor.keeper import Event, State
from zmws.supervisor.kept import Kept, of_server
from zmws.supervisor.orders import Order, Rising, ScaleOrder, StartOrder, StopOrder, Tell, settings_asked
from zmws.supervisor.pidfile import NOTED_BESIDE
from zmws.supervisor.processes import SERVERS, Process

NEW, OLD = f"{NOTED_BESIDE}new", f"{NOTED_BESIDE}old"


class ReloadOrder(Order):
    """As the file says now."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._new: list[str] = []
        self._gone: list[str] = []
        self._to_roll: list[Process] = []
        self._rolling: str | None = None
        self._rolled: list[str] = []
        self._failed: dict[str, str] = {}
        self._notes: list[str] = []
        self._rising = Rising(kept, tell, (), 0.0, 0.0)

    def begin(self, now: float) -> None:
        asked, kept = self._asked, self.kept
        before, copies = kept.installation.settings, kept.keeper.copies
        known = settings_asked(kept, asked)
        scaled = known.scaled()
        if not asked["names"]:
            known.scale({})  # the counts of the file hold again
        named = {process.name for process in known.processes(False, True, asked["names"], with_spare=True)}
        processes = {process.name: process for process in known.processes(True, True, with_spare=True)}
        kept.plan_spare(known, asked["environ"])
        groups = {worker.name for worker in before.workers}
        workers = known.settings.workers
        kept.scaling = {
            one.name
            for one in workers
            if one.scale is not None and (one.name in kept.scaling or one.name not in groups)
        }
        kept.note_scaling()
        for name, copy in copies.items():
            process = processes.get(name)
            if not copy.wanted or NOTED_BESIDE in name:
                continue
            if name in SERVERS:
                if kept.servers_as.get(name) not in (None, of_server(name, known.settings)):
                    self._notes.append(f"the {name}'s settings have changed: a restart of it takes them up")
            elif process is None:
                if not asked["names"] or kept.group_of(name) in asked["names"]:
                    self._gone.append(name)
            elif copy.state in (State.WAITING, State.BACKOFF):
                kept.plan([process], asked["environ"])  # it starts as it is now, the next time
                if copy.state is State.BACKOFF:
                    self._new.append(name)
            elif (
                copy.state is not State.STOPPING
                and name in named
                and (asked["names"] or self._has_changed(process))
            ):
                self._to_roll.append(process)
        # What an operator has stopped, with all its copies, stays so.
        stopped = {process.group for name, process in processes.items() if name in kept.plans}
        stopped -= {kept.group_of(name) for name, copy in copies.items() if copy.wanted} | scaled.keys()
        for name, process in processes.items():
            is_known = process.group in stopped or (name in kept.plans and process.group not in scaled)
            if (
                not process.is_spare
                and not is_known
                and name in named
                and (name not in copies or not copies[name].wanted)
            ):
                self._new.append(name)
        kept.plan([processes[name] for name in self._new], asked["environ"])
        kept.keeper.retry(self._new, now)
        kept.keeper.want(self._new, now)
        self._rising = Rising(kept, self.tell, self._new, now, asked["timeout_s"])

    def answer(self, now: float) -> dict[str, Any] | None:
        kept = self.kept
        if not self._rising.is_over(now):
            return None
        copies = kept.keeper.copies
        # What is gone leaves when what is new is there, as after a change of the count from one to several.
        leaving = [name for name in self._gone if name in copies and copies[name].wanted]
        if leaving:
            kept.keeper.stop(leaving, now)
        if self._rolling is not None and not self._go_on(now):
            return None
        while self._to_roll and self._rolling is None:
            self._begin_roll(self._to_roll.pop(0), now)
        if self._rolling is not None or any(copies[name].lives for name in self._gone if name in copies):
            return None
        for name in self._gone:
            if name in copies and not copies[name].wanted:
                kept.drop(name)
        failed = {**self._rising.failed, **self._failed}
        return {
            "done": {
                "started": [name for name in self._new if name not in failed],
                "stopped": self._gone,
                "rolled": self._rolled,
                "failed": failed,
                "notes": self._notes,
            }
        }

    def deadline(self) -> float | None:
        return self._rising.deadline()

    def on_event(self, event: Event) -> None:
        self._rising.on_event(event)
        if event.what == "stopped" and event.name in self._gone:
            self.tell({"event": "stopped", "name": event.name, "killed": event.why == "KILLED"})

    def cancel(self, now: float) -> None:
        self._to_roll.clear()

    # ------------------------------------------------------------ one copy

    def _begin_roll(self, process: Process, now: float) -> None:
        kept, name = self.kept, process.name
        copy = kept.keeper.copies.get(name)
        if copy is None or not copy.wanted:
            return  # somebody has stopped it meanwhile
        self._rolling = name
        kept.plan([process], self._asked["environ"], noted_as=name + NEW)
        new = kept.keeper.copies[name + NEW]
        new.rules = replace(new.rules, start_retries=1, give_up=True)
        kept.keeper.want([name + NEW], now)

    def _go_on(self, now: float) -> bool:
        """Whether the roll of this copy is over."""
        kept, name = self.kept, self._rolling
        assert name is not None
        copies = kept.keeper.copies
        if name + OLD in copies:  # the new one is in its place
            if copies[name + OLD].lives:
                return False
            kept.drop(name + OLD)
            self._rolled.append(name)
            self.tell({"event": "rolled", "name": name})
            self._rolling = None
            return True
        new, old = copies.get(name + NEW), copies.get(name)
        if new is not None and new.state is State.RUNNING and old is not None and old.wanted:
            kept.swap(name, NEW, OLD)
            kept.keeper.stop([name + OLD], now)
            return False
        if new is not None and new.lives:
            if old is not None and old.wanted and new.state is State.STARTING:
                return False
            kept.keeper.stop([name + NEW], now, 0.0)  # whoever has stopped the copy means this one, too
            return False
        self._failed[name] = kept.how_it_ended(name + NEW) or "was stopped meanwhile"
        self._failed |= {one.name: f"was not rolled, as {name} was not" for one in self._to_roll}
        self._to_roll.clear()
        for one, text in self._failed.items():
            self.tell({"event": "failed", "name": one, "text": text})
        if new is not None:
            kept.keeper.stop([name + NEW], now)
            kept.drop(name + NEW)
        self._rolling = None
        return True

    def _has_changed(self, process: Process) -> bool:
        plan = self.kept.plans.get(process.name)
        if plan is None or plan.process.worker is None or process.worker is None:
            return True
        ours, now = (
            replace(plan.process.worker, count=0, scale=None),
            replace(process.worker, count=0, scale=None),
        )
        return ours != now or plan.process.command != process.command or self.kept.is_stale(process)


_ORDERS: dict[str, type[StartOrder] | type[StopOrder] | type[ScaleOrder] | type[ReloadOrder]] = {
    "start": StartOrder,
    "stop": StopOrder,
    "scale": ScaleOrder,
    "reload": ReloadOrder,
}


_FIELDS = {
    "start": ("servers", "workers", "names", "timeout_s", "config", "environ"),
    "stop": ("servers", "workers", "names", "wait_s"),
    "scale": ("counts", "timeout_s", "config", "environ"),
    "reload": ("names", "timeout_s", "config", "environ"),
}
_FITS: dict[str, Callable[[Any], bool]] = {
    "servers": lambda value: isinstance(value, bool),
    "workers": lambda value: isinstance(value, bool),
    "names": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "timeout_s": lambda value: isinstance(value, (int, float)),
    "wait_s": lambda value: value is None or isinstance(value, (int, float)),
    "config": lambda value: value is None or isinstance(value, str),
    "counts": lambda value: isinstance(value, dict) and all(isinstance(one, int) for one in value.values()),
    "environ": lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value.values()),
}


def order_for(kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> Order:
    """The order that somebody asks for. Raises SettingsError for one that there is not."""
    verb = asked.get("verb")
    if not isinstance(verb, str) or verb not in _ORDERS:
        raise SettingsError(f"a supervisor knows {', '.join(_ORDERS)} and status, and not {verb!r}")
    for name in _FIELDS[verb]:
        if not _FITS[name](asked.get(name)):
            raise SettingsError(f"{verb}: {name} is {asked.get(name)!r}, which it cannot be")
    return _ORDERS[verb](kept, tell, asked)
