"""The TOML file, the environment and the flags -> checked, frozen Settings (etc/zmws.toml).

Rule 1: a flag beats the environment, the environment beats the file, the file beats the default.
Rule 2: the whole file is checked, also where a flag overrides it, and every problem is told in one
        go: `FILE:LINE: what is wrong, and the nearest right word`.
Rule 3: an installation is a folder. Relative paths in the settings are relative to it.
Rule 4: a setting stands once, in KEYS; its default stands in the dataclass that holds it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from zmws.core.limits import Limits
from zmws.core.options import YEAR_S, ServiceOptions, service_options
from zmws.errors import OptionError, SettingsError
from zmws.toml_lines import line_numbers
from zmws.wire.names import is_reserved, service_name_fault

KIB, MIB, GIB = 1024, 1024**2, 1024**3
COUNT_MAX = 1_000_000_000  # libzmq takes counts as a C int
BYTES_MAX = 1024 * GIB
COPIES_MAX = 1_000
IPC_PATH_BYTES_MAX = 107  # sun_path of a Unix socket holds 108 with the final NUL
LOG_LEVELS = ("debug", "info", "warning", "error")

Flag = str | int | float | bool


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """`[broker]`: where it listens and what bounds it. `mdp` is "" when it is turned off."""

    client: str = "tcp://127.0.0.1:5555"
    worker: str = "tcp://127.0.0.1:5556"
    news: str = "tcp://127.0.0.1:5557"
    mdp: str = "tcp://127.0.0.1:5558"
    limits: Limits = field(default_factory=Limits)
    frames_max: int = 64
    outbox_bytes_max: int = 16 * MIB
    memory_max: int = 1 * GIB
    high_water_mark: int = 1_000
    descriptors_warn_percent: int = 80
    log_level: str = "info"

    @property
    def message_bytes_max(self) -> int:
        """Bytes of one frame; a larger one is cut off with its connection."""
        return self.limits.message_bytes_max


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`[store]`: where stored jobs are kept."""

    url: str = "sqlite:var/zmws.db"
    reserve_bytes: int = 16 * MIB  # of sqlite: kept free for the ends of jobs when the disk is full
    free_bytes_min: int = 64 * MIB  # of sqlite: with less room than this, new jobs are refused
    cache_bytes: int = 16 * MIB  # of sqlite: pages kept in memory
    check: float = 2.0  # of sqlite: seconds that the start looks for damage
    open_patience: float = 10.0  # of sqlite: seconds that the start waits for another program's lock
    memory_bytes_max: int = 512 * MIB  # of memory:, where new jobs are refused
    memory_ended_max: int = 100_000  # ended jobs that memory: keeps, the newest


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """What a store's url says. `path` is of sqlite only, as it was written."""

    scheme: Literal["sqlite", "memory"]
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`[gateway]`: where HTTP is served, as HOST:PORT."""

    http: str = "127.0.0.1:5580"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One `[[workers]]`: a file of which `count` copies run. `name` names its logs and pid files."""

    name: str
    file: Path  # absolute
    service: str | None = None  # None: the one the file's class names
    count: int = 1
    flags: dict[str, Flag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """An installation. `path` is its file, None where there is none; `root` its folder; both absolute."""

    broker: BrokerSettings
    store: StoreSettings
    gateway: GatewaySettings
    services: dict[str, ServiceOptions]
    workers: tuple[WorkerSettings, ...]
    path: Path | None
    root: Path

    @property
    def installation(self) -> str:
        """Tells this installation from others of this machine and of others, and tells nothing else of it."""
        # The folder of a container may have the name of another's on another machine.
        machine = _text_of(Path("/proc/sys/kernel/random/boot_id"))
        folder = os.fsencode(os.path.realpath(self.root))
        return hashlib.blake2b(machine.encode() + folder, digest_size=8).hexdigest()

    @property
    def run_dir(self) -> Path:
        """Where pid files lie. It need not exist yet."""
        return self.root / "run"

    @property
    def logs_dir(self) -> Path:
        """Where logs lie. It need not exist yet."""
        return self.root / "logs"

    @property
    def store_folder(self) -> Path:
        """The one folder of stores that is made where it is missing. It need not exist yet."""
        return self.root / "var"

    @property
    def store_path(self) -> Path | None:
        """The store's file, None where jobs are kept in memory. It need not exist yet."""
        path = parse_store_url(self.store.url).path
        return None if path is None else Path(os.path.normpath(self.root / path))


@dataclass(frozen=True, slots=True)
class Key:
    """One setting of `[broker]`, `[store]` or `[gateway]`: its default as TOML has it, and its check."""

    kind: Literal["endpoint", "address", "store", "choice", "int", "seconds", "bytes"]
    default: str | int | float
    low: float = 0  # of seconds: not allowed itself
    high: float = 0
    choices: tuple[str, ...] = ()
    word: str | None = None  # allowed besides what `kind` says, and means `word_value`
    word_value: str | None = None


def limit_key(field_name: str) -> str:
    """The key of `[broker]` that sets this field of Limits: the field's name without its unit."""
    return field_name.removesuffix("_s").replace("_s_", "_")


def load(
    path: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """The settings of the installation that `path` (a TOML file) belongs to, else of the folder `cwd`.

    `flags` are settings by their full name, {"broker.client": "tcp://..."}; text is taken as from the
    environment and None means not given. `environ` is os.environ unless given. Raises SettingsError,
    whose message has a line for each problem.
    """
    return _Loading(path, flags or {}, os.environ if environ is None else environ, cwd).settings()


def root_of(path: Path | None = None) -> Path:
    """The folder of the installation that `load(path)` would read; the file itself is not read.

    Raises SettingsError where `path` names no file.
    """
    return _places(path, None)[1]


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach the endpoint (or HOST:PORT); also true of "", turned off."""
    scheme, _, rest = endpoint.rpartition("://")
    if not endpoint or scheme in ("ipc", "inproc"):
        return True
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connectable(endpoint: str) -> str:
    """The address to connect to, of one that was bound: 0.0.0.0, * and [::] stand for every address."""
    for every, one in (("//0.0.0.0:", "//127.0.0.1:"), ("//*:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        endpoint = endpoint.replace(every, one)
    return endpoint


def service_name_problem(name: str) -> str | None:
    """What keeps `name` from being a service's name, or None."""
    if is_reserved(name):
        return f"the service name {_shown(name)} is reserved for the broker itself"
    return service_name_fault(name)


def parse_http(text: str) -> tuple[str, int]:
    """HOST and PORT of `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError that says what is expected."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or match["port"] == "*" or match["host"] == "*" or not _host_port_fits(match):
        raise ValueError("HOST:PORT, such as 127.0.0.1:5580")
    return match["host"].removeprefix("[").removesuffix("]"), int(match["port"])


def parse_store_url(url: str) -> StoreUrl:
    """What `[store] url` names. Raises ValueError that says what is expected."""
    scheme, separator, rest = url.partition(":")
    if url == "memory:":
        return StoreUrl("memory")
    if separator and scheme == "sqlite" and rest.startswith("//"):
        raise ValueError("sqlite:PATH, without slashes in front of the path that are not its own")
    if separator and scheme == "sqlite" and rest.isprintable() and rest.strip("/. ") and rest[-1] not in "/.":
        return StoreUrl("sqlite", Path(rest))
    raise ValueError("sqlite:PATH, such as sqlite:var/zmws.db, or memory:")


# ---- the table of settings ----


def _broker_keys() -> dict[str, Key]:
    own = BrokerSettings()
    keys = {
        "client": Key("endpoint", own.client),
        "worker": Key("endpoint", own.worker),
        "news": Key("endpoint", own.news),
        "mdp": Key("endpoint", own.mdp, word="", word_value=""),
        "message_bytes_max": Key("bytes", own.message_bytes_max, KIB, BYTES_MAX),
        "frames_max": Key("int", own.frames_max, 8, 65_536),
        "outbox_bytes_max": Key("bytes", own.outbox_bytes_max, 1, BYTES_MAX),
        "memory_max": Key("bytes", own.memory_max, 1, BYTES_MAX),
        "high_water_mark": Key("int", own.high_water_mark, 1, COUNT_MAX),
        "descriptors_warn_percent": Key("int", own.descriptors_warn_percent, 1, 100),
        "log_level": Key("choice", own.log_level, choices=LOG_LEVELS),
        # libzmq counts heartbeats in milliseconds in a C int: an hour times 100 fits.
        "heartbeat_interval": Key("seconds", own.limits.heartbeat_interval_s, 0, 3600),
        "foreign_heartbeat_interval": Key("seconds", own.limits.foreign_heartbeat_interval_s, 0, 3600),
        # With 1, a worker would be dead the moment its heartbeat is due.
        "heartbeat_liveness": Key("int", own.limits.heartbeat_liveness, 2, 100),
        # What comes in must be able to go out again, deeper in the stack; Python ends at 1,000 levels.
        "json_depth_max": Key("int", own.limits.json_depth_max, 8, 400),
        "reattach_grace": Key("seconds", "auto", 0, YEAR_S, word="auto", word_value=None),
    }
    for limit in fields(Limits):
        key = limit_key(limit.name)
        if key in keys:
            continue
        if key != limit.name:
            keys[key] = Key("seconds", getattr(own.limits, limit.name), 0, YEAR_S)
        elif "_bytes_" in limit.name:
            keys[key] = Key("bytes", getattr(own.limits, limit.name), 1, BYTES_MAX)
        else:
            keys[key] = Key("int", getattr(own.limits, limit.name), 1, COUNT_MAX)
    return keys


KEYS: dict[str, Key] = {
    **{f"broker.{name}": key for name, key in _broker_keys().items()},
    "store.url": Key("store", StoreSettings().url),
    "store.reserve_bytes": Key("bytes", StoreSettings().reserve_bytes, 0, BYTES_MAX),
    "store.free_bytes_min": Key("bytes", StoreSettings().free_bytes_min, 0, BYTES_MAX),
    "store.cache_bytes": Key("bytes", StoreSettings().cache_bytes, MIB, BYTES_MAX),
    "store.check": Key("seconds", StoreSettings().check, 0, 3600),
    "store.open_patience": Key("seconds", StoreSettings().open_patience, 0, 3600),
    "store.memory_bytes_max": Key("bytes", StoreSettings().memory_bytes_max, 1, BYTES_MAX),
    "store.memory_ended_max": Key("int", StoreSettings().memory_ended_max, 1, COUNT_MAX),
    "gateway.http": Key("address", GatewaySettings().http),
}
SECTIONS = ("broker", "store", "gateway", "services", "workers")
WORKER_KEYS = ("name", "file", "service", "count", "flags")
_DEFAULTS = {name: key.word_value if key.default == key.word else key.default for name, key in KEYS.items()}
_LIMIT_FIELDS = {f"broker.{limit_key(limit.name)}": limit.name for limit in fields(Limits)}
_STORE_FIELDS = tuple(setting.name for setting in fields(StoreSettings))
_VARIABLES = {"ZMWS_" + name.upper().replace(".", "_"): name for name in KEYS}
_LISTENING = ("broker.client", "broker.worker", "broker.news", "broker.mdp", "gateway.http")

assert set(_LIMIT_FIELDS) <= set(KEYS) and len(_LIMIT_FIELDS) == len(fields(Limits))
assert len(_VARIABLES) == len(KEYS)

# What Kubernetes and Docker set by themselves in every container beside a service "zmws-broker".
_FOREIGN_VARIABLE = re.compile(r"ZMWS_[A-Z]+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")

_HOST_PORT = re.compile(r"(?P<host>\*|[A-Za-z0-9_.-]+|\[[^\[\]]+\]):(?P<port>\*|[0-9]{1,5})")
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(\.[0-9]{1,6})?) *(?P<unit>B|KiB|MiB|GiB)?")
_UNITS = {None: 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_WORKER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FLAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# ---- loading ----


class _Loading:
    """One run of load(): gathers the problems, so that all are told at once."""

    def __init__(
        self, path: Path | None, flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path | None
    ) -> None:
        self.flags = flags
        self.environ = environ
        self.problems: list[tuple[int, str]] = []  # line, message; those without a line come last
        self.sources: dict[str, str] = {}  # setting -> who gave it, as a problem with it begins
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] | None = None  # found when a problem needs one
        self.path, self.root, self.shown = _places(path, cwd)

    def settings(self) -> Settings:
        tree = self._tree()
        values = {
            **_DEFAULTS,
            **self._file_values(tree),
            **self._environment_values(),
            **self._flag_values(),
        }
        self._check_together(values)
        services = self._services(tree.get("services", {}))
        if "workers" in tree:
            workers = self._workers(tree["workers"])
        else:
            workers = self._workers_found()
        if self.problems:
            raise SettingsError("\n".join(text for _, text in sorted(self.problems, key=lambda one: one[0])))
        return _built(values, services, workers, self.path, self.root)

    # -- problems --

    def _wrong(self, where: tuple[str | int, ...], message: str) -> None:
        line = self._line(where)
        self.problems.append((line, f"{self.shown}:{line}: {message}"))

    def _wrong_elsewhere(self, source: str, message: str) -> None:
        self.problems.append((_NO_LINE, f"{source}: {message}"))

    def _line(self, where: tuple[str | int, ...]) -> int:
        """Of the key, else of the nearest table around it."""
        if self.lines is None:
            self.lines = line_numbers(self.text)
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    # -- what is given where --

    def _tree(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            # A byte order mark is what some editors on Windows leave; TOML knows none.
            text = self.path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as wrong:
            # The decoder counts without the byte order mark; a mark holds no line end.
            line = wrong.object[: wrong.start].count(b"\n") + 1
            raise SettingsError(f"{self.shown}:{line}: the file is not UTF-8") from None
        except IsADirectoryError:
            raise SettingsError(f"{self.shown}: this is a folder; name the TOML file in it") from None
        except OSError as wrong:
            raise SettingsError(f"{self.shown}: cannot be read: {wrong.strerror}") from None
        try:
            tree = tomllib.loads(text)
        except RecursionError:
            raise SettingsError(f"{self.shown}: values are nested too deeply") from None
        except ValueError as wrong:  # TOMLDecodeError, and int() of thousands of digits
            found = re.search(r" \(at line (\d+), column (\d+)\)$", str(wrong))
            line = int(found[1]) if found else text.count("\n") + 1
            reason = re.sub(r" \(at (line \d+, column \d+|end of document)\)$", "", str(wrong))
            raise SettingsError(f"{self.shown}:{line}: this is not TOML: {reason}") from None
        self.text = text
        return tree

    def _file_values(self, tree: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for section, table in tree.items():
            if section not in SECTIONS:
                self._wrong((section,), _no_section(section, table))
            elif section in ("services", "workers"):
                continue
            elif not isinstance(table, dict):
                self._wrong((section,), f"'{section}' must be a table: [{section}]")
            else:
                for name, value in table.items():
                    values |= self._file_value(section, name, value)
        return values

    def _file_value(self, section: str, name: str, value: Any) -> dict[str, Any]:
        full, where = f"{section}.{name}", (section, name)
        if full not in KEYS:
            known = [key.partition(".")[2] for key in KEYS if key.startswith(section + ".")]
            self._wrong(where, f"{_shown(name)} is no setting of [{section}]{_nearest(name, known)}")
            return {}
        self.sources[full] = self.shown
        try:
            return {full: self._checked(full, value)}
        except ValueError as expected:
            self._wrong(where, f"{full} is {_shown(value)}, but must be {expected}")
            return {}

    def _environment_values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for variable, text in self.environ.items():
            if not variable.startswith(("ZMWS_BROKER_", "ZMWS_STORE_", "ZMWS_GATEWAY_")):
                continue
            if variable in _VARIABLES:
                values |= self._text_value(_VARIABLES[variable], text, f"environment variable {variable}")
            elif not _FOREIGN_VARIABLE.fullmatch(variable):
                near = _nearest(variable, list(_VARIABLES), cutoff=0.0)
                self._wrong_elsewhere(f"environment variable {variable}", f"there is no such setting{near}")
        return values

    def _flag_values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in self.flags.items():
            if name not in KEYS:
                near = _nearest(name, list(KEYS), cutoff=0.0)
                self._wrong_elsewhere(f"flag {name}", f"there is no such setting{near}")
            elif value is not None:
                values |= self._text_value(name, value, f"flag {name}")
        return values

    def _text_value(self, name: str, value: object, source: str) -> dict[str, Any]:
        """A value from outside the file, where numbers may be text."""
        self.sources[name] = source
        key = KEYS[name]
        typed = value
        if isinstance(value, str) and value != key.word and key.kind in ("int", "seconds"):
            try:
                typed = int(value) if key.kind == "int" else float(value)
            except ValueError:
                typed = value
        try:
            return {name: self._checked(name, typed)}
        except ValueError as expected:
            self._wrong_elsewhere(source, f"{name} is {_shown(value)}, but must be {expected}")
            return {}

    # -- the checks of one value --

    def _checked(self, name: str, value: Any) -> Any:
        """The value as Settings holds it. Raises ValueError that says what is expected."""
        key = KEYS[name]
        if key.word is not None and value == key.word:
            return key.word_value
        if key.kind == "endpoint":
            return self._checked_endpoint(value, may_be_off=key.word == "")
        if key.kind in ("int", "seconds", "bytes"):
            return _checked_number(key, value)
        if key.kind == "choice":
            if value not in key.choices:
                raise ValueError("one of " + ", ".join(key.choices))
            return value
        if not isinstance(value, str):
            raise ValueError("a text")
        if key.kind == "store":
            parse_store_url(value)
            return value
        assert key.kind == "address", key.kind
        parse_http(value)
        return value

    def _checked_endpoint(self, value: Any, may_be_off: bool) -> str:
        expected = "tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH" + (
            ', or "" for none' if may_be_off else ""
        )
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(expected)
        scheme, _, rest = value.partition("://")
        if scheme == "tcp":
            match = _HOST_PORT.fullmatch(rest)
            if match is None or not _host_port_fits(match):
                raise ValueError(expected)
            return value
        if scheme != "ipc" or not rest:
            raise ValueError(expected)
        if rest == "*" or rest.startswith("@"):  # libzmq: a name it makes up, an abstract socket of Linux
            return value
        socket_path = self.root / rest
        if len(os.fsencode(socket_path)) > IPC_PATH_BYTES_MAX:
            raise ValueError(f"a path of at most {IPC_PATH_BYTES_MAX} bytes, with the installation folder")
        return f"ipc://{socket_path}"

    def _check_together(self, values: dict[str, Any]) -> None:
        seen: dict[str, str] = {}
        for name in _LISTENING:
            place = _place_taken(values[name])
            if place is None:
                continue
            if place in seen:
                first = seen[place]
                self._wrong_of((name, first), f"{first} and {name} both use {place}; give each its own")
            seen.setdefault(place, name)
        message, outbox = "broker.message_bytes_max", "broker.outbox_bytes_max"
        if values[outbox] < values[message]:
            self._wrong_of((outbox, message), f"{outbox} must not be smaller than {message}")

    def _wrong_of(self, names: tuple[str, ...], message: str) -> None:
        """A problem of several settings, told of the first that somebody gave."""
        name = next((name for name in names if name in self.sources), None)
        if name is None:
            self._wrong_elsewhere("settings", message)
        elif self.sources[name] == self.shown:
            self._wrong(tuple(name.split(".")), message)
        else:
            self._wrong_elsewhere(self.sources[name], message)

    # -- services and workers --

    def _services(self, tables: Any) -> dict[str, ServiceOptions]:
        services: dict[str, ServiceOptions] = {}
        if not isinstance(tables, dict):
            self._wrong(("services",), "'services' must hold tables: [services.NAME]")
            return services
        for name, table in tables.items():
            if problem := service_name_problem(name):
                self._wrong(("services", name), problem)
            elif not isinstance(table, dict):
                self._wrong(("services", name), f"{_shown(name)} must be a table: [services.NAME]")
            else:
                services[name] = self._service(name, table)
        return services

    def _service(self, name: str, table: dict[str, Any]) -> ServiceOptions:
        good: dict[str, Any] = {}
        for option, value in table.items():
            try:
                service_options({option: value})
                good[option] = value
            except OptionError as wrong:
                self._wrong(("services", name, option), f"service {_shown(name)}: {wrong}")
        try:
            return service_options(good)
        except OptionError as wrong:  # each is right, and they contradict each other
            self._wrong(("services", name, wrong.option), f"service {_shown(name)}: {wrong}")
            return ServiceOptions()

    def _workers(self, tables: Any) -> tuple[WorkerSettings, ...]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._wrong(
                ("workers",), "'workers' must be tables in an array: write [[workers]], in double brackets"
            )
            return ()
        workers: list[WorkerSettings] = []
        for index, table in enumerate(tables):
            worker = self._worker(index, table)
            if worker is None:
                continue
            twin = next((other for other in workers if other.name == worker.name), None)
            if twin is not None:
                where = ("workers", index, "name" if "name" in table else "file")
                self._wrong(where, f"worker name {_shown(worker.name)} is used twice; give each its own name")
            workers.append(worker)
        return tuple(workers)

    def _worker(self, index: int, table: dict[str, Any]) -> WorkerSettings | None:
        where: tuple[str | int, ...] = ("workers", index)
        before = len(self.problems)
        for key in table:
            if key not in WORKER_KEYS:
                message = f"{_shown(key)} is no setting of [[workers]]{_nearest(key, WORKER_KEYS)}"
                self._wrong((*where, key), message)
        service = table.get("service")
        count = table.get("count", 1)
        if service is not None:
            problem = service_name_problem(service) if isinstance(service, str) else "service must be a text"
            if problem:
                self._wrong((*where, "service"), problem)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= COPIES_MAX:
            message = f"count is {_shown(count)}, but must be a whole number from 1 to {COPIES_MAX}"
            self._wrong((*where, "count"), message)
        flags = self._worker_flags(where, table.get("flags", {}))
        file = self._worker_file(where, table.get("file"))
        name = table.get("name", file.stem if file else None)
        if name is not None and (problem := _worker_name_problem(name)):
            hint = "" if "name" in table else '; give it one: name = "..."'
            self._wrong((*where, "name" if "name" in table else "file"), problem + hint)
        if len(self.problems) > before:
            return None
        assert isinstance(name, str) and file is not None
        return WorkerSettings(name, file, service, count, flags)

    def _worker_file(self, where: tuple[str | int, ...], value: Any) -> Path | None:
        if not isinstance(value, str) or not value or not value.isprintable():
            given = "has no file" if value is None else f"has the file {_shown(value)}"
            self._wrong((*where, "file"), f'the worker {given}; name one: file = "workers/reverse.py"')
            return None
        file = Path(os.path.normpath(self.root / value))
        try:
            if file.is_file():
                return file
            there = "is a folder" if file.is_dir() else "does not exist"
            beside = [str(Path(value).parent / one.name) for one in file.parent.glob("*.py")]
        except OSError as wrong:
            there, beside = f"cannot be read: {wrong.strerror}", []
        near = get_close_matches(value, beside, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f" (in {self.root})"
        self._wrong((*where, "file"), f"worker file {_shown(value)} {there}{hint}")
        return None

    def _worker_flags(self, where: tuple[str | int, ...], value: Any) -> dict[str, Flag]:
        if not isinstance(value, dict):
            self._wrong((*where, "flags"), "flags must be a table: flags = { name = value }")
            return {}
        for name, flag in value.items():
            if not _FLAG_NAME.fullmatch(name):
                self._wrong(
                    (*where, "flags", name), f"{_shown(name)} is no name of a flag; leave out the dashes"
                )
            elif not isinstance(flag, (str, int, float, bool)):
                message = f"flag {name} is {_shown(flag)}, but must be a text, a number, true or false"
                self._wrong((*where, "flags", name), message)
        return value

    def _workers_found(self) -> tuple[WorkerSettings, ...]:
        """One copy of each file of workers/: no settings file, or one that says nothing of workers, must not
        mean none."""
        folder = self.root / "workers"
        workers: list[WorkerSettings] = []
        for file in sorted(folder.glob("*.py")):
            if file.name.startswith(("_", ".")) or not file.is_file():
                continue
            if problem := _worker_name_problem(file.stem):
                self._wrong_elsewhere(str(file), f"{problem}; rename the file")
            workers.append(WorkerSettings(file.stem, file))
        return tuple(workers)


_NO_LINE = 2**31


def _places(path: Path | None, cwd: Path | None) -> tuple[Path | None, Path, str]:
    """The settings file (None: there is none), the installation's folder, and the file as shown."""
    try:
        here = Path.cwd() if cwd is None else cwd.absolute()
    except OSError as wrong:
        raise SettingsError(f"the current folder cannot be used: {wrong.strerror}") from None
    # normpath and not resolve(): a file or an etc/ that is a symbolic link belongs to the folder it is
    # seen in, not to the one it is kept in.
    if path is None:
        root = Path(os.path.normpath(here))
        file = root / "etc" / "zmws.toml"
        if not _is_there(file):
            return None, root, ""
        return file, root, "etc/zmws.toml" if cwd is None else str(file)
    file = Path(os.path.normpath(here / path))
    root = file.parent.parent if file.parent.name == "etc" else file.parent
    if not _is_there(file):
        raise SettingsError(f"{path}: there is no such file")
    return file, root, str(path)


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _is_there(file: Path) -> bool:
    """False only where there is nothing of that name: what cannot be looked at is told by reading it."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _built(
    values: dict[str, Any],
    services: dict[str, ServiceOptions],
    workers: tuple[WorkerSettings, ...],
    path: Path | None,
    root: Path,
) -> Settings:
    limits = Limits(**{name: values[key] for key, name in _LIMIT_FIELDS.items()})
    broker = {
        name.removeprefix("broker."): value
        for name, value in values.items()
        if name.startswith("broker.") and name not in _LIMIT_FIELDS
    }
    return Settings(
        broker=BrokerSettings(limits=limits, **broker),
        store=StoreSettings(**{name: values[f"store.{name}"] for name in _STORE_FIELDS}),
        gateway=GatewaySettings(http=values["gateway.http"]),
        services=services,
        workers=workers,
        path=path,
        root=root,
    )


def _checked_number(key: Key, value: Any) -> int | float:
    if key.kind == "bytes":
        expected = f'a size from {key.low:.0f} to {key.high:.0f} bytes, such as 1048576 or "1 MiB"'
        if isinstance(value, str) and (size := _SIZE.fullmatch(value.strip())):
            value = int(float(size["number"]) * _UNITS[size["unit"]])
    elif key.kind == "int":
        expected = f"a whole number from {key.low:.0f} to {key.high:.0f}"
    else:
        also = f', or "{key.word}"' if key.word is not None else ""
        expected = f"a number of seconds above {key.low:.0f}, up to {key.high:.0f}{also}"
    allowed = (int, float) if key.kind == "seconds" else (int,)
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise ValueError(expected)
    # Compared before float(), which cannot hold every int; a NaN is in no range.
    if not key.low <= value <= key.high or (key.kind == "seconds" and value == key.low):
        raise ValueError(expected)
    if key.kind == "seconds":
        return float(value)
    return value


def _host_port_fits(match: re.Match[str]) -> bool:
    """What the pattern cannot say: the port's range and the form of an address in brackets."""
    if match["port"] != "*" and int(match["port"]) > 65535:
        return False
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(match["host"][1:-1])
        except ValueError:
            return False
    return True


def _place_taken(endpoint: str) -> str | None:
    """What two sockets cannot share: a port, whatever the host, or a path. None: nothing."""
    scheme, _, rest = endpoint.rpartition("://")
    if scheme == "ipc":
        return None if rest == "*" else endpoint
    port = rest.rpartition(":")[2]
    # Port 0 and `*` are any free port.
    return None if port in ("", "*") or int(port) == 0 else f"port {int(port)}"


def _worker_name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not _WORKER_NAME.fullmatch(name) or len(name) > 100:
        # It names files and is given on the command line, so neither a path nor a dash in front.
        rule = "1 to 100 characters of A-Z a-z 0-9 _ . -, the first none of . -"
        return f"worker name {_shown(name)} must be {rule}"
    if name in ("broker", "gateway"):
        return f"worker name '{name}' is taken by the {name} itself"
    return None


def _no_section(name: str, value: Any) -> str:
    home = next((key.partition(".")[0] for key in KEYS if key.partition(".")[2] == name), None)
    if home is not None and not isinstance(value, (dict, list)):
        return f"'{name}' is a setting of [{home}]: put it under that header"
    return f"{_shown(name)} is no section{_nearest(name, SECTIONS)}"


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = f"'{value}'" if value.isprintable() else ascii(value)
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int) and abs(value) >= 10**30:
        text = "a number of more than 30 digits"
    elif isinstance(value, (dict, list)):
        text = "a table" if isinstance(value, dict) else "an array"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
