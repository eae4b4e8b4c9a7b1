"""`zmws start`, `stop`, `status`, `logs`, `config`: the processes of this installation."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from zmws import settings
from zmws.cli.durations import wait_time
from zmws.cli.ends import FAILED, NO_BROKER, zmws
from zmws.cli.options import config_option, json_option
from zmws.cli.output import echo, say
from zmws.cli.tables import duration, show_json, show_table
from zmws.client.synchronous import Client
from zmws.core.job import iso
from zmws.errors import ZmwsError
from zmws.settings import Settings
from zmws.supervisor.processes import (
    BROKER,
    DIED,
    RUNNING,
    Installation,
    Process,
    State,
    descriptors_of,
    ports_in_use,
    seek_last_lines,
)

_HELP = {"help_option_names": ["-h", "--help"]}
_POLL_S = 0.05


def _parts(servers: bool, workers: bool) -> tuple[bool, bool]:
    return (servers, workers) if servers or workers else (True, True)


def _client(known: Settings, connect_timeout: float) -> Client:
    return Client(settings.connectable(known.broker.client), connect_timeout=connect_timeout)


# ---------------------------------------------------------------- start


@click.command(context_settings=_HELP)
@click.option("--servers", is_flag=True, help="Only the broker.")
@click.option("--workers", is_flag=True, help="Only the workers.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=wait_time,
    metavar="DURATION",
    help="How long to wait until they are ready.",
)
@json_option
@config_option
@click.argument("names", nargs=-1)
def start(
    servers: bool,
    workers: bool,
    timeout: float,
    as_json: bool,
    config: Path | None,
    names: tuple[str, ...],
) -> int:
    """Start the broker and the workers, detached, and wait until they are ready.

    NAMES are those of [[workers]], or 'broker'. What runs already is left alone.
    """
    known = settings.load(config)
    installation = Installation(known)
    wanted = installation.processes(*_parts(servers, workers), names)
    with installation.locked():
        died = [one for one in map(installation.state, (p.name for p in wanted)) if one.state == DIED]
        if died:
            say("zmws: had died: " + ", ".join(f"{one.name} ({_after(one)})" for one in died))
        installation.tidy([process.name for process in wanted], _say_what_was_left)
        running = installation.running()
        new = [process for process in wanted if process.name not in running]
        started: dict[str, int] = {}
        elsewhere = _check_before(installation, new)
        if elsewhere is not None:
            say(f"zmws: the broker runs already, not from here (process {elsewhere})")
            running[BROKER] = elsewhere
            new = [process for process in new if process.name != BROKER]
        try:
            for process in new:
                started[process.name] = installation.start(process)
                if process.name == BROKER:
                    _await_broker(installation, process, started[process.name], timeout)
            _await_workers(installation, [p for p in new if p.part == "worker"], started, timeout)
        except BaseException:
            # By their files: the interruption may have come before `started` knew the last one.
            ours = [process.name for process in new if process.name in installation.running()]
            if started:
                say(f"zmws: starting did not succeed; stopping what was started: {', '.join(started)}")
            installation.stop(ours, 5.0, lambda name, killed: None, with_all_they_started=True)
            installation.tidy([process.name for process in new], _say_what_was_left)
            raise
    if as_json:
        already = {process.name: running[process.name] for process in wanted if process.name in running}
        show_json({"started": started, "already_running": already, "root": str(known.root)})
    else:
        _say_what_runs(installation, wanted, running, started)
    if BROKER in running and not started:
        # A process that runs need not answer.
        stats, wrong = _stats_of_ours(installation)
        if stats is None:
            say(f"zmws: {wrong}")
            return NO_BROKER
    return 0


def _say_what_was_left(name: str, count: int) -> None:
    say(f"zmws: ended {count} process{'es' if count > 1 else ''} that {name} had left")


def _after(died: State) -> str:
    """When a process died, as far as anybody knows."""
    return f"after {iso(died.last_sign_at)}"


def _check_before(installation: Installation, new: list[Process]) -> int | None:
    """What can be known to fail before anything is started. The number of a broker of this installation that
    runs in the foreground, if there is one. Raises ZmwsError."""
    if any(process.name == BROKER for process in new):
        taken = ports_in_use(installation.settings)
        if taken:
            unnoted = _unnoted_broker(installation)
            if unnoted is not None:
                return unnoted
            raise ZmwsError(
                f"another program has the address of {', '.join(taken)}; if it is a broker of another "
                f"installation, stop it there, else choose other addresses in etc/zmws.toml"
            )
    elif new:
        with _client(installation.settings, connect_timeout=1.0) as client:
            client.ask("zmws.stats")
    return None


def _unnoted_broker(installation: Installation) -> int | None:
    """The number of a broker of this installation that answers, and that run/ does not know: it was started
    in the foreground, or by a process manager, or its pid file was lost."""
    known = installation.settings
    if BROKER in installation.running() or not ports_in_use(known):
        return None
    stats = _ask_what_there_is(known)[0]
    return int(stats["pid"]) if stats is not None and _is_ours(installation, stats) else None


def _await_broker(installation: Installation, process: Process, pid: int, timeout: float) -> None:
    """Until it answers. Raises ZmwsError with the end of its log if it has ended."""
    until = time.monotonic() + timeout
    with _client(installation.settings, connect_timeout=timeout) as client:
        asked = client.ask_future("zmws.stats")
        while True:
            _raise_if_ended(installation, process)
            if asked.done():
                # The answer may come from another broker at this address, while ours fails to bind it.
                status, told = asked.result() if asked.exception() is None else (0, {})
                if status == 200 and told.get("pid") == pid:
                    return
                asked = client.ask_future("zmws.stats")
            if time.monotonic() > until:
                wrote = installation.what_it_wrote(process.name)
                raise ZmwsError(f"the broker was not ready within {timeout:g} s{wrote}")
            time.sleep(_POLL_S)


def _await_workers(
    installation: Installation, new: list[Process], started: dict[str, int], timeout: float
) -> None:
    """Until the broker knows each worker that was started."""
    if not new:
        return
    until, host = time.monotonic() + timeout, socket.gethostname()
    with _client(installation.settings, connect_timeout=2.0) as client:
        while True:
            # Another machine's worker may have the number of one of ours.
            registered = {(worker["host"], worker["pid"]) for worker in client.ask("zmws.workers")}
            missing = [process for process in new if (host, started[process.name]) not in registered]
            if not missing:
                return
            for process in missing:
                _raise_if_ended(installation, process)
            if time.monotonic() > until:
                names = ", ".join(process.name for process in missing)
                raise ZmwsError(f"not ready within {timeout:g} s: {names}; '{zmws()} logs NAME' tells more")
            time.sleep(_POLL_S)


def _raise_if_ended(installation: Installation, process: Process) -> None:
    ended = installation.how_it_ended(process.name)
    if ended is not None:
        raise ZmwsError(ended)


def _say_what_runs(
    installation: Installation, wanted: list[Process], running: dict[str, int], started: dict[str, int]
) -> None:
    known = installation.settings
    if not wanted:
        say(f"zmws: nothing to start: no worker is configured in {known.root}")
        return
    already = [process.name for process in wanted if process.name in running]
    if already:
        echo(f"already running: {', '.join(already)}")
    if started:
        echo(f"started: {', '.join(started)}")
    stats, services = _ask_what_there_is(known)
    address = settings.connectable(known.broker.client)
    if stats is not None and not _is_ours(installation, stats):
        say(f"zmws: {_another(known, stats)}")
        echo(f"logs in {known.logs_dir}")
    else:
        echo(f"broker at {address}, logs in {known.logs_dir}")
    if "STR-REV" in services:
        echo(f"try:  {zmws()} call STR-REV str='Hello, world'")
    echo(f"      {zmws()} status | services | workers | logs NAME -f | stop")


def _ask_what_there_is(known: Settings) -> tuple[dict[str, Any] | None, list[str]]:
    """The broker's stats, and the services that have a worker now; nothing if it does not answer."""
    try:
        with _client(known, connect_timeout=1.0) as client:
            stats = client.ask("zmws.stats")
            return stats, [row["service"] for row in client.ask("zmws.services") if row["workers"]]
    except ZmwsError:
        return None, []


