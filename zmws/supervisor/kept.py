"""The copies that a supervisor keeps: what the keeper decides is done here, with processes.

Rule: a copy is started as its plan says; the plan changes when somebody has asked to start it, and not
      because the settings file has changed meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from zmws import settings
from zmws.errors import ZmwsError
from zmws.settings.file import SNAPSHOT, SNAPSHOT_NEW
from zmws.settings.sections import SupervisorSettings
from zmws.supervisor.broker import address_of
from zmws.supervisor.children import Children, how, what_it_wrote
from zmws.supervisor.events import Event as TellEvent
from zmws.supervisor.events import LeftEnded
from zmws.supervisor.keeper import RECYCLED, End, Event, Keeper, Rules, Signal, Start
from zmws.supervisor.pidfile import NOTED_BESIDE, PidFile
from zmws.supervisor.processes import BROKER, GATEWAY, SERVERS, STOP_TIMEOUT_S, Installation, Process
from zmws.supervisor.stop import group_before, tidy

log = logging.getLogger("zmws.supervisor")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a copy is started: its process, and the environment of whoever has asked for it."""

    process: Process
    environ: Mapping[str, str]


def of_server(name: str, known: settings.Settings) -> tuple[object, ...]:
    """What of the settings the broker, or the gateway, reads when it starts."""
    if name == GATEWAY:
        return known.gateway, known.logs, known.broker.client
    return known.broker, known.store, known.logs, known.services, known.schedules


def log_left(event: TellEvent) -> None:
    """What one that died had started was ended."""
    if isinstance(event, LeftEnded):
        count = f"{event.count} process{'es' if event.count > 1 else ''}"
        log.info("ended %s that %s had left", count, event.name)


