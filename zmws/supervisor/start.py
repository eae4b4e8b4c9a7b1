"""Starting processes: what can be known to fail before, and then the supervisor does it, which is started
where none runs.

Rule 1: what runs already is left alone.
Rule 2: one that cannot be started keeps no other from it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zmws.errors import SettingsError, ZmwsError
from zmws.supervisor.broker import address_of, client_of, look, unnoted
from zmws.supervisor.children import what_it_wrote
from zmws.supervisor.door import ENDING, Answer, Asked, NoSupervisor
from zmws.supervisor.events import GivingUp, HadDied, NotReady, RunsUnnoted, Tell
from zmws.supervisor.pidfile import is_ending
from zmws.supervisor.ports import ports_in_use
from zmws.supervisor.processes import BROKER, DIED, SUPERVISOR, Installation, Process
from zmws.supervisor.sessions import MARK

_POLL_S = 0.02
_ENDING_S = 5.0  # for a process that was killed to go
_BEGINS_S = 20.0  # for the supervisor to answer


@dataclass(frozen=True, slots=True)
class Started:
    """The names asked for; by name the numbers of those that were started, and of all that ran before, and
    why one is not ready."""

    wanted: list[str]
    new: dict[str, int]
    before: dict[str, int]
    failed: dict[str, str]


def start(
    installation: Installation,
    servers: bool,
    workers: bool,
    names: Sequence[str],
    timeout_s: float,
    tell: Tell,
) -> Started:
    """Start these processes, or those parts of the installation, and wait until each is ready, or fatal, for
    `timeout_s` at most. What is interrupted is stopped again.

    Raises SettingsError for an unknown name, and ZmwsError where it is known before that nothing can start.
    """
    elsewhere = before_start(installation, servers, workers, names, tell)
    if not installation.processes(servers, workers, names, with_spare=True):
        return Started([], {}, {}, {})
    asked = {
        "verb": "start",
        "servers": servers,
        "workers": workers,
        "names": list(names),
        "timeout_s": timeout_s,
        "without_broker": elsewhere is not None,
    }
    for answer in ask(installation, asked, tell):
        if answer.get("event") == "failed":
            tell(NotReady(answer["name"], answer["text"]))
        elif "done" in answer:
            done = Started(**answer["done"])
            if elsewhere is not None:
                done.wanted.insert(0, BROKER)
                done.before[BROKER] = elsewhere
            return done
    raise AssertionError("the last answer is done, or an error")


def before_start(
    installation: Installation, servers: bool, workers: bool, names: Sequence[str], tell: Tell
) -> int | None:
    """What can be known to fail before anything is started. The number of a broker of this installation that
    runs, and that nobody has noted, if it is meant too. Raises as `start`."""
    wanted = installation.processes(servers, workers, names)
    address_of(installation)  # where nobody can ask the broker, nobody knows when it is ready
    installation.made().close()
    await_ending(installation)
    before = installation.running()
    elsewhere = _check_before(installation, [process for process in wanted if process.name not in before])
    if elsewhere is not None:
        tell(RunsUnnoted(elsewhere))
    had_died = [one for one in map(installation.state, (p.name for p in wanted)) if one.state == DIED]
    if had_died:
        tell(HadDied(tuple(had_died)))
    return elsewhere


def ask(installation: Installation, command: Mapping[str, Any], tell: Tell) -> Iterator[Answer]:
    """What the supervisor answers to a command that goes on with the settings and the environment of this
    process; one is started where there is none. An interruption takes the command back.

    Raises ZmwsError, SettingsError for settings that the supervisor cannot use.
    """
    whole = whole_command(installation, command)
    launched: _Launched | None = None
    until = time.monotonic() + _BEGINS_S
    try:
        while True:
            try:
                asked = Asked(installation.run_dir, whole)
            except NoSupervisor:
                if launched is None or launched.has_left_it_to_another():
                    launched = launched or _Launched(installation)
                if time.monotonic() > until:
                    raise ZmwsError(f"the supervisor does not begin{launched.what_it_wrote()}") from None
                time.sleep(_POLL_S)
                continue
            with contextlib.closing(asked):
                try:
                    yield from _all_of(asked, tell)
                    return
                except _IsEnding:
                    asked.until_it_ends(_BEGINS_S)
    finally:
        if launched is not None:
            launched.close()


def whole_command(installation: Installation, command: Mapping[str, Any]) -> dict[str, Any]:
    """A command with what it goes on with: the settings and the environment of this process."""
    config = installation.settings.path
    environ = {name: text for name, text in os.environ.items() if name != MARK}
    return {**command, "config": None if config is None else str(config), "environ": environ}


class _IsEnding(Exception):
    """That supervisor takes no more commands, and has begun nothing."""


def _all_of(asked: Asked, tell: Tell) -> Iterator[Answer]:
    came = False
    try:
        for answer in asked.answers():
            if answer.get("code") == ENDING:
                raise _IsEnding
            if "error" in answer:
                kind = SettingsError if answer["code"] == "bad_settings" else ZmwsError
                raise kind(answer["error"])
            came = True
            yield answer
    except NoSupervisor:
        if not came:
            raise _IsEnding from None
        raise
    except KeyboardInterrupt:
        asked.cancel()
        for answer in asked.answers():
            if answer.get("event") == "giving_up":
                tell(GivingUp(tuple(answer["names"])))
            elif answer.get("done", {}).get("last"):
                asked.until_it_ends(_BEGINS_S)
        raise


class _Launched:
    """A supervisor that this process has started."""

    def __init__(self, installation: Installation) -> None:
        known = installation.settings
        command = [sys.executable, "-P", "-m", "zmws.supervisor", str(installation.root)]
        command += [str(known.path)] if known.path is not None else []
        environ = {name: text for name, text in os.environ.items() if name != MARK}
        self._of = installation
        file = installation.log_file(SUPERVISOR)
        try:
            with file.open("ab") as log:
                self._log_from = log.tell()
                self._process = subprocess.Popen(
                    command,
                    cwd=installation.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.PIPE,  # until it has opened its log, which may not be possible
                    start_new_session=True,
                    env=environ,
                )
        except OSError as wrong:
            raise ZmwsError(f"cannot start the supervisor: {wrong.strerror}: {wrong.filename}") from None

    def close(self) -> None:
        """Read no more of what it says before it has a log."""
        assert self._process.stderr is not None
        self._process.stderr.close()

    def has_left_it_to_another(self) -> bool:
        """Whether it has ended, as it does where another is at work. Raises ZmwsError if none is."""
        code = self._process.poll()
        if code is None:
            return False
        try:
            Asked(self._of.run_dir, {"verb": "status"}).close()
        except NoSupervisor:
            if code != 0:
                raise ZmwsError(f"the supervisor has ended{self.what_it_wrote()}") from None
        return True

    def what_it_wrote(self) -> str:
        """What it said before it had a log, or the end of that."""
        assert self._process.stderr is not None
        pipe, said = self._process.stderr.fileno(), b""
        while select.select([pipe], [], [], 0)[0] and (part := os.read(pipe, 4096)):
            said += part
        if said.strip():
            return f": {said.decode(errors='replace').strip().removeprefix('zmws: ')}"
        return what_it_wrote(self._of, SUPERVISOR, self._log_from)


def _check_before(installation: Installation, new: list[Process]) -> int | None:
    """The broker's addresses are free, or workers find a broker; else as `before_start`."""
    if any(process.name == BROKER for process in new):
        taken = ports_in_use(installation.settings)
        if taken:
            runs_unnoted = unnoted(installation)
            if runs_unnoted is not None:
                return runs_unnoted
            there = look(installation)
            if there.what == "another":
                raise ZmwsError(
                    f"the broker at {there.address} is of another installation (process {there.pid}); stop "
                    "it there, or choose other addresses in etc/zmws.toml"
                )
            raise ZmwsError(
                f"another program has the address of {', '.join(taken)}; stop it, or choose other addresses "
                "in etc/zmws.toml"
            )
    elif new:
        with client_of(installation, 1.0) as client:
            client.ask("zmws.stats")
    return None


def await_ending(installation: Installation) -> None:
    """Wait for those that were killed a moment ago: they are as good as gone, but may hold their ports."""
    until = time.monotonic() + _ENDING_S
    while any(map(is_ending, installation.running().values())) and time.monotonic() < until:
        time.sleep(_POLL_S)
