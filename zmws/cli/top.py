"""`zmws top`: services and processes, again and again, with how much is done each second."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from zmws.cli.durations import wait_time_above_0
from zmws.cli.ends import zmws
from zmws.cli.options import config_option, json_option, settings_in_use
from zmws.cli.output import echo
from zmws.cli.plots import plot
from zmws.cli.status import process_row, show_warnings, what_is_wrong
from zmws.cli.tables import show_json, show_table, terminal_width
from zmws.client.synchronous import Client
from zmws.core.amounts import duration, duration_short
from zmws.errors import Refused, ZmwsError
from zmws.supervisor.broker import client_of
from zmws.supervisor.processes import Installation
from zmws.supervisor.status import Status
from zmws.supervisor.status import status as status_of

_CLEAR = "\x1b[H\x1b[2J"
_COUNTED = {"done": "complete", "failed": "failed"}
_FIGURES = "complete,failed,oldest_s"
OTHER_LINES = 10  # than those of services, processes and warnings
SERVICES_MIN = 3  # are shown, however small the terminal is
PLOTTED_MAX = 20  # services
PLOT_WIDTH = 20  # columns, of 3 seconds each
NARROW_PLOT_WIDTH = 12
WIDE = 110  # columns of a terminal that has room for all of it
_ENDED = {"done": ("complete", "calls_complete"), "failed": ("failed", "calls_failed")}


@click.command()
@click.option(
    "--interval",
    "interval_s",
    default=2.0,
    show_default=True,
    type=wait_time_above_0,
    metavar="DURATION",
    help="How long between two looks.",
)
@click.option("-n", "--count", type=click.IntRange(1), help="So many looks; until Ctrl-C unless given.")
@json_option
@config_option
def top(interval_s: float, count: int | None, as_json: bool, config: Path | None) -> int:
    """Watch services and processes: what waits, what runs, what is done each second.

    With --json each look is an object on a line of its own.
    """
    installation = Installation(settings_in_use(config))
    before: _Look | None = None
    number = 0
    with contextlib.suppress(KeyboardInterrupt):
        while count is None or number < count:
            if number:
                time.sleep(interval_s)
            number += 1
            look = _Look(installation)
            if as_json:
                show_json(look.told(before))
            else:
                if sys.stdout.isatty():
                    echo(_CLEAR, end="")
                elif number > 1:
                    echo()
                look.show(before)
            before = look
    return 0


class _Look:
    """How it is at one moment."""

    def __init__(self, installation: Installation) -> None:
        self.at = time.monotonic()
        self.status: Status = status_of(installation)
        self.services: list[dict[str, Any]] = []
        self.counted: dict[str, dict[str, Any]] = {}  # since the broker started, by service
        self.series: dict[str | None, dict[str, Any]] = {}  # of all together (None), and of the busiest
        if self.status.broker.stats is not None:
            with contextlib.suppress(ZmwsError), client_of(installation, 1.0) as client:
                self.services = client.ask("zmws.services")
                with contextlib.suppress(Refused):  # an older broker
                    counted = client.ask("zmws.metrics")["services"]
                    self.counted = {row["service"]: row for row in counted}
                self._ask_series(client)

    def _ask_series(self, client: Client) -> None:
        busy = sorted(self.services, key=lambda row: row["running"] + row["waiting"], reverse=True)
        names: list[str | None] = [None, *(row["service"] for row in busy[:PLOTTED_MAX])]
        questions = [
            {"figures": _FIGURES, **({"service": name} if name is not None else {})} for name in names
        ]
        asked = [client.answer_future("zmws.series", question) for question in questions]
        for name, answer in zip(names, asked, strict=True):
            with contextlib.suppress(Refused):  # forgotten meanwhile, or an older broker
                self.series[name] = answer.result()

    def told(self, before: _Look | None) -> dict[str, Any]:
        """For programs. What is counted each second is null at the first look."""
        return {
            "broker": self.status.broker.what,
            "services": [{**row, **self._rates(row, before)} for row in self.services],
            "processes": [
                {"name": one.name, "state": one.state, "pid": one.pid, "cpu": self._cpu(one.name, before)}
                for one in self.status.processes
            ],
        }

    def show(self, before: _Look | None) -> None:
        """For people."""
        broker = self.status.broker
        if broker.stats is None:
            echo(what_is_wrong(broker))
        else:
            rates = [self._rates(row, before) for row in self.services]
            done = _sum(one["done_per_s"] for one in rates)
            waiting, running = (sum(row[name] for row in self.services) for name in ("waiting", "running"))
            now = f"{waiting} wait, {running} run, {_per_s(done) or '-'} done a second"
            echo(f"{broker.address}, up {duration(broker.stats['uptime_s'])}: {now}")
            self._show_plots()
            show_warnings(self.status)
        echo()
        self._show_services(before)
        heads = ("NAME", "STATE", "PID", "UP", "CPU", "MEMORY", "DONE", "FAILED", "SERVICES")
        processes = [
            process_row(self.status, one, self._cpu(one.name, before)) for one in self.status.processes
        ]
        show_table(heads, processes, ("SERVICES",))
        if not sys.stdout.isatty():
            return
        echo(f"\nCtrl-C ends; '{zmws()} status' tells more of the broker")

    def _show_services(self, before: _Look | None) -> None:
        narrow = terminal_width() < WIDE
        plots = NARROW_PLOT_WIDTH if narrow else PLOT_WIDTH
        heads = ["SERVICE", "WAITING", "RUNNING", "DONE/S", "FAILED/S", "OLDEST", "IDLE", "LAST MINUTE", ""]
        more = ["SCHEDULED", "WAIT 95%", "RUN 95%"]
        rows = []
        shown_services = self._fitting(before)
        for row in shown_services:
            wait, run, lately = self._lately(row["service"], plots)
            shown = [
                *(row[name] for name in ("service", "waiting", "running")),
                *(_per_s(rate) for rate in self._rates(row, before).values()),
                *(duration(row["oldest_s"]), f"{row['idle']}/{row['workers']}", lately),
                "paused" if row["paused"] else "",
            ]
            rows.append(shown if narrow else [*shown[:7], row["scheduled"], wait, run, *shown[7:]])
        if rows:
            show_table(heads if narrow else [*heads[:7], *more, *heads[7:]], rows, ("SERVICE",))
            if len(rows) < len(self.services):
                echo(
                    f"and {len(self.services) - len(rows)} less busy services: '{zmws()} services' lists all"
                )
            echo()

    def _fitting(self, before: _Look | None) -> list[dict[str, Any]]:
        """As many services as the terminal has room for beside the rest, the busiest first if not all fit."""
        if not sys.stdout.isatty():
            return self.services
        left = (
            shutil.get_terminal_size().lines - len(self.status.processes) - 2 * len(self.status.warnings) - 10
        )
        if len(self.services) <= max(left, SERVICES_MIN):
            return self.services

        def busy(row: dict[str, Any]) -> tuple[float, ...]:
            ends = sum(rate or 0.0 for rate in self._rates(row, before).values())
            return (row["running"] + ends, row["waiting"], row["workers"])

        return sorted(self.services, key=busy, reverse=True)[: max(left, SERVICES_MIN)]

    def _show_plots(self) -> None:
        """What was done by all services in the last ten minutes, each column some seconds."""
        told = self.series.get(None)
        if told is None or not told["points"]:
            return
        wide = max(20, min(100, terminal_width() - 34))
        ends = _ends(told["figures"])
        oldest = told["figures"]["oldest_s"]
        for name, values in (("ends/s", ends), ("oldest", oldest)):
            top = max((one for one in values if one is not None), default=0)
            most = duration(top) if name == "oldest" else f"{top:.0f}/s"
            echo(f"{name} {plot(values, wide)} {most} at most")

    def _lately(self, service: str, wide: int) -> tuple[str | None, str | None, str | None]:
        """How long its jobs wait and run at most, nearly, and how many ended in each second."""
        told = self.series.get(service)
        if told is None or told["service"] != service:
            return None, None, None  # it has no figures of its own
        shares = [told[name]["p95"] for name in ("wait", "run")]
        wait, run = (None if one is None else duration_short(one) for one in shares)
        return wait, run, plot(_ends(told["figures"])[-60:], wide)

    def _rates(self, row: dict[str, Any], before: _Look | None) -> dict[str, float | None]:
        """How many jobs ended since the look before, each second. Of a service without figures of its own
        records that were forgotten meanwhile make it less, and never less than none."""
        earlier = next(
            (one for one in (before.services if before else ()) if one["service"] == row["service"]), None
        )
        if before is None or earlier is None:
            return {f"{name}_per_s": None for name in _ENDED}
        took_s = max(self.at - before.at, 0.001)
        name = row["service"]
        if name in self.counted and name in before.counted:
            now, then = self.counted[name], before.counted[name]
            return {f"{one}_per_s": max(0, now[of] - then[of]) / took_s for one, of in _COUNTED.items()}
        return {
            f"{name}_per_s": max(0, sum(row[of] - earlier[of] for of in counts)) / took_s
            for name, counts in _ENDED.items()
        }

    def _cpu(self, name: str, before: _Look | None) -> float | None:
        """Of one core, since the look before; None where that process did not run then."""
        now = self.status.vitals.get(name)
        earlier = before.status.vitals.get(name) if before else None
        if now is None or earlier is None or before is None or now.uptime_s < earlier.uptime_s:
            return None
        return max(0.0, now.cpu_s - earlier.cpu_s) / max(self.at - before.at, 0.001)


def _ends(figures: dict[str, list[float | None]]) -> list[float | None]:
    """Jobs that ended in each second."""
    pairs = zip(figures["complete"], figures["failed"], strict=True)
    return [None if one is None else one + (other or 0) for one, other in pairs]


def _sum(rates: Any) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _per_s(rate: float | None) -> str | None:
    return None if rate is None else (f"{rate:.1f}" if rate < 10 else f"{rate:.0f}")
