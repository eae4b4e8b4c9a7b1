"""What peers say to each other, decoded: one class a message. `mdp` turns frames into these and back.

A message carries how it was said (`ReplyTo`, `Link`), so that its answer can be said the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# The socket a message came over, its routing id there, and whose connection it was: "" where nobody has
# proved anything (core/keys.py).
Peer = tuple[str, bytes, str]

# The dialects of docs/protocol.md.
NATIVE, BARE, PHP, STRICT = "native", "bare", "php", "strict"  # clients
RFC, PHP1, PHP2 = "rfc", "php1", "php2"  # workers
MDP01 = "mdp01"  # either: RFC 7


# ---------------------------------------------------------------- messages from and to clients


@dataclass(slots=True)
class ReplyTo:
    """How an answer goes back: the request's dialect, its envelope, whether its command was ASCII."""

    dialect: str
    envelope: tuple[bytes, ...]
    ascii: bool = False


@dataclass(slots=True)
class ClientRequest:
    """A client asks for a service. `options` is the body of OPTS-JSON, `body` what a worker gets."""

    service: str
    sync: bool
    options: bytes | None
    body: tuple[bytes, ...]
    reply_to: ReplyTo


@dataclass(slots=True)
class Accepted:
    """An asynchronous job is accepted: `JOB: ID SERVICE`."""

    service: str
    job_id: str
    durability: str
    existing: bool
    reply_to: ReplyTo


@dataclass(slots=True)
class ClientPartial:
    """A partial result. `plain`: the frames are a zmws worker's, whose PARAM-JSON a strict client
    gets without its prefix; a foreign worker's frames go as they are."""

    service: str
    job_id: str
    body: tuple[bytes, ...]
    plain: bool
    reply_to: ReplyTo


@dataclass(slots=True)
class Completed:
    """The job is done; `body` is its result."""

    service: str
    job_id: str
    body: tuple[bytes, ...]
    plain: bool
    reply_to: ReplyTo


@dataclass(slots=True)
class Failed:
    """The job failed, or (`job_made` False) the request was refused. `error` is the ERROR JSON."""

    service: str
    job_id: str | None
    error: bytes
    job_made: bool
    reply_to: ReplyTo


@dataclass(slots=True)
class Answer:
    """A reply of a service inside the broker: its frames as they are."""

    service: str
    body: tuple[bytes, ...]
    reply_to: ReplyTo


ToClient = Accepted | ClientPartial | Completed | Failed | Answer


# ---------------------------------------------------------------- messages from and to workers


@dataclass(slots=True)
class Link:
    """How a worker speaks: dialect, a `""` before its commands, ASCII commands, ours or foreign."""

    dialect: str = RFC
    empty: bool = False
    ascii: bool = False
    ours: bool = False


@dataclass(slots=True)
class ServiceInfo:
    """Of one service, as a worker tells: how many jobs of it it takes at once, and how many more ahead (None:
    as of all together), the options of its jobs where nobody gives others, and the JSON Schema of their
    parameters. These two are as they came; None: it does not say."""

    slots: int | None = None
    defaults: Any = None
    params: Any = None
    prefetch: int | None = None


@dataclass(slots=True)
class WorkerInfo:
    """What a worker of ours tells of itself in READY (docs/protocol.md, "The extensions")."""

    id: str
    holding: list[bytes] = field(default_factory=list)  # tokens of jobs that it has
    finished: list[bytes] = field(default_factory=list)  # tokens whose FINAL is not confirmed
    slots: int = 1  # jobs that it takes at once, of all its services
    services: dict[str, ServiceInfo] | None = None  # by name; None: READY's own, with all slots
    host: str = ""
    pid: int | None = None
    ping_s: float | None = None  # seconds between its PINGs
    prefetch: int = 0  # jobs that it may be sent before it can begin them


@dataclass(slots=True)
class Ready:
    """READY. `info` is our workers' extra frame, None for a foreign worker."""

    service: str
    info: WorkerInfo | None
    link: Link


@dataclass(slots=True)
class WorkerPartial:
    """PARTIAL: the token it is for, and its frames. `link`: how an answer would be said, None: as
    RFC 18 says."""

    token: bytes
    body: tuple[bytes, ...]
    link: Link | None = None


@dataclass(slots=True)
class WorkerFinal:
    """FINAL. `failed` is set where the dialect says it outside the body (PHP), else None. `link` as
    for PARTIAL."""

    token: bytes
    body: tuple[bytes, ...]
    failed: bool | None = None
    link: Link | None = None


@dataclass(slots=True)
class Heartbeat:
    """HEARTBEAT, either way, with the extension's frames (empty for foreign workers). `link` as for
    PARTIAL; not set on what the broker sends."""

    frames: tuple[bytes, ...] = ()
    link: Link | None = None


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT, either way."""


@dataclass(slots=True)
class WorkerRequest:
    """REQUEST: a job for a worker. `job` is the body of JOB-JSON, which only our workers get."""

    token: bytes
    service: str
    job: bytes
    body: tuple[bytes, ...]


FromWorker = Ready | WorkerPartial | WorkerFinal | Heartbeat | Disconnect
ToWorker = WorkerRequest | Heartbeat | Disconnect
FromPeer = ClientRequest | FromWorker

DISCONNECT = Disconnect()


# ---------------------------------------------------------------- what a worker says of a job (words.py)


@dataclass(slots=True)
class Report:
    """How an attempt ended, whatever way that came: by FINAL or by zmws.report. `value` is its result,
    `plain` as in Completed; of a failure `error` is the ERROR, and the rest what is to come of it: no
    `retry` at all, a `delay_s` of its own, and whether it is to `count`."""

    failed: bool
    value: tuple[bytes, ...] = ()
    plain: bool = True
    error: dict[str, Any] = field(default_factory=dict)
    retry: bool = True
    delay_s: float | None = None
    count: bool = True
    jobs: list[Any] = field(default_factory=list)  # of a result: what is to follow, as items of zmws.submit


@dataclass(slots=True)
class Partial:
    """A partial result; `plain` as in ClientPartial."""

    value: tuple[bytes, ...]
    plain: bool = True


@dataclass(slots=True)
class Progress:
    """How far it is, from 0 to 1, and in words."""

    done: float
    text: str | None = None


@dataclass(slots=True)
class Log:
    """A line of its log."""

    text: str


@dataclass(slots=True)
class Touch:
    """It may run so many seconds longer from now."""

    seconds: float


@dataclass(slots=True)
class Save:
    """What the next attempt is to be given: JSON as a text."""

    json: str


@dataclass(slots=True)
class Stack:
    """Where it is: the stack that was asked for."""

    text: str


Note = Partial | Progress | Log | Touch | Save | Stack


@dataclass(slots=True)
class Beat:
    """The words of a worker's HEARTBEAT: tokens that it holds, that it wants confirmed (None: it did not
    ask), that it will not begin; how many slots it has from now on; its memory."""

    holds: list[bytes] = field(default_factory=list)
    confirm: list[bytes] | None = None
    release: list[bytes] = field(default_factory=list)
    slots: int | None = None
    memory_bytes: int | None = None