def _is_ours(installation: Installation, stats: dict[str, Any]) -> bool:
    """Whether it tells of our folder, or is the process that is noted (the folder was moved since)."""
    folder = installation.settings.installation
    pid = stats.get("pid")
    # A broker of an earlier version does not tell.
    return bool(stats.get("installation", folder) == folder or pid == installation.running().get(BROKER, 0))


def _another(known: Settings, stats: dict[str, Any]) -> str:
    address = settings.connectable(known.broker.client)
    return f"the broker at {address} is of another installation (process {stats['pid']})"


# ---------------------------------------------------------------- stop


@click.command(context_settings=_HELP)
@click.option("--servers", is_flag=True, help="Only the broker.")
@click.option("--workers", is_flag=True, help="Only the workers.")
@click.option(
    "--wait",
    "wait_s",
    default=10.0,
    show_default=True,
    type=wait_time,
    metavar="DURATION",
    help="How long jobs in hand may take.",
)
@json_option
@config_option
@click.argument("names", nargs=-1)
def stop(
    servers: bool,
    workers: bool,
    wait_s: float,
    as_json: bool,
    config: Path | None,
    names: tuple[str, ...],
) -> int:
    """Stop the workers, then the broker. Workers finish the job in hand.

    What has not ended after --wait seconds is killed; its job goes to another worker.
    """
    known = settings.load(config)
    installation = Installation(known)
    with installation.locked():
        noted = installation.noted()
        if names:
            groups = {p.name: p.group for p in installation.processes(True, True)}
            unknown = [n for n in names if n not in noted and n not in groups and n not in groups.values()]
            if unknown:
                there_are = ", ".join(sorted({*noted, *groups, *groups.values()}))
                raise click.UsageError(
                    f"there is no process named {', '.join(unknown)}; there are {there_are}"
                )
            chosen = [name for name in noted if name in names or groups.get(name) in names]
        else:
            with_servers, with_workers = _parts(servers, workers)
            chosen = [name for name in noted if (with_servers if name == BROKER else with_workers)]
        installation.tidy(chosen, _say_what_was_left)
        running = installation.running()
        chosen = [name for name in chosen if name in running]
        ended: dict[str, list[str]] = {"stopped": [], "killed": []}

        def on_stopped(name: str, killed: bool) -> None:
            ended["killed" if killed else "stopped"].append(name)
            if as_json:
                return
            echo(f"killed: {name} (it had not ended after {wait_s:g} s)" if killed else f"stopped: {name}")

        installation.stop(chosen, wait_s, on_stopped)
        unnoted = _unnoted_broker(installation) if _names_broker(servers, workers, names) else None
        if as_json:
            show_json(ended)
        elif not chosen and unnoted is None:
            echo("nothing is running")
    if unnoted is not None:
        say(f"zmws: a broker of this folder runs that was not started from here; 'kill {unnoted}' stops it")
        return FAILED
    return 0


