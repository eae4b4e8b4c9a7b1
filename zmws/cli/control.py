"""`zmws start`, `stop` and `restart`: the processes of this installation."""

from __future__ import annotations

from pathlib import Path

import click

from zmws.cli.durations import wait_time
from zmws.cli.ends import FAILED, NO_BROKER, zmws
from zmws.cli.log_lines import LogLines
from zmws.cli.names import processes_argument
from zmws.cli.options import config_option, json_option, settings_here, settings_in_use
from zmws.cli.output import echo, say
from zmws.cli.status import after, what_is_wrong
from zmws.cli.tables import show_json
from zmws.cli.telling import tell, which
from zmws.errors import SettingsError
from zmws.supervisor.attached import run_attached
from zmws.supervisor.broker import look, services_with_workers
from zmws.supervisor.children import check_present
from zmws.supervisor.events import Ended, Event, GivingUp, HadDied, LeftEnded, NotReady, RunsUnnoted
from zmws.supervisor.processes import BROKER, GATEWAY, NO_GATEWAY, Installation, can_serve_http
from zmws.supervisor.start import Started
from zmws.supervisor.start import start as start_processes
from zmws.supervisor.stop import chosen
from zmws.supervisor.stop import stop as stop_processes

_servers = click.option("--servers", is_flag=True, help="Only the broker.")
_workers = click.option("--workers", is_flag=True, help="Only the workers.")
_timeout = click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=wait_time,
    metavar="DURATION",
    help="How long to wait until they are ready.",
)
_wait = click.option(
    "--wait",
    "wait_s",
    type=wait_time,
    metavar="DURATION",
    help="How long jobs in hand may take [stop_timeout of the settings, or 30 s].",
)


def _parts(servers: bool, workers: bool) -> tuple[bool, bool]:
    return (servers, workers) if servers or workers else (True, True)


def say_event(event: Event) -> None:
    """A note of what happened on the way."""
    match event:
        case HadDied(states):
            say("zmws: had died: " + ", ".join(f"{one.name} ({after(one)})" for one in states))
        case LeftEnded(name, count):
            say(f"zmws: ended {count} process{'es' if count > 1 else ''} that {name} had left")
        case RunsUnnoted(pid):
            say(f"zmws: the broker runs already, not from here (process {pid})")
        case GivingUp(names):
            say(f"zmws: stopping what was started: {', '.join(names)}")
        case NotReady(name, text):
            say(f"zmws: {name} {text}")


@click.command()
@_servers
@_workers
@_timeout
@click.option(
    "--foreground", is_flag=True, help="Stay, and show all logs: for a terminal, systemd, a container."
)
@json_option
@config_option
@processes_argument(nargs=-1)
def start(
    servers: bool,
    workers: bool,
    timeout: float,
    foreground: bool,
    as_json: bool,
    config: Path | None,
    names: tuple[str, ...],
    tells: bool = True,
) -> int:
    """Start the broker and the workers, detached, and wait until they are ready.

    NAMES are those of [[workers]], or 'broker'. What runs already is left alone. A supervisor stays behind,
    and starts again what dies. With --foreground it stays here, shows all logs, and Ctrl-C stops it all.
    """
    installation = Installation(settings_here(config))
    known = installation.settings
    if known.path is None and not (known.workers or servers or workers or names):
        hint = f"'{zmws()} init' makes a project, 'start --servers' starts a broker all the same"
        raise SettingsError(f"{known.root} has no etc/zmws.toml and no workers/: {hint}")
    if foreground:
        if as_json:
            raise click.UsageError('--json and --foreground cannot go together; [logs] format = "json" can')
        write = LogLines(installation.settings.logs.format == "json")
        return run_attached(installation, *_parts(servers, workers), names, write, say_event)
    done = start_processes(installation, *_parts(servers, workers), names, timeout, say_event)
    if tells and (done.new or done.failed):
        on = which(servers, workers, names)
        tell(installation, "start", on, started=list(done.new), failed=list(done.failed))
    if as_json:
        already = {name: done.before[name] for name in done.wanted if name in done.before}
        told = {"started": done.new, "already_running": already, "failed": done.failed}
        show_json({**told, "root": str(installation.root)})
    else:
        _show_started(installation, done)
    if BROKER in done.before and not done.new:
        # A process that runs need not answer.
        broker = look(installation)
        if broker.stats is None:
            say(f"zmws: {what_is_wrong(broker)}")
            return NO_BROKER
    return FAILED if done.failed else 0


