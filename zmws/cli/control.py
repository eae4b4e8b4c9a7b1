"""`zmws start`, `stop`, `status`, `logs`, `config`: the processes of this installation."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from zmws import settings
from zmws.cli.durations import wait_time
from zmws.cli.ends import NO_BROKER, zmws
from zmws.cli.options import config_option, json_option
from zmws.cli.output import say
from zmws.cli.tables import duration, show_json, show_table
from zmws.client.synchronous import Client
from zmws.errors import ZmwsError
from zmws.settings import Settings
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import (
    BROKER,
    Installation,
    Process,
    last_lines,
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
        installation.tidy()
        running = installation.running()
        new = [process for process in wanted if process.name not in running]
        started: dict[str, int] = {}
        _check_before(installation, new)
        try:
            for process in new:
                started[process.name] = installation.start(process)
                if process.name == BROKER:
                    _await_broker(installation, process, timeout)
            _await_workers(installation, [p for p in new if p.part == "worker"], started, timeout)
        except (ZmwsError, KeyboardInterrupt):
            # By their files: the interruption may have come before `started` knew the last one.
            ours = [process.name for process in new if process.name in installation.running()]
            if started:
                say(f"zmws: starting did not succeed; stopping what was started: {', '.join(started)}")
            installation.stop(ours, 5.0, lambda name, killed: None)
            installation.tidy()
            raise
    if as_json:
        already = {process.name: running[process.name] for process in wanted if process.name in running}
        show_json({"started": started, "already_running": already, "root": str(known.root)})
    else:
        _say_what_runs(known, wanted, running, started)
    return 0


def _check_before(installation: Installation, new: list[Process]) -> None:
    """What can be known to fail before anything is started. Raises ZmwsError."""
    if any(process.name == BROKER for process in new):
        taken = ports_in_use(installation.settings)
        if taken:
            raise ZmwsError(
                f"another program has the port of {', '.join(taken)}; if it is a broker of another "
                f"installation, stop it there, else choose other ports in etc/zmws.toml"
            )
    elif new:
        with _client(installation.settings, connect_timeout=1.0) as client:
            client.ask("zmws.stats")


def _await_broker(installation: Installation, process: Process, timeout: float) -> None:
    """Until the broker answers. Raises ZmwsError with the end of its log if it has ended."""
    until = time.monotonic() + timeout
    with _client(installation.settings, connect_timeout=timeout) as client:
        asked = client.ask_future("zmws.stats")
        while not asked.done():
            _raise_if_ended(installation, process)
            if time.monotonic() > until:
                raise ZmwsError(
                    f"the broker was not ready within {timeout:g} s; '{zmws()} logs broker' tells more"
                )
            time.sleep(_POLL_S)
        asked.result()
    # An answer may have come from another broker at this address, while ours fails to bind it.
    _raise_if_ended(installation, process)


def _await_workers(
    installation: Installation, new: list[Process], started: dict[str, int], timeout: float
) -> None:
    """Until the broker knows each worker that was started."""
    if not new:
        return
    until = time.monotonic() + timeout
    with _client(installation.settings, connect_timeout=2.0) as client:
        while True:
            registered = {worker["pid"] for worker in client.ask("zmws.workers")}
            missing = [process for process in new if started[process.name] not in registered]
            if not missing:
                return
            for process in missing:
                _raise_if_ended(installation, process)
            if time.monotonic() > until:
                names = ", ".join(process.name for process in missing)
                raise ZmwsError(f"not ready within {timeout:g} s: {names}; '{zmws()} logs NAME' tells more")
            time.sleep(_POLL_S)


def _raise_if_ended(installation: Installation, process: Process) -> None:
    if PidFile(installation.run_dir, process.name).running() is None:
        lines = last_lines(installation.log_file(process.name), 8)
        text = "".join(f"\n  {line}" for line in lines)
        raise ZmwsError(
            f"{process.name} ended at once; the end of {installation.log_file(process.name)}:{text}"
        )


def _say_what_runs(
    known: Settings, wanted: list[Process], running: dict[str, int], started: dict[str, int]
) -> None:
    if not wanted:
        say(f"zmws: nothing to start: no worker is configured in {known.root}")
        return
    already = [process.name for process in wanted if process.name in running]
    if already:
        click.echo(f"already running: {', '.join(already)}")
    if started:
        click.echo(f"started: {', '.join(started)}")
    click.echo(f"broker at {settings.connectable(known.broker.client)}, logs in {known.logs_dir}")
    services = _sample_services(known)
    if "STR-REV" in services:
        click.echo(f"try:  {zmws()} call STR-REV str='Hello, world'")
    click.echo(f"      {zmws()} status | services | workers | logs NAME -f | stop")


def _sample_services(known: Settings) -> list[str]:
    """The services that have a worker now; none if the broker does not answer."""
    try:
        with _client(known, connect_timeout=1.0) as client:
            return [row["service"] for row in client.ask("zmws.services") if row["workers"]]
    except ZmwsError:
        return []


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
        running = installation.running()
        if names:
            groups = {p.name: p.group for p in installation.processes(True, True)}
            unknown = [n for n in names if n not in running and n not in groups and n not in groups.values()]
            if unknown:
                there_are = ", ".join(sorted({*running, *groups, *groups.values()}))
                raise click.UsageError(
                    f"there is no process named {', '.join(unknown)}; there are {there_are}"
                )
            chosen = [name for name in running if name in names or groups.get(name) in names]
        else:
            with_servers, with_workers = _parts(servers, workers)
            chosen = [name for name in running if (with_servers if name == BROKER else with_workers)]
        installation.tidy()
        ended: dict[str, list[str]] = {"stopped": [], "killed": []}

        def on_stopped(name: str, killed: bool) -> None:
            ended["killed" if killed else "stopped"].append(name)
            if as_json:
                return
            click.echo(
                f"killed: {name} (it had not ended after {wait_s:g} s)" if killed else f"stopped: {name}"
            )

        installation.stop(chosen, wait_s, on_stopped)
        if as_json:
            show_json(ended)
        elif not chosen:
            click.echo("nothing is running")
    return 0


# ---------------------------------------------------------------- status, logs, config


@click.command(context_settings=_HELP)
@json_option
@config_option
def status(as_json: bool, config: Path | None) -> int:
    """What runs here, and how the broker is. Exit code 3 if no broker answers."""
    known = settings.load(config)
    installation = Installation(known)
    running = installation.running()
    names = [process.name for process in installation.processes(True, True)]
    names += [name for name in running if name not in names]
    stats: dict[str, Any] | None = None
    fault = ""
    try:
        with _client(known, connect_timeout=1.0) as client:
            stats = client.ask("zmws.stats")
    except ZmwsError as wrong:
        fault = str(wrong)
    if as_json:
        rows = [{"name": name, "pid": running.get(name)} for name in names]
        show_json({"root": str(known.root), "processes": rows, "broker": stats, "error": fault or None})
    else:
        rows_shown = [
            (name, "running" if name in running else "stopped", running.get(name)) for name in names
        ]
        show_table(("NAME", "STATE", "PID"), rows_shown)
        if stats is None:
            say(f"zmws: {fault} ('{zmws()} start' starts one)")
        else:
            address = settings.connectable(known.broker.client)
            up = duration(stats["uptime_s"])
            click.echo(
                f"\nbroker at {address}: up {up}, {stats['workers']} workers, {stats['services']} services"
            )
            click.echo(f"accepted jobs are kept in: {stats['durability']}")
            if stats["store_is_full"]:
                click.echo("new jobs are refused: the disk of the job store is full")
            drops = {n: c for n, c in stats["counters"].items() if n.startswith(_DROPS) and c}
            if drops:
                click.echo("refused or dropped: " + ", ".join(f"{n} {c}" for n, c in drops.items()))
    return 0 if stats is not None else NO_BROKER


_DROPS = (
    "refused_",
    "invalid_",
    "results_refused",
    "partials_",
    "outbox_",
    "news_dropped",
    "connections_cut",
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
        opened = []
        for process, file in files.items():
            if len(files) > 1:
                click.echo(f"==> {process} <==")
            log = stack.enter_context(file.open("rb"))
            opened.append((file, log))
            for line in seek_last_lines(log, lines):
                click.echo(line)
        if follow:
            _follow(opened)
    return 0


def _follow(logs: Sequence[tuple[Path, BinaryIO]]) -> None:
    try:
        while True:
            sys.stdout.flush()
            grown = False
            for file, log in logs:
                if file.is_file() and log.tell() > file.stat().st_size:
                    log.seek(0)  # it was cut: begin again
                more = log.read()
                if more:
                    grown = True
                    click.echo(more.decode("utf-8", "replace"), nl=False)
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
    click.echo(f"ok: {where}")
    broker = known.broker
    click.echo(
        f"  client {broker.client}, worker {broker.worker}, news {broker.news}, mdp {broker.mdp or 'off'}"
    )
    click.echo(f"  store {known.store.url}, services {len(known.services)} configured")
    for worker in known.workers:
        click.echo(f"  worker {worker.name}: {worker.file} x {worker.count}")
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