def _names_broker(servers: bool, workers: bool, names: tuple[str, ...]) -> bool:
    return BROKER in names if names else _parts(servers, workers)[0]


# ---------------------------------------------------------------- status, logs, config


@click.command(context_settings=_HELP)
@json_option
@config_option
def status(as_json: bool, config: Path | None) -> int:
    """What runs here, and how the broker is.

    Exit code 1 if a process has died, 3 if no broker of this installation answers.
    """
    known = settings.load(config)
    installation = Installation(known)
    names = [process.name for process in installation.processes(True, True)]
    names += [name for name in installation.noted() if name not in names]
    states = [installation.state(name) for name in names]
    stats, fault = _stats_of_ours(installation)
    broker = next(one for one in states if one.name == BROKER)
    if stats is None:
        fault += _out_of_descriptors(broker)
    elif broker.state != RUNNING:
        # In the foreground, as systemd runs it: nobody has noted it.
        broker.state, broker.pid, broker.last_sign_at = RUNNING, stats.get("pid"), None
    if as_json:
        rows = [
            {
                "name": one.name,
                "state": one.state,
                "pid": one.pid,
                "last_sign_at": iso(one.last_sign_at),
            }
            for one in states
        ]
        show_json({"root": str(known.root), "processes": rows, "broker": stats, "error": fault or None})
    else:
        show_table(
            ("NAME", "STATE", "PID"),
            [
                (one.name, f"died {_after(one)}" if one.state == DIED else one.state, one.pid)
                for one in states
            ],
        )
        if stats is None:
            say(f"zmws: {fault}")
        else:
            _show_broker(known, stats)
    if stats is None:
        return NO_BROKER
    return FAILED if any(one.state == DIED for one in states) else 0


def _stats_of_ours(installation: Installation) -> tuple[dict[str, Any] | None, str]:
    """What the broker of this installation tells of itself, else what is wrong and what to do."""
    known = installation.settings
    try:
        with _client(known, connect_timeout=1.0) as client:
            stats = client.ask("zmws.stats")
    except ZmwsError as wrong:
        pid = installation.running().get(BROKER)
        if pid is None:
            return None, f"{wrong} ('{zmws()} start' starts one)"
        return (
            None,
            f"{wrong}; its process {pid} runs: '{zmws()} logs broker' may tell why, '{zmws()} stop' ends it",
        )
    if _is_ours(installation, stats):
        return stats, ""
    return None, f"{_another(known, stats)}; stop it there, or choose other addresses in etc/zmws.toml"


def _out_of_descriptors(broker: State) -> str:
    """Such a broker accepts nobody who could ask it: seen from outside, it says why."""
    found = descriptors_of(broker.pid) if broker.pid is not None else None
    if found is None or found[0] < found[1]:
        return ""
    return (
        f"; it runs, but is out of descriptors ({found[0]} of {found[1]}) until some connections are closed; "
        "'ulimit -n' before a start gives more"
    )


