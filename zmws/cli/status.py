"""`zmws status` and `logs`: how the processes of this installation are, and what they write."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import FAILED, NO_BROKER, zmws
from zmws.cli.names import processes_argument
from zmws.cli.options import config_option, json_option, settings_in_use
from zmws.cli.output import echo, say
from zmws.cli.tables import age, plain, show_json, show_table
from zmws.core.amounts import duration, size_shown
from zmws.core.job import iso
from zmws.settings import Settings
from zmws.supervisor.broker import Broker
from zmws.supervisor.logs import Log, follow, logs_of
from zmws.supervisor.processes import DIED, RUNNING, Installation, State
from zmws.supervisor.status import Status
from zmws.supervisor.status import status as status_of

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


@click.command()
@json_option
@config_option
def status(as_json: bool, config: Path | None) -> int:
    """What runs here, and how the broker is.

    Exit code 0 if all that should run runs, 3 if no broker of this installation answers, else 1.
    """
    known = settings_in_use(config)
    found = status_of(Installation(known))
    stats, fault = found.broker.stats, _fault(found)
    if as_json:
        rows = [_row_for_programs(found, one) for one in found.processes]
        told = {"root": str(known.root), "processes": rows, "broker": stats, "error": fault or None}
        kept = found.supervisor
        about = None if kept is None else {name: kept[name] for name in ("pid", "uptime_s", "scaling")}
        disk = None if found.disk is None else asdict(found.disk)
        show_json(
            {
                **told,
                "supervisor": about,
                "supervisor_fault": found.supervisor_fault or None,
                "disk": disk,
                "warnings": found.warnings,
            }
        )
    else:
        heads = ("NAME", "STATE", "PID", "UP", "CPU", "MEMORY", "DONE", "FAILED", "SERVICES")
        show_table(heads, [process_row(found, one) for one in found.processes], ("SERVICES",))
        if stats is None:
            say(f"zmws: {fault}")
        else:
            _show_broker(found, stats, known)
            show_warnings(found)
        _show_kept(found)
        for name, file in found.stale.items():
            say(f"zmws: {name} runs older code than {file.name} has: '{zmws()} reload' takes it up")
    if stats is None:
        return NO_BROKER
    return 0 if found.all_run else FAILED


def process_row(found: Status, one: State, cpu_now: float | None = None) -> tuple[object, ...]:
    """A row of the table of processes. `cpu_now`: of one core, in place of what it has used on average."""
    state = f"died {after(one)}" if one.state == DIED else one.state
    lives, row = found.vitals.get(one.name), found.workers.get(one.name)
    up = cpu = memory = None
    if lives is not None:
        used = lives.cpu_s / max(lives.uptime_s, 0.01) if cpu_now is None else cpu_now
        up, cpu = duration(lives.uptime_s), f"{100 * used:.1f} %"
        memory = size_shown(row.get("memory_bytes") if row is not None else None) or size_shown(
            lives.memory_bytes
        )
    if row is None:
        return (one.name, state, one.pid, up, cpu, memory, None, None, None)
    if row["state"] not in ("idle", "busy"):
        state = f"{state}, {row['state']}"
    return (one.name, state, one.pid, up, cpu, memory, row["done"], row["failed"], ", ".join(row["services"]))


def _row_for_programs(found: Status, one: State) -> dict[str, Any]:
    lives, row = found.vitals.get(one.name), found.workers.get(one.name) or {}
    copy = found.copies.get(one.name, {})
    return {
        "name": one.name,
        "state": one.state,
        "pid": one.pid,
        "last_sign_at": iso(one.last_sign_at),
        **{name: copy.get(name) for name in ("group", "adopted", "restarts", "last_exit", "next_try_s")},
        "uptime_s": None if lives is None else round(lives.uptime_s, 2),
        "cpu_s": None if lives is None else lives.cpu_s,
        "memory_bytes": row.get("memory_bytes") or (None if lives is None else lives.memory_bytes),
        "stale": one.name in found.stale,
        "worker": {name: row.get(name) for name in ("id", "state", "services", "done", "failed")}
        if row
        else None,
    }


def _disk_shown(found: Status) -> str:
    if found.disk is None:
        return ""
    return f" ({size_shown(found.disk.store_bytes)}, {size_shown(found.disk.free_bytes)} are free)"


def _show_kept(found: Status) -> None:
    """What the supervisor has to tell, beside the states: what has ended, and when it starts again."""
    if found.supervisor_fault:
        say(f"zmws: {found.supervisor_fault}")
        return
    if found.supervisor is None:
        if any(one.pid is not None for one in found.processes):
            say("zmws: no supervisor runs: what dies stays dead.")
            say(f"      '{zmws()} start' starts one, which takes over what runs")
        return
    for name, scale in found.supervisor["scaling"].items():
        echo(f"{name}: {scale['have']} copies of {scale['min']} to {scale['max']}: {scale['why']}")
    adopted = [name for name, copy in found.copies.items() if copy["adopted"]]
    if adopted:
        echo(f"taken over from a supervisor before: {', '.join(adopted)}")
    for name, copy in found.copies.items():
        end = copy["last_exit"]
        if end is None or not copy["wanted"] or not (copy["restarts"] or copy["state"] != RUNNING):
            continue
        peak = size_shown(end["peak_memory_bytes"])
        most = f", {peak} of memory at most" if peak else ""
        say(f"zmws: {name} {end['text']}, {age(end['at'])} ago{most};")
        if copy["state"] == RUNNING:
            times = f"{copy['restarts']} times" if copy["restarts"] > 1 else "once"
            say(f"      it was started again {times} in 10 minutes")
            continue
        again = "it is not tried again"
        if copy["next_try_s"] is not None:
            again = f"it is tried again in {duration(copy['next_try_s'])}"
        elif copy["pid"] is not None or copy["state"] != "fatal":
            again = "it is tried again now"
        say(f"      {again}. '{zmws()} logs {name}' tells why")


def after(died: State) -> str:
    """When a process died, as far as anybody knows."""
    return f"after {iso(died.last_sign_at)}"


def what_is_wrong(broker: Broker) -> str:
    """Why no broker of this installation answers, and what to do."""
    if broker.what == "another":
        return (
            f"the broker at {broker.address} is of another installation (process {broker.pid}); "
            "stop it there, or choose other addresses in etc/zmws.toml"
        )
    if broker.what == "refused":
        return f"the broker at {broker.address} does not tell how it is: {broker.fault}"
    if broker.what == "absent":
        return f"{broker.fault} ('{zmws()} start' starts one)"
    own = f"its process {broker.pid} runs: '{zmws()} logs broker' may tell why, '{zmws()} stop' ends it"
    return f"{broker.fault}; {own}"


def _fault(found: Status) -> str:
    if found.broker.stats is not None:
        return ""
    fault = what_is_wrong(found.broker)
    if found.out_of_descriptors is None:
        return fault
    used, allowed = found.out_of_descriptors
    return (
        f"{fault}; it runs, but is out of descriptors ({used} of {allowed}) until some connections are "
        "closed; 'ulimit -n' before a start gives more"
    )


def _show_broker(found: Status, stats: dict[str, Any], known: Settings) -> None:
    up = duration(stats["uptime_s"])
    told, counts = known.broker, f"{stats['workers']} workers, {stats['services']} services"
    echo(f"\nbroker at {found.broker.address}: up {up}, {counts}")
    echo(f"  zmws {stats.get('version', '?')}, libzmq {stats.get('libzmq', '?')}; workers at {told.worker},")
    echo(f"  news at {told.news}, strict MDP {'at ' + told.mdp if told.mdp else 'is off'}")
    sums = {what: sum(row[what] for row in found.services) for what in ("waiting", "running", "failed")}
    echo("  jobs: " + ", ".join(f"{count} {what}" for what, count in sums.items()))
    echo(f"  accepted jobs are kept in: {stats['durability']}{_disk_shown(found)}")
    echo(f"  {stats.get('descriptors', 0)} of {stats.get('descriptors_max', 0)} descriptors are in use")
    drops = {n: c for n, c in stats["counters"].items() if n.startswith(_DROPS) and c}
    if drops:
        echo("refused or dropped: " + ", ".join(f"{n} {c}" for n, c in drops.items()))


def show_warnings(found: Status) -> None:
    """What is wrong, each with its next step."""
    for one in found.warnings:
        say(f"zmws: {plain(one['text'])}")
        if one["next"]:
            say(f"      {plain(one['next'].replace('zmws ', zmws() + ' '))}")


@click.command()
@processes_argument("name")
@click.option("-f", "--follow", "go_on", is_flag=True, help="Go on as it grows; Ctrl-C ends.")
@click.option(
    "-n",
    "--lines",
    default=20,
    type=click.IntRange(0),
    show_default=True,
    help="How many lines to begin with.",
)
@config_option
def logs(name: str, go_on: bool, lines: int, config: Path | None) -> int:
    """Show the log of a process."""
    files = logs_of(Installation(settings_in_use(config)), name)
    with contextlib.ExitStack() as stack:
        opened = []
        for process, file in files.items():
            if len(files) > 1:
                echo(f"==> {process} <==")
            log = stack.enter_context(contextlib.closing(Log(file)))
            opened.append(log)
            for line in log.last_lines(lines):
                echo(line)
        if go_on:
            with contextlib.suppress(KeyboardInterrupt):
                for text in follow(opened):
                    echo(text, end="")
    return 0
