"""The settings as the program holds them: one frozen class for each section, and Settings over all.

Rule: the default of a setting stands here, or in core/limits.py (or addresses.py, which a client needs), and
      nowhere else in the code.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.core.rows import ScheduleRow
from zmws.core.schedule import definition
from zmws.settings.addresses import CLIENT, WORKER, is_loopback, names_in, parse_store_url, without_password

KIB, MIB, GIB = 1024, 1024**2, 1024**3

Flag = str | int | float | bool
Names = str | list[str] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """`[broker]`: where it listens and what bounds it. `mdp` is "" when it is turned off."""

    client: str = CLIENT
    worker: str = WORKER
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
    reserve_bytes: int = 16 * MIB
    free_bytes_min: int = 64 * MIB
    cache_bytes: int = 16 * MIB
    check: float = 2.0
    open_patience: float = 10.0
    search_time: float = 0.2
    causes_max: int = 1_000
    memory_bytes_max: int = 512 * MIB
    memory_ended_max: int = 100_000


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`[gateway]`: where HTTP is served, as HOST:PORT ("" when it is turned off), and what bounds it. Names
    and addresses are a list, or one text with commas between."""

    http: str = "127.0.0.1:5580"
    hosts: Names = ()
    origins: Names = ()
    trusted_proxies: Names = ()
    root_path: str = ""
    tokens: str = "var/tokens.json"
    login_for: float = 12 * 3600.0
    body_bytes_max: int = 8 * MIB
    header_bytes_max: int = 32 * KIB
    receive_timeout: float = 30.0
    send_timeout: float = 30.0
    keep_alive: float = 75.0
    sync_timeout: float = 60.0
    wait_max: float = 60.0
    reconnect_timeout: float = 15.0
    jobs_max: int = 10_000
    connections_max: int = 4_096
    streams_max: int = 2_500
    stream_ping: float = 15.0
    tracing: bool = False
    log_level: str = "info"

    def __post_init__(self) -> None:
        for name in ("hosts", "origins", "trusted_proxies"):
            object.__setattr__(self, name, names_in(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class LogsSettings:
    """`[logs]`: what becomes of a log that grows."""

    bytes_max: int = 50 * MIB
    files: int = 10
    format: str = "text"


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """`[supervisor]`: when processes are started again, and when they are ended."""

    ready_timeout: float = 60.0
    start_retries: int = 3
    give_up: bool = False
    restart_delay_max: float = 10.0
    restart_window: float = 60.0
    kill_after: float = 10.0
    silence_max: float = 30.0
    check_interval: float = 2.0


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """`[security]`: who may connect. `keys` is a folder, `key` a file, both relative to the installation."""

    curve: str = "auto"
    insecure: bool = False
    keys: str = "etc/keys"
    key: str = ""
    connections_per_address: int = 1_000
    topics_per_address: int = 256 * KIB
    handshake_timeout: float = 5.0
    ipc_mode: str = "0660"
    ipc_owner: str = ""
    ipc_group: str = ""

    def is_secured(self, endpoint: str) -> bool:
        """Whether peers at this endpoint prove who they are."""
        return self.curve == "on" or (self.curve == "auto" and not is_loopback(endpoint))


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """`count = { ... }`: how many copies run follows what waits."""

    min: int = 0
    max: int = 8
    target_wait: float = 2.0  # seconds: more copies when a job has waited for longer
    down_after: float = 30.0  # seconds that a copy was not needed before it goes
    memory_max: int | None = None  # bytes of all copies together, past which none is added
    cpu_max: int | None = None  # percent of the machine's processors in use, past which none is added


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One `[[workers]]`: a file of which `count` copies run. `name` names its logs and pid files."""

    name: str
    file: Path  # absolute
    service: str | None = None  # None: the one the file's class names
    count: int = 1
    flags: dict[str, Flag] = field(default_factory=dict)
    only: tuple[str, ...] = ()  # which of the workers that the file defines; none named: all
    env: dict[str, str] = field(default_factory=dict)  # beside the environment of whoever starts it
    cwd: Path | None = None  # absolute; None: the installation's folder
    user: str | None = None  # None: whoever starts it
    python: str | None = None  # absolute; None: the one that starts it
    priority: int | None = None  # niceness; None: as whoever starts it
    stop_timeout: float | None = None  # seconds; None: what its class says
    memory_max: int | None = None  # bytes; None: no bound
    scale: ScaleSettings | None = None  # `count` is its `min` then

    @property
    def what(self) -> str:
        """As `zmws worker` takes it: FILE, or FILE:NAME,NAME."""
        return f"{self.file}:{','.join(self.only)}" if self.only else str(self.file)

    def as_shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """An installation. `path` is its file, None where there is none; `root` its folder; both absolute."""

    broker: BrokerSettings
    store: StoreSettings
    gateway: GatewaySettings
    logs: LogsSettings
    supervisor: SupervisorSettings
    security: SecuritySettings
    services: dict[str, ServiceOptions]
    schedules: tuple[ScheduleRow, ...]  # those that stand in the file
    workers: tuple[WorkerSettings, ...]
    path: Path | None
    root: Path

    def as_shown(self) -> dict[str, Any]:
        """As JSON has it: sections and keys as in the file, and where that is."""
        return {
            "path": str(self.path) if self.path else None,
            "root": str(self.root),
            "broker": keys_of(self.broker),
            "store": keys_of(self.store) | {"url": without_password(self.store.url)},
            "gateway": keys_of(self.gateway),
            "logs": keys_of(self.logs),
            "supervisor": keys_of(self.supervisor),
            "security": keys_of(self.security),
            "services": {name: options.values() for name, options in self.services.items()},
            "schedules": [definition(schedule) for schedule in self.schedules],
            "workers": [worker.as_shown() for worker in self.workers],
        }

    @property
    def installation(self) -> str:
        """Tells this installation from others of this machine and of others, and tells nothing else of it."""
        # The folder of a container may have the name of another's on another machine.
        machine = _text_of(Path("/proc/sys/kernel/random/boot_id"))
        folder = os.fsencode(os.path.realpath(self.root))
        return hashlib.blake2b(machine.encode() + folder, digest_size=8).hexdigest()

    @property
    def keys_folder(self) -> Path:
        """Where key files lie. It need not exist."""
        return self.root / self.security.keys

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
        """The store's file, None where jobs are kept in memory or by a server. It need not exist yet."""
        path = parse_store_url(self.store.url).path
        return None if path is None else Path(os.path.normpath(self.root / path))


Section = (
    BrokerSettings | StoreSettings | GatewaySettings | LogsSettings | SupervisorSettings | SecuritySettings
)


def limit_key(field_name: str) -> str:
    """The key of `[broker]` that sets this field of Limits: the field's name without its unit."""
    return field_name.removesuffix("_s").replace("_s_", "_")


def keys_of(section: Section) -> dict[str, Any]:
    """The values of a section under the keys of the file."""
    held = asdict(section)
    limits = held.pop("limits", {})
    return held | {limit_key(name): value for name, value in limits.items()}


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
