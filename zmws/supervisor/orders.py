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
from zmws.core.table import no_such
from zmws.errors import SettingsError
from zmws.settings.table import COPIES_MAX
from zmws.supervisor.keeper import Event, State
from zmws.supervisor.kept import Kept
from zmws.supervisor.pidfile import NOTED_BESIDE
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


class Rising:
    """Copies that are to become ready: waited for until each is, or cannot, or it takes too long."""

    def __init__(self, kept: Kept, tell: Tell, names: Sequence[str], now: float, timeout_s: float) -> None:
        self.names = names
        self.until = now + timeout_s
        self.failed: dict[str, str] = {}  # why, to be put behind its name
        self._kept, self._tell = kept, tell
        self._timeout_s = timeout_s
        self._told_of: set[str] = set()  # that it has failed
        self._is_over = False

    def deadline(self) -> float | None:
        """When to look again, should nothing happen."""
        return None if self._is_over else self.until

    def is_over(self, now: float) -> bool:
        """Whether nothing is to be waited for any more; then `failed` is whole."""
        pending = []
        copies = self._kept.keeper.copies
        if self._is_over:
            return True
        for name in self.names:
            copy = copies.get(name)
            if copy is None or not copy.wanted:
                self.failed.setdefault(name, "was stopped meanwhile")
            elif copy.state is State.RUNNING:
                self.failed.pop(name, None)
            elif copy.is_fatal:
                self.failed[name] = self._kept.how_it_ended(name)
            elif copy.state is State.WAITING and BROKER in copies and copies[BROKER].is_fatal:
                self.failed[name] = "waits for the broker"
            else:
                pending.append(name)
        if pending and now < self.until:
            return False
        for name in pending:
            wrote = self._kept.what_it_writes(name)
            self.failed[name] = f"was not ready within {self._timeout_s:g} s{wrote}"
        for name, text in self.failed.items():
            self._tell_failed(name, text)
        self._is_over = True
        return True

    def on_event(self, event: Event) -> None:
        """Something happened to a copy."""
        if event.name in self.names:
            if event.what in ("started", "ready"):
                self._tell({"event": event.what, "name": event.name})
            if event.what == "fatal":
                self._tell_failed(event.name, self._kept.how_it_ended(event.name))

    def _tell_failed(self, name: str, text: str) -> None:
        if name not in self._told_of:
            self._told_of.add(name)
            self._tell({"event": "failed", "name": name, "text": text})


class StartOrder(Order):
    """Start these, and wait until each is ready or fatal."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._before: dict[str, int] = {}  # those that ran, and their numbers
        self._wanted_before: set[str] = set()
        self._rising = Rising(kept, tell, (), 0.0, 0.0)
        self._given_up = False

    def begin(self, now: float) -> None:
        asked, kept = self._asked, self.kept
        known = settings_asked(kept, asked)
        wanted = known.processes(asked["servers"], asked["workers"], asked["names"])
        if asked.get("without_broker"):
            wanted = [process for process in wanted if process.name != BROKER]
        names = [process.name for process in wanted]
        self._rising = Rising(kept, self.tell, names, now, asked["timeout_s"])
        copies = kept.keeper.copies
        self._before = {
            name: pid
            for name in names
            if name in copies and (pid := copies[name].pid) is not None and copies[name].wanted
            # One that is just being tried again is none that runs.
            if copies[name].state is State.RUNNING or copies[name].adopted
        }
        self._wanted_before = {name for name in names if name in copies and copies[name].wanted}
        kept.plan([process for process in wanted if process.name not in self._before], asked["environ"])
        kept.plan_spare(known, asked["environ"])
        kept.scaling |= {
            worker.name
            for worker in known.settings.workers
            if worker.scale is not None
            and (worker.name in asked["names"] if asked["names"] else asked["workers"])
        }
        kept.note_scaling()
        kept.keeper.want(names, now)

    def answer(self, now: float) -> dict[str, Any] | None:
        if not self._given_up:
            return {"done": self._told()} if self._rising.is_over(now) else None
        copies = self.kept.keeper.copies
        if any(name in copies and copies[name].lives for name in self._begun()):
            return None
        return {"done": self._told() | {"last": self.kept.is_idle()}}

    def deadline(self) -> float | None:
        return self._rising.deadline()

    def on_event(self, event: Event) -> None:
        self._rising.on_event(event)

    def cancel(self, now: float) -> None:
        self._given_up = True
        self.kept.keeper.stop(self._begun(), now, GIVING_UP_S)
        self.tell({"event": "giving_up", "names": self._begun()})

    def _begun(self) -> list[str]:
        """Those that nobody had wanted before."""
        copies = self.kept.keeper.copies
        return [name for name in self._rising.names if name not in self._wanted_before and name in copies]

    def _told(self) -> dict[str, Any]:
        failed = self._rising.failed
        new = [name for name in self._rising.names if name not in self._before and name not in failed]
        pids = {name: self.kept.children.pid(name) for name in new}
        return {
            "wanted": list(self._rising.names),
            "new": {name: pid for name, pid in pids.items() if pid is not None},
            "before": self._before,
            "failed": failed,
        }


class Leaving:
    """Copies that are to stop: waited for until each has, whether it is wanted again by then or not."""

    def __init__(self, kept: Kept, tell: Tell, names: Sequence[str]) -> None:
        self.names = list(names)
        self._tell = tell
        copies = kept.keeper.copies
        self._left = {name for name in names if copies[name].wanted or copies[name].lives}

    def is_over(self) -> bool:
        """Whether all have stopped."""
        return not self._left

    def on_event(self, event: Event) -> None:
        """Something happened to a copy."""
        if event.what in ("stopped", "drained") and event.name in self._left:
            self._left.discard(event.name)
            self._tell({"event": "stopped", "name": event.name, "killed": event.why == "KILLED"})


class StopOrder(Order):
    """Stop these, and wait until each has ended."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._leaving = Leaving(kept, tell, ())

    def begin(self, now: float) -> None:
        asked, copies = self._asked, self.kept.keeper.copies
        there = [name for name, copy in copies.items() if copy.wanted or copy.lives]
        names = chosen(self.kept.installation, there, asked["servers"], asked["workers"], asked["names"])
        self._leaving = Leaving(self.kept, self.tell, names)
        self.kept.stop_scaling(asked["names"] if asked["names"] else None, asked["workers"])
        self.kept.keeper.stop(names, now, asked["wait_s"])

    def answer(self, now: float) -> dict[str, Any] | None:
        if not self._leaving.is_over():
            return None
        return {"done": {"names": self._leaving.names, "last": self.kept.is_idle()}}

    def on_event(self, event: Event) -> None:
        self._leaving.on_event(event)