def _show_started(installation: Installation, done: Started) -> None:
    if not done.wanted:
        say(f"zmws: nothing to start: no worker is configured in {installation.root}")
        return
    already = [name for name in done.wanted if name in done.before]
    if already:
        echo(f"already running: {', '.join(already)}")
    if done.new:
        echo(f"started: {', '.join(done.new)}")
    if done.failed:
        _show_failed(done.failed)
    if BROKER in done.failed:
        return
    broker = look(installation)
    if broker.what == "another":
        say(f"zmws: the broker at {broker.address} is of another installation (process {broker.pid})")
        echo(f"logs in {installation.logs_dir}")
    else:
        http = installation.settings.gateway.http
        at = f", pages at http://{http}/ui/" if GATEWAY in installation.running() else ""
        echo(f"broker at {broker.address}{at}, logs in {installation.logs_dir}")
        if http and GATEWAY not in done.wanted and not can_serve_http():
            say(f"no HTTP: {NO_GATEWAY}")
    served = services_with_workers(installation)
    for service, params in (("STR-REV", "str='Hello, world'"), ("HELLO", "name=you")):  # of the samples
        if service in served:
            echo(f"try:  {zmws()} call {service} {params}")
            if GATEWAY in installation.running():
                query = "str=Hello,+world" if service == "STR-REV" else params
                echo(f"      curl 'http://{installation.settings.gateway.http}/SYNC-{service}?{query}'")
            break
    echo(f"      {zmws()} status | services | workers | logs NAME -f | stop")


def _show_failed(failed: dict[str, str]) -> None:
    say(
        f"zmws: not ready: {', '.join(failed)}. '{zmws()} status' tells how it is, and when it is tried again"
    )


@click.command()
@_servers
@_workers
@_wait
@json_option
@config_option
@processes_argument(nargs=-1)
def stop(
    servers: bool,
    workers: bool,
    wait_s: float | None,
    as_json: bool,
    config: Path | None,
    names: tuple[str, ...],
    tells: bool = True,
) -> int:
    """Stop the workers, then the broker. Workers finish the job in hand.

    A job that has not ended after --wait is given back, which is no failure, and goes to another
    worker. A worker that does not do that either is killed.
    """
    installation = Installation(settings_in_use(config))
    ended: dict[str, list[str]] = {"stopped": [], "killed": []}

    def say_ended(event: Event) -> None:
        if not isinstance(event, Ended):
            return say_event(event)
        ended["killed" if event.killed else "stopped"].append(event.name)
        if not as_json:
            patience_s = installation.stop_timeout_s(event.name) if wait_s is None else wait_s
            late = f" (it had not ended after {patience_s:g} s)" if event.killed else ""
            echo(f"{'killed' if event.killed else 'stopped'}: {event.name}{late}")
        return None

    on, running = which(servers, workers, names), installation.running()
    meant = chosen(installation, list(running), *_parts(servers, workers), names)
    if tells and BROKER in meant:
        tell(installation, "stop", on, processes=meant)  # as long as it can be told
    unnoted = stop_processes(installation, *_parts(servers, workers), names, wait_s, say_ended)
    if tells and BROKER not in meant and any(ended.values()):
        tell(installation, "stop", on, **ended)
    if as_json:
        show_json(ended)
    elif not any(ended.values()) and unnoted is None:
        echo("nothing is running")
    if unnoted is not None:
        say(f"zmws: a broker of this folder runs that was not started from here; 'kill {unnoted}' stops it")
        return FAILED
    return 0


@click.command()
@_servers
@_workers
@_wait
@_timeout
@json_option
@config_option
@processes_argument(nargs=-1)
@click.pass_context
def restart(
    ctx: click.Context,
    servers: bool,
    workers: bool,
    wait_s: float | None,
    timeout: float,
    as_json: bool,
    config: Path | None,
    names: tuple[str, ...],
) -> int:
    """Stop, then start: the same processes, with the settings as they are now.

    What does not run is started. While the broker alone restarts, workers go on with the jobs in hand. With
    --json there are two lines: what was stopped, what was started.
    """
    here = Installation(settings_here(config))
    for process in here.processes(*_parts(servers, workers), names):
        check_present(process)  # told before anything is stopped
    if servers or not workers:
        from zmws.server.security import check  # not at the top: few verbs need it

        check(here.settings)
    given = {"servers": servers, "workers": workers, "names": names, "config": config, "as_json": as_json}
    # A broker that was not started from here goes on, which is said, and is no reason to leave workers out.
    stopped: int = ctx.invoke(stop, wait_s=wait_s, tells=False, **given)
    started: int = ctx.invoke(start, timeout=timeout, foreground=False, tells=False, **given)
    tell(here, "restart", which(servers, workers, names))
    return started or stopped
