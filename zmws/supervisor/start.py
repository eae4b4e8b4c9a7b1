"""Starting processes, detached, and waiting until they are ready.

Rule 1: what runs already is left alone.
Rule 2: all that is to be started is ready at the end, or none of it runs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from zmws.errors import ZmwsError
from zmws.settings import missing
from zmws.supervisor.broker import address_of, client_of, unnoted
from zmws.supervisor.children import Children
from zmws.supervisor.events import GivingUp, HadDied, RunsUnnoted, Tell
from zmws.supervisor.pidfile import is_ending
from zmws.supervisor.ports import ports_in_use
from zmws.supervisor.processes import BROKER, DIED, Installation, Process
from zmws.supervisor.stop import end, tidy

_POLL_S = 0.05
_GIVING_UP_S = 5.0
_ENDING_S = 5.0  # for a process that was killed to go


class NotReady(ZmwsError):
    """Workers that were started are not known to the broker in time."""


@dataclass(frozen=True, slots=True)
class Started:
    """The names asked for, and by name the numbers of those that were started, and of all that ran before."""

    wanted: list[str]
    new: dict[str, int]
    before: dict[str, int]


def start(
    installation: Installation,
    servers: bool,
    workers: bool,
    names: Sequence[str],
    timeout_s: float,
    tell: Tell,
) -> Started:
    """Start these processes, or those parts of the installation, and wait until they are ready.

    Raises SettingsError for an unknown name, and ZmwsError when one cannot be started, ends at once, or is
    not ready within `timeout_s`; then all that was started has been stopped.
    """
    wanted = installation.processes(servers, workers, names)
    address_of(installation)  # where nobody can ask the broker, nobody knows when it is ready
    with installation.locked():
        await_ending(installation)
        died = [
            one for one in map(installation.state, (process.name for process in wanted)) if one.state == DIED
        ]
        if died:
            tell(HadDied(tuple(died)))
        tidy(installation, [process.name for process in wanted], tell)
        before = installation.running()
        new = [process for process in wanted if process.name not in before]
        elsewhere = _check_before(installation, new)
        if elsewhere is not None:
            tell(RunsUnnoted(elsewhere))
            before[BROKER] = elsewhere
            new = [process for process in new if process.name != BROKER]
        starting = _Starting(installation, timeout_s)
        try:
            starting.start(new)
        except BaseException:
            try:
                if starting.pids:
                    tell(GivingUp(tuple(starting.pids)))
            finally:
                _stop_again(installation, [process.name for process in new], tell)
            raise
    return Started([process.name for process in wanted], starting.pids, before)


def check_present(processes: Sequence[Process]) -> None:
    """What it takes to start these is there. Raises ZmwsError."""
    for process in processes:
        if process.worker is not None and (what := missing(process.worker)) is not None:
            raise ZmwsError(f"cannot start {process.name}: {what}")


def _check_before(installation: Installation, new: list[Process]) -> int | None:
    """What can be known to fail before anything is started. The number of a broker of this installation that
    runs in the foreground, if there is one. Raises ZmwsError."""
    check_present(new)
    if any(process.name == BROKER for process in new):
        taken = ports_in_use(installation.settings)
        if taken:
            runs_unnoted = unnoted(installation)
            if runs_unnoted is not None:
                return runs_unnoted
            raise ZmwsError(
                f"another program has the address of {', '.join(taken)}; if it is a broker of another "
                f"installation, stop it there, else choose other addresses in etc/zmws.toml"
            )
    elif new:
        with client_of(installation, 1.0) as client:
            client.ask("zmws.stats")
    return None


def _stop_again(installation: Installation, names: list[str], tell: Tell) -> None:
    # By their files: the interruption may have come before anybody knew the last one's number.
    running = installation.running()
    ours = [name for name in names if name in running]
    end(installation, ours, _GIVING_UP_S, lambda event: None, with_all_they_started=True)
    tidy(installation, names, tell)


class _Starting:
    """One start. `pids`: the numbers of those that it has started so far."""

    def __init__(self, installation: Installation, timeout_s: float) -> None:
        self.pids: dict[str, int] = {}
        self._of = installation
        self._children = Children(installation)
        self._timeout_s = timeout_s

    def start(self, new: list[Process]) -> None:
        for process in new:
            self.pids[process.name] = self._children.start(process)
            if process.name == BROKER:
                self._await_broker(self.pids[BROKER])
        names = [process.name for process in new if process.part == "worker"]
        if names:
            self._await_workers(names)

    def _await_broker(self, pid: int) -> None:
        """Until it answers. Raises ZmwsError with the end of its log if it has ended."""
        until = time.monotonic() + self._timeout_s
        with client_of(self._of, self._timeout_s) as client:
            asked = client.ask_future("zmws.stats")
            while True:
                self._children.raise_if_ended(BROKER)
                if asked.done():
                    # The answer may come from another broker at this address, while ours fails to bind it.
                    status, told = asked.result() if asked.exception() is None else (0, {})
                    if status == 200 and told.get("pid") == pid:
                        return
                    asked = client.ask_future("zmws.stats")
                if time.monotonic() > until:
                    wrote = self._children.what_it_wrote(BROKER)
                    raise ZmwsError(f"the broker was not ready within {self._timeout_s:g} s{wrote}")
                time.sleep(_POLL_S)

    def _await_workers(self, names: list[str]) -> None:
        """Until the broker knows each of these. Raises ZmwsError with the end of its log if one has ended."""
        until, host = time.monotonic() + self._timeout_s, socket.gethostname()
        with client_of(self._of, 2.0) as client:
            while True:
                # Another machine's worker may have the number of one of ours.
                registered = {(worker["host"], worker["pid"]) for worker in client.ask("zmws.workers")}
                missing = [name for name in names if (host, self.pids[name]) not in registered]
                if not missing:
                    return
                for name in missing:
                    self._children.raise_if_ended(name)
                if time.monotonic() > until:
                    raise NotReady(f"not ready within {self._timeout_s:g} s: {', '.join(missing)}")
                time.sleep(_POLL_S)


def await_ending(installation: Installation) -> None:
    """Wait for those that were killed a moment ago: they are as good as gone, but may hold their ports."""
    until = time.monotonic() + _ENDING_S
    while any(map(is_ending, installation.running().values())) and time.monotonic() < until:
        time.sleep(_POLL_S)
