"""Every setting: its section and name, its kind and unit, its bounds, its default, and one comment.

Rule 1: a setting stands once, here, and etc/zmws.toml shows it with the same default and comment. The default
        is that of the class that holds it (sections.py, core/limits.py).
Rule 2: the options of services and what defines a schedule are tables of the core (core/options.py,
        core/schedule.py), and core/table.py checks all of them.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from zmws.core.limits import Limits
from zmws.core.options import SERVICE_OPTIONS
from zmws.core.schedule import SCHEDULE
from zmws.core.table import Row
from zmws.settings.addresses import (
    check_endpoint,
    parse_hosts,
    parse_http,
    parse_mode,
    parse_networks,
    parse_origins,
    parse_root_path,
    parse_store_url,
)
from zmws.settings.sections import (
    GIB,
    KIB,
    MIB,
    BrokerSettings,
    GatewaySettings,
    LogsSettings,
    Section,
    SecuritySettings,
    StoreSettings,
    SupervisorSettings,
    keys_of,
    limit_key,
)

COUNT_MAX = 1_000_000_000  # libzmq takes counts as a C int
BYTES_MAX = 1024 * GIB
COPIES_MAX = 1_000
HOUR_S = 3600.0
LOG_LEVELS = ("debug", "info", "warning", "error", "D", "I", "W", "E")  # the letters are the PHP program's


def _endpoint(comment: str, **more: Any) -> Row:
    return Row("parsed", comment, parse=check_endpoint, **more)


def _seconds(comment: str, high: float | None = None, word: str | None = None) -> Row:
    return Row("seconds", comment, high=high, above_low=True, word=word)


def _bytes(comment: str, low: int = 1) -> Row:
    return Row("bytes", comment, low, BYTES_MAX)


def _count(comment: str, low: int = 1, high: int = COUNT_MAX) -> Row:
    return Row("int", comment, low, high)


_BROKER = {
    "client": _endpoint("clients"),
    "worker": _endpoint("workers"),
    "news": _endpoint("what happens to jobs and workers, for subscribers"),
    "mdp": _endpoint('strict MDP/0.2 (RFC 18), clients and workers; "" turns it off', word="", word_value=""),
    # libzmq counts heartbeats in milliseconds in a C int: an hour times 100 fits.
    "heartbeat_interval": _seconds("seconds between heartbeats on an idle connection", HOUR_S),
    # With 1, a worker would be dead the moment its heartbeat is due.
    "heartbeat_liveness": _count("a peer silent for this many intervals is dead; at least 2", 2, 100),
    "log_level": Row("choice", "debug, info, warning or error, or a first letter", choices=LOG_LEVELS),
    "message_bytes_max": _bytes("a larger message is refused", KIB),
    "frames_max": _count("a message of more frames is refused", 8, 65_536),
    "outbox_bytes_max": _bytes("kept for a peer that reads slowly, before frames are dropped"),
    "memory_max": _bytes("resident memory at which the greediest connection is shut"),
    "high_water_mark": _count("messages that ZeroMQ queues per peer"),
    "descriptors_warn_percent": _count(
        "the log warns when so many of the allowed descriptors are in use", 1, 100
    ),
    "foreign_heartbeat_interval": _seconds(
        "seconds between heartbeats to workers of other Majordomo programs", HOUR_S
    ),
    "foreign_expiry_min": _seconds("x liveness: such a worker is not given up sooner"),
    "probe_interval": _seconds("a busy worker's connection is tried this often"),
    "probe_gap": _seconds("shortest time between two such rounds"),
    "reattach_window": _seconds("a worker that was cut off keeps its job for this long"),
    "reattach_grace": _seconds("the same after a restart; auto: two heartbeat intervals", word="auto"),
    "prefetch_time": Row("seconds", "run time of jobs sent ahead to a worker, together; 0: none", high=1.0),
    "prefetch_patience": _seconds("sent ahead and unbegun for this long, a job goes to a free worker"),
    "cancel_grace": _seconds("a worker that still runs a cancelled job after this is `hung`"),
    "stuck_peer": _seconds("a worker that cannot be sent to is passed over for this long"),
    "sessions_max": _count("workers connected"),
    "strangers_max": _count("workers that were refused, or drained, that are remembered"),
    "strangers_keep": _seconds("without a word from it for this long, and it is forgotten"),
    "services_max": _count("services known"),
    "groups_max": _count("groups with waiting jobs, per service"),
    "window_jobs_max": _count("waiting jobs on disk that are held in memory too, per service"),
    "window_bytes_max": _bytes("and bytes of them"),
    "window_scheduled_max": _count(
        "scheduled jobs on disk that are held in memory too, by each of two clocks"
    ),
    "waiting_memory_max": _count('waiting jobs of durability "memory", per service'),
    "waiting_memory_bytes_max": _bytes("and bytes of all unfinished ones together"),
    "strict_held_bytes_max": _bytes("of what strict clients ask beyond these, before the greediest is cut"),
    "unknown_service_ttl": _seconds("on `mdp` a job of an unknown service waits this long"),
    "memory_keep": _seconds('results of jobs of durability "memory" are kept this long'),
    "memory_keep_bytes_max": _bytes("and at most so much of them"),
    "series_services_max": _count("services with figures of their own; the rest counts as `other`", 1, 2_000),
    "series_minutes_keep": _seconds("figures are kept by the minute for so long"),
    "series_hours_keep": _seconds("and by the hour, as marks are"),
    "lanes": Row("seconds", "what each worker did is kept in memory for so long; 0: it is not", high=HOUR_S),
    "lanes_workers_max": _count("workers of which that is kept", 1, 2_000),
    "audit_keep": _seconds("what operators did is kept for so long (`zmws audit`)"),
    "audit_max": _count("and at most so many of these entries, the newest"),
    "audit_refused_max": _count("and so many of what one key was refused in a minute"),
    "history_max": _count("ended jobs that SERVER-HIST lists"),
    "attempts_kept_max": _count("attempts kept in a job's record, the newest"),
    "log_bytes_max": _bytes("log lines kept per job"),
    "partials_max": _count("partial results kept per job"),
    "partials_bytes_max": _bytes("and their bytes"),
    "waits_max": _count("callers that wait for a job's end at once"),
    "wait_max": _seconds("longest that one of them may wait"),
    "list_rows_max": _count("rows of one page of a list"),
    "lists_max": _count("lists that are being made at once; more are refused"),
    "asks_max": _count("answers that are kept for repeats of questions (for memory_keep)"),
    # What comes in must be able to go out again, deeper in the stack; Python ends at 1,000 levels.
    "json_depth_max": _count("levels of lists and objects in a question's JSON", 8, 400),
    "submit_many_max": _count("jobs of one message of zmws.submit"),
    "follow_ups_max": _count("jobs that may follow from the end of one"),
    "chain_steps_max": _count("steps of a chain"),
    "chain_bytes_max": _bytes("bytes of the steps of a chain after its first"),
    "tree_depth_max": _count("generations of jobs that follow from each other's ends"),
    "batches_open_max": _count("batches that are open"),
    "schedules_max": _count("schedules"),
    "keys_max": _count("keys and tokens, those that were revoked among them"),
    "schedule_bytes_max": _bytes("bytes of the parameters of a schedule; all are in memory"),
    "schedule_missed_max": _count("missed times of one schedule that may be made up for"),
    "schedule_grace": Row("seconds", "a time that is past by no more than this is late, and not missed"),
    "schedule_back": Row(
        "seconds", "fired for a time so far ahead: the clock was wrong, and it is forgotten"
    ),
    "lease_ttr": _seconds("time to run of a lease that says nothing itself"),
    "commit_patience": _seconds("what nobody waits for gathers for this long before a commit"),
    "memory_commit_patience": _seconds('the same with url "memory:", where waiting costs no safety'),
    "batch_rows_max": _count("rows of one commit"),
    "batch_bytes_max": _bytes("bytes of one commit"),
    "uncommitted_bytes_max": _bytes("more than this unwritten, and no client is read until less"),
}
_STORE = {
    "url": Row(
        "parsed",
        'sqlite:PATH, postgresql://HOST/DATABASE, or "memory:", which forgets all jobs at the end',
        parse=parse_store_url,
    ),
    "reserve_bytes": _bytes("of sqlite: kept free so that running jobs can end on a full disk", 0),
    "free_bytes_min": _bytes("of sqlite: with less room on the disk, new jobs are refused", 0),
    "cache_bytes": _bytes("of sqlite: pages of the file kept in memory", MIB),
    "check": _seconds("of sqlite: seconds that the start looks for damage, at most", HOUR_S),
    "open_patience": _seconds(
        "seconds that the start waits for a lock of another program's, or a server", HOUR_S
    ),
    "search_time": _seconds("one page of a search takes this long, at most", 10.0),
    "causes_max": _count("causes of failures that are told apart; what is more counts as one"),
    "memory_bytes_max": _bytes("of memory: new jobs are refused past this"),
    "memory_ended_max": _count("of memory: ended jobs that are kept, the newest"),
}
_GATEWAY = {
    "http": Row("parsed", 'HOST:PORT for HTTP; "" turns it off', parse=parse_http, word="", word_value=""),
    "hosts": Row(
        "parsed", "names by which it may be asked, beside localhost and addresses", parse=parse_hosts
    ),
    "origins": Row("parsed", "pages of other origins that may use it, https://HOST", parse=parse_origins),
    "trusted_proxies": Row(
        "parsed", "addresses of proxies whose X-Forwarded headers are believed", parse=parse_networks
    ),
    "root_path": Row("parsed", "the path below which a proxy has it, such as /zmws", parse=parse_root_path),
    "tokens": Row("text", "the file of the tokens, which `zmws gateway token` makes"),
    "login_for": _seconds("seconds that a login in a browser holds"),
    "body_bytes_max": _bytes("a larger body is refused"),
    "header_bytes_max": _bytes("so are larger headers", KIB),
    "receive_timeout": _seconds("seconds in which a request must have come, head and body each", HOUR_S),
    "send_timeout": _seconds("who takes no part of an answer for so long is cut off", HOUR_S),
    "keep_alive": _seconds("an idle connection is kept for so long", HOUR_S),
    "sync_timeout": _seconds("seconds that /SYNC-SERVICE waits for the result", HOUR_S),
    "wait_max": _seconds("the longest ?wait= and Prefer: wait=; more is as this", HOUR_S),
    "reconnect_timeout": _seconds("seconds that a request waits for a broker that went away", HOUR_S),
    "jobs_max": _count("jobs of one POST /api/v1/jobs/many"),
    "connections_max": _count("connections at once; more are answered 503"),
    "streams_max": _count("event streams and requests that wait, at once; more are answered 503"),
    "stream_ping": _seconds("seconds between comments in an event stream where nothing happens", HOUR_S),
    "tracing": Row("flag", "hand on the traceparent of requests to their jobs (docs/tracing.md)"),
    "log_level": Row("choice", "debug, info, warning or error, or a first letter", choices=LOG_LEVELS),
}
_LOGS = {
    "bytes_max": _bytes("a process whose log is larger begins another", 64 * KIB),
    "files": _count("so many older ones are kept beside it, NAME.txt.1 the newest", 0, 1_000),
    "format": Row("choice", "text, or json: an object a line", choices=("text", "json")),
}
_SUPERVISOR = {
    "ready_timeout": _seconds("a process that takes longer to be ready is killed, and tried again"),
    "start_retries": _count("who ends so often before it is ready is fatal, and told", 1, 1_000),
    "give_up": Row("flag", "what is fatal is not tried again"),
    "restart_delay_max": _seconds(
        "the longest pause before a restart; what is fatal is tried so often", HOUR_S
    ),
    "restart_window": _seconds("who ran for so long is started again at once"),
    "kill_after": Row(
        "seconds", "for a worker to give back its jobs, after stop_timeout, before it is killed"
    ),
    "silence_max": Row("seconds", "a broker that has not answered for so long is killed; 0: never"),
    "check_interval": _seconds("how often to look at the broker and at the workers", HOUR_S),
}
_SECURITY = {
    "curve": Row(
        "choice",
        "auto: peers that come from elsewhere prove who they are (CURVE); on, off: all, none",
        choices=("auto", "on", "off"),
    ),
    "insecure": Row("flag", "listen beyond this machine without that: who reaches it may everything"),
    "keys": Row("text", "the folder of the key files, which `zmws keys` makes"),
    "key": Row("text", "the key file of what connects; of its kind, unless given"),
    "connections_per_address": _count(
        "more at once from one address are cut, where others than this machine come"
    ),
    "topics_per_address": _bytes(
        "of the topics that one address listens to; who has more of them is cut", KIB
    ),
    "handshake_timeout": _seconds("who has not said who he is by then is cut", 60.0),
    "ipc_mode": Row("parsed", "the mode of the sockets of ipc:// addresses", parse=parse_mode),
    "ipc_owner": Row("text", 'their owner, which only root can choose; "": who starts the broker'),
    "ipc_group": Row("text", "and their group"),
}
WORKER_KEYS = {
    "name": Row("text", "names its logs and its pid files"),
    "file": Row("text", "the file that holds its class; FILE:NAME where it holds others, too"),
    "service": Row("service", "the one its class names, unless given"),
    "count": _count(
        "so many copies run; { min, max, target_wait }: as many as what waits needs", 0, COPIES_MAX
    ),
    "flags": Row("value", "go to its command line"),
    "env": Row("value", "variables of its environment, beside those of whoever starts it"),
    "cwd": Row("text", "the folder it runs in; the installation's, unless given"),
    "user": Row("text", "the user it runs as, which only root can choose"),
    "python": Row("text", "the Python it runs in, which has to have zmws"),
    "priority": Row("int", "its niceness: 19 yields to all others", -20, 19),
    "stop_timeout": Row("seconds", "for its jobs to end when it is to stop; 30, or what its class says"),
    "memory_max": _bytes("a copy that has more in memory is killed", MIB),
}


# Of `count`, where it is a table.
SCALE_KEYS = {
    "min": _count("so many copies run always", 0, COPIES_MAX),
    "max": _count("and never more", 1, COPIES_MAX),
    "target_wait": _seconds("copies are added when the oldest job has waited for longer", HOUR_S),
    "down_after": _seconds("a copy that was not needed for so long goes", HOUR_S),
    "memory_max": _bytes("none is added when all copies together have more in memory", MIB),
    "cpu_max": _count("none is added when so many percent of the processors are in use", 1, 100),
}


# What may stand in each section; of services, schedules and workers there are several, each by its name.
SECTIONS: dict[str, dict[str, Row]] = {
    "broker": _BROKER,
    "store": _STORE,
    "gateway": _GATEWAY,
    "logs": _LOGS,
    "supervisor": _SUPERVISOR,
    "security": _SECURITY,
    "services": SERVICE_OPTIONS,
    "schedules": SCHEDULE,
    "workers": WORKER_KEYS,
}
_HELD: dict[str, Section] = {
    "broker": BrokerSettings(),
    "store": StoreSettings(),
    "gateway": GatewaySettings(),
    "logs": LogsSettings(),
    "supervisor": SupervisorSettings(),
    "security": SecuritySettings(),
}
# By the full name, section.name.
SETTINGS: dict[str, Row] = {
    f"{section}.{name}": replace(row, default=keys_of(held)[name])
    for section, held in _HELD.items()
    for name, row in SECTIONS[section].items()
}
LIMIT_FIELDS = {f"broker.{limit_key(field.name)}": field.name for field in fields(Limits)}
LISTENING = ("broker.client", "broker.worker", "broker.news", "broker.mdp", "gateway.http")
VARIABLES = {"ZMWS_" + name.upper().replace(".", "_"): name for name in SETTINGS}

assert all(keys_of(held).keys() == SECTIONS[section].keys() for section, held in _HELD.items())
assert len(VARIABLES) == len(SETTINGS) and set(LISTENING) <= set(SETTINGS)