class ScaleOrder(Order):
    """So many copies of these workers, until the file is read again."""

    def __init__(self, kept: Kept, tell: Tell, asked: Mapping[str, Any]) -> None:
        super().__init__(kept, tell)
        self._asked = asked
        self._rising = Rising(kept, tell, (), 0.0, 0.0)
        self._new: list[str] = []
        self._leaving = Leaving(kept, tell, ())
        self._is_left = False  # by whoever has asked for it

    def begin(self, now: float) -> None:
        asked, kept = self._asked, self.kept
        counts: dict[str, int] = {str(name): int(count) for name, count in asked["counts"].items()}
        known = settings_asked(kept, asked)
        workers = [worker.name for worker in known.settings.workers]
        for name, count in counts.items():
            if name not in workers:
                raise SettingsError(no_such(name, "worker of this installation", workers))
            if not 0 <= count <= COPIES_MAX:
                raise SettingsError(f"{name}={count}: there may be 0 to {COPIES_MAX} copies")
        before = known.scaled()
        known.scale({**before, **counts})
        try:
            known.processes(True, True, with_spare=True)
        except SettingsError:
            known.scale(before)  # two copies would have one name
            raise
        wanted = [one for one in known.processes(False, True) if one.group in counts]
        names = [process.name for process in wanted]
        copies = kept.keeper.copies
        self._new = [name for name in names if name not in copies or not copies[name].wanted]
        of_them = [name for name in copies if kept.group_of(name) in counts and NOTED_BESIDE not in name]
        self._leaving = Leaving(
            kept, self.tell, [name for name in of_them if copies[name].wanted and name not in names]
        )
        self._rising = Rising(kept, self.tell, self._new, now, asked["timeout_s"])
        kept.plan([process for process in wanted if process.name in self._new], asked["environ"])
        kept.keeper.want(self._new, now)
        kept.keeper.stop(self._leaving.names, now)

    def answer(self, now: float) -> dict[str, Any] | None:
        is_over = self._rising.is_over(now) and self._leaving.is_over()
        if not is_over and not self._is_left:
            return None
        failed = self._rising.failed
        started = [name for name in self._new if name not in failed]
        return {"done": {"started": started, "stopped": self._leaving.names, "failed": failed}}

    def deadline(self) -> float | None:
        return self._rising.deadline()

    def cancel(self, now: float) -> None:
        """What was begun goes on; nobody waits for it."""
        self._is_left = True

    def on_event(self, event: Event) -> None:
        self._rising.on_event(event)
        self._leaving.on_event(event)


def settings_asked(kept: Kept, asked: Mapping[str, Any]) -> Installation:
    """The installation with its settings as they are now for whoever asks. Raises SettingsError; then those
    of before go on."""
    config = Path(asked["config"]) if asked["config"] is not None else None
    known = settings.load(config, environ=asked["environ"], cwd=kept.installation.root, upward=False)
    Installation(known).processes(True, True)  # two of one name are told here
    return kept.take(known, asked["environ"])
