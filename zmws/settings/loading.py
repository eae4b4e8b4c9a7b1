"""The file, the environment and the flags -> checked, frozen Settings.

Rule 1: a flag beats the environment, the environment beats the file, the file beats the default.
Rule 2: the whole file is checked, also where a flag overrides it, and every problem is told in one go.
Rule 3: an installation is a folder. Relative paths in the settings are relative to it.
Rule 4: who only connects reads no more than he needs: no file where the environment gives the address, and of
        a file neither services nor schedules, nor workers, whose files another machine need not have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.core.rows import ScheduleRow
from zmws.core.table import Unfit, checked, did_you_mean, no_such, unfit, value_in
from zmws.settings.addresses import Bound, place_taken, unknowable, within
from zmws.settings.file import Place, place_of
from zmws.settings.problems import Problems
from zmws.settings.schedules import schedules_in
from zmws.settings.sections import (
    BrokerSettings,
    GatewaySettings,
    LogsSettings,
    SecuritySettings,
    Settings,
    StoreSettings,
    SupervisorSettings,
    WorkerSettings,
)
from zmws.settings.services import services_in
from zmws.settings.table import LIMIT_FIELDS, LISTENING, SECTIONS, SETTINGS, VARIABLES
from zmws.settings.workers import workers_found, workers_in

# What Kubernetes and Docker set by themselves in every container beside a service "zmws-broker".
_OURS = tuple({f"ZMWS_{name.partition('.')[0].upper()}_" for name in SETTINGS})
_FOREIGN_VARIABLE = re.compile(r"ZMWS_[A-Z]+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")


def load(
    path: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    upward: bool = True,
) -> Settings:
    """The settings of the installation that `path` (a TOML file) belongs to, else of the one that the folder
    `cwd` is in: the nearest with an etc/zmws.toml, unless not `upward`; else of the folder itself.

    `flags` are settings by their full name, {"broker.client": "tcp://..."}; text is taken as from the
    environment and None means not given. `environ` is os.environ unless given. Raises SettingsError,
    whose message has a line for each problem.
    """
    place = place_of(path, cwd, upward)
    text, tree = place.read()
    problems = Problems(place.shown, text)
    given = _Given(place, problems)
    given.take_file(tree)
    given.take_environment(os.environ if environ is None else environ)
    given.take_flags(flags or {})
    given.check_together()
    services = services_in(tree.get("services", {}), problems)
    limits = given.limits()
    schedules = schedules_in(tree.get("schedules", []), limits, problems)
    if "workers" in tree:
        workers = workers_in(tree["workers"], place.root, problems)
    else:
        workers = workers_found(place.root, problems)
    problems.raise_if_any()
    # Jobs wait for workers that need not have come yet.
    for schedule in schedules:
        services.setdefault(schedule.service, ServiceOptions())
    for worker in workers:
        if worker.scale is not None and worker.service is not None:
            services.setdefault(worker.service, ServiceOptions())
    return _built(given.values, limits, services, schedules, workers, place)


def root_of(path: Path | None = None) -> Path:
    """The folder of the installation that `load(path)` would read; the file itself is not read.

    Raises SettingsError where `path` names no file.
    """
    return place_of(path, None).root


def address_checked(
    which: Literal["client", "worker"], path: Path | None, environ: Mapping[str, str], cwd: Path | None
) -> Bound:
    """As `connecting.bound`, with a look at all that might be wrong."""
    name, told_by = f"broker.{which}", f"ZMWS_BROKER_{which.upper()}"
    told = path is None and told_by in environ
    if told and not environ[told_by].startswith("ipc:"):
        # There is no path in it, and the current folder may be gone, as after a deployment.
        place = Place(None, Path(os.sep), "")
    else:
        place = place_of(path, cwd)
    text, tree = place.read() if not told else ("", {})
    problems = Problems(place.shown, text)
    given = _Given(place, problems)
    given.take_file(tree)
    given.take_environment(environ)
    problems.raise_if_any()
    given.check_to_connect(name)
    problems.raise_if_any()
    security = {key: given.values[f"security.{key}"] for key in ("curve", "key", "keys", "insecure")}
    root = place.root if place.path is not None or not told else None
    return Bound(given.values[name], security, root)


class _Given:
    """The values of the settings, by their full names: whoever is taken later beats who was taken before."""

    def __init__(self, place: Place, problems: Problems) -> None:
        self.values: dict[str, Any] = {name: row.default for name, row in SETTINGS.items()}
        self._sources: dict[str, str] = {}  # setting -> who gave it, as a problem with it begins
        self._place = place
        self._problems = problems

    def take_file(self, tree: dict[str, Any]) -> None:
        """What the file says, but for services, schedules and workers."""
        for section, table in tree.items():
            if section not in SECTIONS:
                self._problems.in_file((section,), _no_section(section, table))
            elif section in ("services", "schedules", "workers"):
                continue
            elif not isinstance(table, dict):
                self._problems.in_file((section,), f"'{section}' must be a table: [{section}]")
            else:
                for name, value in table.items():
                    self._take_key(section, name, value)

    def _take_key(self, section: str, name: str, value: Any) -> None:
        if name not in SECTIONS[section]:
            text = no_such(name, f"setting of [{section}]", SECTIONS[section])
            return self._problems.in_file((section, name), text)
        self._sources[f"{section}.{name}"] = self._place.shown
        try:
            self.values[f"{section}.{name}"] = self._checked(f"{section}.{name}", value)
        except Unfit as wrong:
            self._problems.in_file((section, name), str(wrong))
        return None

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """ZMWS_BROKER_CLIENT and the like; all others that begin so are told."""
        for variable, text in environ.items():
            if not variable.startswith(_OURS):
                continue
            source = f"environment variable {variable}"
            if variable in VARIABLES:
                self._take_text(VARIABLES[variable], text, source)
            elif not _FOREIGN_VARIABLE.fullmatch(variable):
                text = f"there is no such setting{did_you_mean(variable, VARIABLES)}"
                self._problems.elsewhere(source, text)

    def take_flags(self, flags: Mapping[str, object]) -> None:
        """Settings by their full names."""
        for name, value in flags.items():
            if name not in SETTINGS:
                text = f"there is no such setting{did_you_mean(name, SETTINGS)}"
                self._problems.elsewhere(f"flag {name}", text)
            elif value is not None:
                self._take_text(name, value, f"flag {name}")

    def _take_text(self, name: str, value: object, source: str) -> None:
        """From outside the file, where numbers may be text."""
        self._sources[name] = source
        typed = value_in(SETTINGS[name], value) if isinstance(value, str) else value
        try:
            self.values[name] = self._checked(name, typed)
        except Unfit as wrong:
            self._problems.elsewhere(source, str(wrong))

    def _checked(self, name: str, value: Any) -> Any:
        found = checked(name, SETTINGS[name], value)
        if name not in LISTENING:
            return found
        try:
            return within(found, self._place.root)
        except ValueError as expected:
            raise unfit(name, value, str(expected)) from None

    def check_together(self) -> None:
        """Nobody listens where another does, and a message fits into its outbox."""
        seen: dict[str, str] = {}
        for name in LISTENING:
            place = place_taken(self.values[name])
            if place is None:
                continue
            if place in seen:
                first = seen[place]
                self._wrong_of((name, first), f"{first} and {name} both use {place}; give each its own")
            seen.setdefault(place, name)
        message, outbox = "broker.message_bytes_max", "broker.outbox_bytes_max"
        if self.values[outbox] < self.values[message]:
            self._wrong_of((outbox, message), f"{outbox} must not be smaller than {message}")

    def limits(self) -> Limits:
        """What the core is bounded by."""
        return Limits(**{field: self.values[full] for full, field in LIMIT_FIELDS.items()})

    def check_to_connect(self, name: str) -> None:
        """It is known where to connect to."""
        if place_taken(self.values[name]) is None:
            self._wrong_of((name,), unknowable(name, self.values[name]))

    def _wrong_of(self, names: tuple[str, ...], message: str) -> None:
        """A problem of several settings, told of the first that somebody gave."""
        name = next((name for name in names if name in self._sources), None)
        if name is None:
            self._problems.elsewhere("settings", message)
        elif self._sources[name] == self._place.shown:
            self._problems.in_file(tuple(name.split(".")), message)
        else:
            self._problems.elsewhere(self._sources[name], message)


def _no_section(name: str, value: Any) -> str:
    home = next((key.partition(".")[0] for key in SETTINGS if key.partition(".")[2] == name), None)
    if home is not None and not isinstance(value, (dict, list)):
        return f"'{name}' is a setting of [{home}]: put it under that header"
    return no_such(name, "section", SECTIONS)


def _built(
    values: dict[str, Any],
    limits: Limits,
    services: dict[str, ServiceOptions],
    schedules: tuple[ScheduleRow, ...],
    workers: tuple[WorkerSettings, ...],
    place: Place,
) -> Settings:
    sections: dict[str, dict[str, Any]] = {
        name: {} for name in ("broker", "store", "gateway", "logs", "supervisor", "security")
    }
    for full, value in values.items():
        section, _, name = full.partition(".")
        if full not in LIMIT_FIELDS:
            sections[section][name] = value
    return Settings(
        broker=BrokerSettings(limits=limits, **sections["broker"]),
        store=StoreSettings(**sections["store"]),
        gateway=GatewaySettings(**sections["gateway"]),
        logs=LogsSettings(**sections["logs"]),
        supervisor=SupervisorSettings(**sections["supervisor"]),
        security=SecuritySettings(**sections["security"]),
        services=services,
        schedules=schedules,
        workers=workers,
        path=place.path,
        root=place.root,
    )