def _show_broker(known: Settings, stats: dict[str, Any]) -> None:
    address = settings.connectable(known.broker.client)
    up = duration(stats["uptime_s"])
    echo(f"\nbroker at {address}: up {up}, {stats['workers']} workers, {stats['services']} services")
    echo(f"accepted jobs are kept in: {stats['durability']}")
    if stats["store_is_full"]:
        echo("new jobs are refused: the disk of the job store is full")
    if stats.get("store_waits_for"):
        echo(f"nothing is accepted now, commits wait: {stats['store_waits_for']}")
    used, allowed = stats.get("descriptors", 0), stats.get("descriptors_max", 0)
    if used * 100 >= allowed * known.broker.descriptors_warn_percent > 0:
        echo(f"{used} of {allowed} descriptors are in use")
    drops = {n: c for n, c in stats["counters"].items() if n.startswith(_DROPS) and c}
    if drops:
        echo("refused or dropped: " + ", ".join(f"{n} {c}" for n, c in drops.items()))


_DROPS = (
    "refused_",
    "invalid_",
    "results_refused",
    "partials_",
    "outbox_",
    "news_dropped",
    "connections_cut",
    "out_of_descriptors",
)


@click.command(context_settings=_HELP)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows; Ctrl-C ends.")
@click.option(
    "-n",
    "--lines",
    default=20,
    type=click.IntRange(0),
    show_default=True,
    help="How many lines to begin with.",
)
@config_option
def logs(name: str, follow: bool, lines: int, config: Path | None) -> int:
    """Show the log of a process."""
    installation = Installation(settings.load(config))
    chosen = [p.name for p in installation.processes(True, True) if name in (p.name, p.group)] or [name]
    files = {n: installation.log_file(n) for n in chosen if installation.log_file(n).is_file()}
    if not files:
        there_are = ", ".join(sorted(file.stem for file in installation.logs_dir.glob("*.txt"))) or "none"
        raise click.UsageError(
            f"there is no log of '{name}' in {installation.logs_dir}; there are: {there_are}"
        )
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Path, BinaryIO, codecs.IncrementalDecoder]] = []
        for process, file in files.items():
            if len(files) > 1:
                echo(f"==> {process} <==")
            log = stack.enter_context(file.open("rb"))
            opened.append((file, log, codecs.getincrementaldecoder("utf-8")("replace")))
            for line in seek_last_lines(log, lines):
                echo(line)
        if follow:
            _follow(opened)
    return 0


def _follow(logs: Sequence[tuple[Path, BinaryIO, codecs.IncrementalDecoder]]) -> None:
    try:
        while True:
            grown = False
            for file, log, decoder in logs:
                if file.is_file() and log.tell() > file.stat().st_size:
                    log.seek(0)  # it was cut: begin again
                more = log.read()
                if more:
                    grown = True
                    echo(decoder.decode(more), end="")
            if not grown:
                time.sleep(0.2)
    except KeyboardInterrupt:
        return


@click.group(context_settings=_HELP)
def config() -> None:
    """Look at the settings."""


@config.command(context_settings=_HELP)
@json_option
@config_option
def check(as_json: bool, config: Path | None) -> int:
    """Check the whole settings file, and say what it comes to."""
    known = settings.load(config)
    if as_json:
        show_json(_as_shown(known))
        return 0
    where = known.path if known.path is not None else "no settings file: the defaults"
    echo(f"ok: {where}")
    broker = known.broker
    echo(f"  client {broker.client}, worker {broker.worker}, news {broker.news}, mdp {broker.mdp or 'off'}")
    echo(f"  store {known.store.url}, services {len(known.services)} configured")
    for worker in known.workers:
        echo(f"  worker {worker.name}: {worker.file} x {worker.count}")
    for name in ("client", "worker", "news", "mdp"):
        if not settings.is_loopback(getattr(broker, name)):
            say(
                f"zmws: warning: broker.{name} is open to the network, and nothing authenticates who connects"
            )
    return 0


def _as_shown(known: Settings) -> dict[str, Any]:
    """The settings for programs: sections and keys as in the file."""
    sections: dict[str, Any] = {"path": str(known.path) if known.path else None, "root": str(known.root)}
    for name in ("broker", "store", "gateway"):
        sections[name] = dataclasses.asdict(getattr(known, name))
    limits = sections["broker"].pop("limits")
    sections["broker"] |= {settings.limit_key(name): value for name, value in limits.items()}
    sections["services"] = {name: dataclasses.asdict(options) for name, options in known.services.items()}
    sections["workers"] = [{**dataclasses.asdict(one), "file": str(one.file)} for one in known.workers]
    return sections