class Kept:
    """All of one installation. `tell` hears of each event, when it is known in full."""

    def __init__(self, installation: Installation, tell: Callable[[Event], None]) -> None:
        self.installation = installation
        self.keeper = Keeper(random.random)
        self.children = Children(installation)
        self.plans: dict[str, Plan] = {}
        self.scaling: set[str] = set()  # workers whose count follows what waits, by name
        self._hows: dict[str, str] = {}  # how a copy ended the last time, in words
        self._wrote: dict[str, str] = {}  # and what it had written last
        self._tell = tell
        self.servers_as: dict[str, object] = {}  # what of the settings they were started with
        self.address = address_of(installation)  # where the broker that runs is

    def take(self, known: settings.Settings, environ: Mapping[str, str]) -> Installation:
        """From now on these settings hold for what is started; the processes read a copy of their file.
        Raises ZmwsError; then those of before do."""
        if known.path is not None and known.path != self.installation.root / SNAPSHOT:
            new, kept = self.installation.root / SNAPSHOT_NEW, self.installation.root / SNAPSHOT
            try:
                shutil.copy(known.path, new)
                if replace(settings.load(new, environ=environ), path=known.path) != known:
                    raise ZmwsError(f"{known.path} was changed just now: try again")
                new.replace(kept)
            except OSError as wrong:
                raise ZmwsError(f"cannot write {kept}: {wrong.strerror}") from None
            self.installation.config = kept
        self.installation.settings = known
        broker = self.keeper.copies.get(BROKER)
        if broker is None or not (broker.wanted or broker.lives):
            self.address = address_of(self.installation)  # of a broker that another keeps
        return self.installation

    def stop_scaling(self, names: Sequence[str] | None, workers: bool) -> None:
        """The counts of these workers follow nothing any more; None: of all, if workers are meant."""
        self.scaling -= {name for name in self.scaling if (workers if names is None else name in names)}
        self.note_scaling()

    def note_scaling(self) -> None:
        """Whose count follows what waits is known to the next supervisor, too."""
        self.installation.note_scaling(self.scaling)

    def plan(self, processes: list[Process], environ: Mapping[str, str], noted_as: str | None = None) -> None:
        """Know how these are started. Who runs goes on as it is. `noted_as`: the name of a second process of
        this copy."""
        for process in processes:
            name = noted_as or process.name
            self.plans[name] = Plan(process, environ)
            if name in SERVERS:
                self.servers_as[name] = of_server(name, self.installation.settings)
            self.keeper.add(name, process.name == BROKER, self.rules_of(process))

    def plan_spare(self, installation: Installation, environ: Mapping[str, str]) -> None:
        """Know how those are started that run only while there is much to do."""
        processes = installation.processes(False, True, with_spare=True)
        self.plan([one for one in processes if one.is_spare and not self.children.pid(one.name)], environ)

    def swap(self, name: str, new: str, old: str) -> None:
        """The second process of a copy, `name` + `new`, takes the place of the first, now `name` + `old`.
        Raises ZmwsError."""
        try:
            for one, to in ((name, name + old), (name + new, name)):
                if self.children.pid(one) is not None:  # else it has just died
                    self.children.rename(one, to)
                self.keeper.rename(one, to)
                self.plans[to] = self.plans.pop(one)
        except OSError as wrong:
            raise ZmwsError(f"cannot write in {self.installation.run_dir}: {wrong.strerror}") from None
        self.keeper.copies[name].rules = self.rules_of(self.plans[name].process)

    def drop(self, name: str) -> None:
        """Nobody wants to know of this one any more."""
        if name in self.keeper.copies:
            self.keeper.forget(name)
        for held in (self.plans, self._hows, self._wrote):
            held.pop(name, None)

    def group_of(self, name: str) -> str:
        """The worker that this is a copy of."""
        plan = self.plans.get(name)
        return plan.process.group if plan is not None else group_before(name, {})

    def gateway_is_ready(self) -> bool:
        """It has noted that it listens."""
        return bool(PidFile(self.installation.run_dir, GATEWAY).was_noted("ready"))

    def is_stale(self, process: Process) -> bool:
        """Whether its file was changed after it had been started."""
        file = PidFile(self.installation.run_dir, process.name)
        return process.worker is not None and file.runs_older(process.worker.file)

    def rules_of(self, process: Process | None) -> Rules:
        """What holds for it. None: the settings do not name it."""
        given: SupervisorSettings = self.installation.settings.supervisor
        worker = process.worker if process is not None else None
        stop_timeout = worker.stop_timeout if worker is not None else None
        return Rules(
            ready_timeout_s=given.ready_timeout,
            start_retries=given.start_retries,
            give_up=given.give_up,
            restart_delay_max_s=given.restart_delay_max,
            restart_window_s=given.restart_window,
            stop_timeout_s=STOP_TIMEOUT_S if stop_timeout is None else stop_timeout,
            kill_after_s=given.kill_after,
        )

    def adopt(self, processes: Mapping[str, Process], environ: Mapping[str, str], now: float) -> list[str]:
        """Take over what runs, and forget what has died; the names. `processes`: those that the settings
        name. Raises ZmwsError."""
        adopted = []
        for name in self.installation.noted():
            pid = self.children.adopt(name)
            if pid is None:
                continue
            process = processes.get(name)
            if process is not None:
                self.plans[name] = Plan(process, environ)
            if name in SERVERS:
                self.servers_as[name] = of_server(name, self.installation.settings)
            self.keeper.add(name, name == BROKER, self.rules_of(process))
            self.keeper.adopt(name, pid, now)
            adopted.append(name)
        self.plan([one for one in processes.values() if one.name not in adopted], environ)
        died = [name for name in self.installation.noted() if name not in adopted and name in processes]
        workers = {one.name for one in self.installation.settings.workers if one.scale is not None}
        if adopted:
            # All of this was kept until a moment ago: so it is again.
            self.keeper.want(died, now)
            self.scaling = self.installation.scaling_noted() & workers
        # What was about to take another's place, or to leave it, when the supervisor died.
        leaving = [
            name
            for name in adopted
            if NOTED_BESIDE in name or PidFile(self.installation.run_dir, name).was_noted("stops")
        ]
        self.keeper.stop(leaving, now)
        tidy(self.installation, [name for name in self.installation.noted() if name not in adopted], log_left)
        return adopted

    def carry_out(self) -> None:
        """Do what the keeper has decided, until it wants nothing more."""
        while outputs := self.keeper.take():
            for output in outputs:
                if isinstance(output, Start):
                    self._start(output.name)
                elif isinstance(output, Signal):
                    self._signal(output.name, signal.Signals[output.signal])
                else:
                    self._happened(output)

    def look_for_the_gone(self, now: float) -> None:
        """Take note of those that have ended."""
        for gone in self.children.gone():
            copy = self.keeper.copies[gone.name]
            recycled = gone.code == RECYCLED and gone.meant_it
            text = "ended" if gone.code is None else how(gone.code)
            if copy.killing:
                text = f"was killed: {copy.killing}"
            process = gone.name.partition(NOTED_BESIDE)[0]
            self._hows[gone.name] = text
            log_from = self.children.log_from(gone.name)
            self._wrote[gone.name] = what_it_wrote(self.installation, process, log_from)
            ended = self.children.forget(gone.name, ends_what_is_left=not recycled)
            if ended:
                log_left(LeftEnded(gone.name, ended))
            self.keeper.ended(
                gone.name, End(gone.code, now, gone.peak_bytes, meant=gone.meant_it, was_ready=gone.was_ready)
            )
            self.carry_out()

    def how_it_ended(self, name: str, with_log: bool = True) -> str:
        """What became of the last process of a copy, to be put behind its name; "" if none has ended."""
        return self._hows.get(name, "") + (self._wrote.get(name, "") if with_log else "")

    def what_it_writes(self, name: str) -> str:
        """The end of the log of a copy that runs, to be put behind what is told of it."""
        if self.children.pid(name) is None:
            return ""
        process = name.partition(NOTED_BESIDE)[0]
        return what_it_wrote(self.installation, process, self.children.log_from(name))

    def is_idle(self) -> bool:
        """Nothing runs, and nothing is to run."""
        return not self.scaling and not any(one.wanted or one.lives for one in self.keeper.copies.values())

    def _start(self, name: str) -> None:
        copy, now = self.keeper.copies[name], time.monotonic()
        plan = self.plans.get(name)
        if plan is None:  # it was taken over, and the settings do not name it
            log.warning("%s has ended, and is not started again: the settings do not name it", name)
            self.keeper.stop([name], now)
            return
        if not copy.wanted:
            return
        if copy.is_broker:
            with contextlib.suppress(ZmwsError):
                self.address = settings.address("client", self.installation.config, plan.environ)
        try:
            pid = self.children.start(plan.process, plan.environ, noted_as=name)
        except ZmwsError as wrong:
            text = str(wrong).removeprefix(f"cannot start {plan.process.name}: ")
            self._hows[name], self._wrote[name] = f"cannot be started: {text}", ""
            self.keeper.ended(name, End(None, now, why=str(wrong)))
            return
        self.keeper.started(name, pid, now)

    def _signal(self, name: str, number: signal.Signals) -> None:
        if number == signal.SIGTERM:
            with contextlib.suppress(OSError):
                PidFile(self.installation.run_dir, name).note(stops=True)
        try:
            self.children.signal(name, number)
        except PermissionError:
            log.error("%s belongs to another user; stop it as that user", name)

    def _happened(self, event: Event) -> None:
        if event.what in ("stopped", "drained"):
            try:
                self.children.unnote(event.name)
            except ZmwsError as wrong:
                log.error("%s", wrong)
        name, how_it_ended = event.name, self._hows.get(event.name, "")
        wrote = self._wrote.get(event.name, "")
        again = "it is not tried again" if event.in_s is None else "starts again at once"
        if event.in_s:
            again = f"starts again in {event.in_s:.1f} s"
        match event.what:
            case "started":
                log.info("%s starts: process %s", name, self.children.pid(name))
            case "ready":
                log.info("%s is ready", name)
            case "died":
                log.warning("%s %s; %s%s", name, how_it_ended, again, wrote)
            case "fatal":
                deaths = self.keeper.copies[name].deaths_before_ready
                if deaths == self.keeper.copies[name].rules.start_retries:
                    log.error("%s is fatal: %s times it %s; %s%s", name, deaths, how_it_ended, again, wrote)
                else:
                    log.error("%s is fatal still: it %s; %s", name, how_it_ended, again)
            case "recycled":
                log.info("%s has done enough, and starts anew", name)
            case "drained":
                log.info("%s was sent away by an operator, and stays away", name)
            case "stopping":
                log.info("%s is to stop", name)
            case "stopped":
                log.info("%s has stopped%s", name, " (killed)" if event.why == "KILLED" else "")
            case "killing":
                log.error("%s is killed: %s", name, event.why)
        self._tell(event)
