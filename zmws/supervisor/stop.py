"""Stopping processes: by the supervisor, and where none runs those that are noted in run/; and forgetting
those that have died.

Rule 1: workers stop before the broker, so that their last results find it.
Rule 2: nothing that goes wrong with one keeps another from being stopped.
Rule 3: what a worker had started, and has left behind, is ended too: its job runs elsewhere, or is over.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from zmws.core.table import no_such
from zmws.errors import SettingsError, ZmwsError
from zmws.supervisor.broker import unnoted
from zmws.supervisor.door import ENDING, Asked, NoSupervisor
from zmws.supervisor.events import Ended, LeftEnded, Tell
from zmws.supervisor.pidfile import NOTED_BESIDE, PidFile, runs, send_signal
from zmws.supervisor.processes import BROKER, SERVERS, Installation
from zmws.supervisor.sessions import end_group, end_left

_POLL_S = 0.05
_COPY = re.compile(r"(_\d{2,}|-\d+)$")  # what a copy's name ends with, now or before
_SUPERVISOR_ENDS_S = 60.0
_TOLD, _ASKED, _KILLED = range(3)  # to end; to give back what it has in hand


def stop(
    installation: Installation,
    servers: bool,
    workers: bool,
    names: Sequence[str],
    wait_s: float | None,
    tell: Tell,
) -> int | None:
    """Stop these processes, or those parts of the installation. A worker that has not ended after `wait_s`
    seconds (None: its own stop_timeout) is asked to give back its job, which is no failure; who does not end
    then either is killed. The number of a broker that was meant too and still runs, for nobody has noted it;
    else None.

    Raises SettingsError for an unknown name, and as `end`.
    """
    chosen(installation, installation.noted(), servers, workers, names)
    if not _by_supervisor(installation, servers, workers, names, wait_s, tell):
        with installation.locked():
            ours = chosen(installation, installation.noted(), servers, workers, names)
            tidy(installation, ours, tell)
            running = installation.running()
            end(installation, [name for name in ours if name in running], wait_s, tell)
            if not installation.running():
                installation.scale({})
    return unnoted(installation) if (BROKER in names if names else servers) else None


def chosen(
    installation: Installation, noted: Sequence[str], servers: bool, workers: bool, names: Sequence[str]
) -> list[str]:
    """Which of the noted ones are meant. Raises SettingsError for an unknown name."""
    if not names:
        return [name for name in noted if (servers if name in SERVERS else workers)]
    group = {process.name: process.group for process in installation.processes(True, True, with_spare=True)}
    workers_named = {one.name for one in installation.settings.workers}
    known = {*noted, *group, *group.values(), *workers_named}
    for name in names:
        if name not in known:
            raise SettingsError(no_such(name, "process of this installation", sorted(known)))
    # Copies that the settings of before named are of the group, too.
    before = {name: group_before(name, group) for name in noted if name not in group}
    return [name for name in noted if {name, group.get(name), before.get(name)} & {*names}]


def group_before(name: str, group: Mapping[str, str]) -> str:
    """The worker that a copy is of which the settings do not name."""
    copy = name.partition(NOTED_BESIDE)[0]
    return group.get(copy, _COPY.sub("", copy))


def _by_supervisor(
    installation: Installation,
    servers: bool,
    workers: bool,
    names: Sequence[str],
    wait_s: float | None,
    tell: Tell,
) -> bool:
    """Whether there is one, which has stopped them. Raises ZmwsError."""
    which = {"servers": servers, "workers": workers, "names": list(names)}
    try:
        asked = Asked(installation.run_dir, {"verb": "stop", **which, "wait_s": wait_s})
    except NoSupervisor:
        return False
    fault: Exception | None = None
    with contextlib.closing(asked):
        for answer in asked.answers():
            if answer.get("event") == "stopped":
                try:
                    tell(Ended(answer["name"], answer["killed"]))
                except (ZmwsError, OSError) as wrong:
                    fault = fault or wrong
            elif "error" in answer and answer["code"] != ENDING:
                raise ZmwsError(answer["error"])
            elif "error" in answer or answer.get("done", {}).get("last"):
                asked.until_it_ends(_SUPERVISOR_ENDS_S)
    if fault is not None:
        raise fault
    return True


def end(
    installation: Installation,
    names: Sequence[str],
    wait_s: float | None,
    tell: Tell,
) -> None:
    """End these that run, workers first; those that have not ended after `wait_s` seconds (None: each after
    its own stop_timeout) are asked to give
    their jobs back, and then killed, with what their jobs have started. Each is told when it has ended.

    Raises ZmwsError (a pid file cannot be removed, a process is another user's), and what `tell` raised of
    ZmwsError and OSError: the first of these, when all have ended.
    """
    ending = _Ending(installation, tell)
    ending.end_together([name for name in names if name != BROKER], wait_s)
    ending.end_together([name for name in names if name == BROKER], wait_s)
    if ending.faults:
        raise ending.faults[0]


def tidy(installation: Installation, names: Sequence[str], tell: Tell) -> None:
    """Forget those of these that have died. What they had started is ended, and told. Raises ZmwsError."""
    for name in names:
        file = PidFile(installation.run_dir, name)
        if file.noted_at() is not None and file.running() is None:
            ended = _forget(file, file.noted())
            if ended:
                tell(LeftEnded(name, ended))


class _Ending:
    """Processes that are to end, and what goes wrong with that."""

    def __init__(self, installation: Installation, tell: Tell) -> None:
        self.faults: list[ZmwsError | OSError] = []
        self._of = installation
        self._run_dir = installation.run_dir
        self._tell = tell

    def end_together(self, names: Sequence[str], wait_s: float | None) -> None:
        # By what is noted now: who ends well removes his file himself, a little before he has gone.
        noted = {name: PidFile(self._run_dir, name).identity() for name in names}
        left = {name: identity for name, identity in noted.items() if identity is not None}
        for name in names:
            if name not in left:  # it has just ended
                self._ended(name, False, None)
        for name, identity in list(left.items()):
            try:
                if runs(identity):
                    send_signal(identity[0], signal.SIGTERM)
            except PermissionError:
                text = f"{name} (process {identity[0]}) belongs to another user; stop it as that user"
                self.faults.append(ZmwsError(text))
                del left[name]
        began = time.monotonic()
        due = {name: began + self._patience_s(name, wait_s) for name in left}
        step = dict.fromkeys(left, _TOLD)
        while left:
            for name, identity in list(left.items()):
                if not runs(identity):
                    self._ended(name, step[name] == _KILLED, identity[0])
                    del left[name]
                elif step[name] != _KILLED and time.monotonic() >= due[name]:
                    due[name] += self._of.settings.supervisor.kill_after
                    if step[name] == _TOLD and name != BROKER:
                        step[name] = _ASKED
                        send_signal(identity[0], signal.SIGINT)  # give back what you have in hand, and end
                    else:
                        step[name] = _KILLED
                        end_group(identity[0])
            if left:
                time.sleep(_POLL_S)

    def _patience_s(self, name: str, wait_s: float | None) -> float:
        return self._of.stop_timeout_s(name) if wait_s is None else wait_s

    def _ended(self, name: str, killed: bool, ends_left_of: int | None) -> None:
        self._try(lambda: _forget(PidFile(self._run_dir, name), ends_left_of))
        self._try(lambda: self._tell(Ended(name, killed)))

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (ZmwsError, OSError) as fault:
            self.faults.append(fault)


def _forget(file: PidFile, ends_left_of: int | None) -> int:
    """Remove the pid file of a process that has ended. `ends_left_of`: its number, if what it had started
    is to end too; gives back how many those were."""
    ended = end_left(ends_left_of, file.mark) if ends_left_of is not None else 0
    try:
        file.remove()
    except OSError as wrong:
        raise ZmwsError(f"cannot remove {wrong.filename}: {wrong.strerror}") from None
    return ended
