"""What a supervisor is asked to do: start and stop, each until it is done.

An order is begun once, and looked at after all that happens, until it gives its answer. Several go on at
once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zmws import settings
from zmws.errors import SettingsError
from zmws.supervisor.keeper import Event, State
from zmws.supervisor.kept import Kept
from zmws.supervisor.processes import BROKER, Installation
from zmws.supervisor.stop import chosen

GIVING_UP_S = 5.0

Tell = Callable[[dict[str, Any]], None]


class Order(ABC):
    """One command, and who has asked for it."""

    def __init__(self, kept: Kept, tell: Tell) -> None:
        self.kept = kept
        self.tell = tell

    @abstractmethod
    def begin(self, now: float) -> None:
        """Raises SettingsError for what cannot be done."""

    @abstractmethod
    def answer(self, now: float) -> dict[str, Any] | None:
        """The answer, if it is done."""

    def deadline(self) -> float | None:
        """When to look at it again, should nothing happen."""
        return None

    def on_event(self, event: Event) -> None:
        """Something happened to a copy."""
        del event

    def cancel(self, now: float) -> None:
        """Whoever has asked for it takes it back."""
        del now


class StartOrder(Order):
    """Start these, and wait until each is ready or fatal."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._until = 0.0
        self._names: list[str] = []
        self._before: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._given_up = False
        self._told_of: set[str] = set()  # that it has failed

    def begin(self, now: float) -> None:
        asked, kept = self._asked, self.kept
        environ = asked["environ"]
        config = Path(asked["config"]) if asked["config"] is not None else None
        known = settings.load(config, environ=environ, cwd=kept.installation.root, upward=False)
        kept.installation.settings = known
        wanted = Installation(known).processes(asked["servers"], asked["workers"], asked["names"])
        if asked.get("without_broker"):
            wanted = [process for process in wanted if process.name != BROKER]
        self._names = [process.name for process in wanted]
        self._until = now + asked["timeout_s"]
        copies = kept.keeper.copies
        self._before = {
            name: pid
            for name in self._names
            if name in copies and (pid := copies[name].pid) is not None and copies[name].wanted
        }
        ready = {name for name in self._before if copies[name].state is State.RUNNING}
        kept.plan([process for process in wanted if process.name not in ready], environ)
        kept.keeper.want(self._names, now)

    def answer(self, now: float) -> dict[str, Any] | None:
        pending = []
        for name in self._names:
            copy = self.kept.keeper.copies.get(name)
            if copy is None or not copy.wanted:
                self._failed.setdefault(name, "was stopped meanwhile")
            elif copy.state is State.RUNNING:
                self._failed.pop(name, None)
            elif not copy.is_fatal and not (copy.state is State.WAITING and self._broker_is_fatal()):
                pending.append(name)
        if self._given_up:
            lives = [name for name in self._new() if self.kept.keeper.copies[name].lives]
            return None if lives else {"done": self._told() | {"last": self.kept.is_idle()}}
        if pending and now < self._until:
            return None
        for name in self._names:
            copy = self.kept.keeper.copies.get(name)
            if name in pending:
                wrote = self.kept.what_it_writes(name)
                self._failed[name] = f"was not ready within {self._asked['timeout_s']:g} s{wrote}"
            elif copy is not None and copy.is_fatal:
                self._failed[name] = self.kept.how_it_ended(name)
            elif copy is not None and copy.state is State.WAITING:
                self._failed[name] = "waits for the broker"
            if name in self._failed:
                self._tell_of(name)
        return {"done": self._told()}

    def deadline(self) -> float | None:
        return self._until

    def on_event(self, event: Event) -> None:
        if event.name in self._names:
            self.tell({"event": event.what, "name": event.name})
            if event.what == "fatal":
                self._failed[event.name] = self.kept.how_it_ended(event.name)
                self._tell_of(event.name)

    def cancel(self, now: float) -> None:
        self._given_up = True
        self.kept.keeper.stop(
            [name for name in self._new() if name in self.kept.keeper.copies], now, GIVING_UP_S
        )
        self.tell({"event": "giving_up", "names": self._new()})

    def _new(self) -> list[str]:
        return [name for name in self._names if name not in self._before]

    def _broker_is_fatal(self) -> bool:
        copy = self.kept.keeper.copies.get(BROKER)
        return copy is not None and copy.is_fatal

    def _tell_of(self, name: str) -> None:
        if name not in self._told_of:
            self._told_of.add(name)
            self.tell({"event": "failed", "name": name, "text": self._failed[name]})

    def _told(self) -> dict[str, Any]:
        pids = {name: self.kept.children.pid(name) for name in self._new() if name not in self._failed}
        return {
            "wanted": self._names,
            "new": {name: pid for name, pid in pids.items() if pid is not None},
            "before": self._before,
            "failed": self._failed,
        }


class StopOrder(Order):
    """Stop these, and wait until each has ended."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._names: Sequence[str] = ()

    def begin(self, now: float) -> None:
        asked, copies = self._asked, self.kept.keeper.copies
        there = [name for name, copy in copies.items() if copy.wanted or copy.lives]
        self._names = chosen(
            self.kept.installation, there, asked["servers"], asked["workers"], asked["names"]
        )
        without_process = [name for name in self._names if not copies[name].lives]
        self.kept.keeper.stop(self._names, now, asked["wait_s"])
        for name in without_process:
            self.tell({"event": "stopped", "name": name, "killed": False})

    def answer(self, now: float) -> dict[str, Any] | None:
        copies = self.kept.keeper.copies
        if any(name in copies and copies[name].lives for name in self._names):
            return None
        return {"done": {"names": list(self._names), "last": self.kept.is_idle()}}

    def on_event(self, event: Event) -> None:
        if event.what == "stopped" and event.name in self._names:
            self.tell({"event": "stopped", "name": event.name, "killed": event.why == "KILLED"})


def order_for(kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> Order:
    """The order that somebody asks for. Raises SettingsError for one that there is not."""
    match asked.get("verb"):
        case "start":
            return StartOrder(kept, tell, asked)
        case "stop":
            return StopOrder(kept, tell, asked)
        case other:
            raise SettingsError(f"a supervisor knows start, stop and status, and not {other!r}")
