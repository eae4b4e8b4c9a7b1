"""`zmws job why`: why a job waits or waited, as a person reads it."""

from __future__ import annotations

from typing import Any

from zmws.cli.ends import zmws
from zmws.cli.output import echo, say
from zmws.cli.tables import plain, show_text, until
from zmws.core.amounts import duration_short
from zmws.core.states import RUNNING
from zmws.core.why import REASONS_TOLD

_BAR = 30


def show_why(told: dict[str, Any]) -> None:
    """Print the answer of zmws.why."""
    attempt = f", attempt {told['attempt']}" if told["attempt"] else ""
    echo(f"{told['id']} of {told['service']}: {told['state']}{attempt}")
    now = told["now"]
    if now is not None:
        at = f" ({until(now['at'])})" if now["at"] else ""
        show_text(plain(f"it waits now: {now['text']}{at}"))
        if now["next"]:
            show_text(plain(f"  next: {now['next'].replace('zmws ', zmws() + ' ')}"))
    if told["ahead"] is not None:
        _show_ahead(told["ahead"])
    if told["state"] == RUNNING:
        _show_running(told)
    _show_reasons(told)
    _show_usual(told)


def _show_ahead(ahead: dict[str, Any]) -> None:
    if not ahead["jobs"] and not ahead["groups"]:
        return echo("it is the next")
    more = "more than " if ahead["at_least"] else ""
    text = f"{more}{ahead['jobs']:,} {'job is' if ahead['jobs'] == 1 else 'jobs are'} before it"
    if ahead["groups"]:
        others = "1 other group takes" if ahead["groups"] == 1 else f"{ahead['groups']} other groups take"
        text += f" in its group, and {others} turns with that"
    return echo(text)


def _show_running(told: dict[str, Any]) -> None:
    text = f"it runs for {duration_short(told['running_s'])}"
    if told["progress"] is not None:
        text += f", {told['progress']:.0%} done"
    if told["left_s"] is not None:
        by = "as its progress goes" if told["left_by"] == "progress" else "as such jobs usually take"
        text += f": about {duration_short(told['left_s'])} to go, {by}"
        if told["left_by"] == "usual" and not told["left_s"]:
            text = f"it runs for {duration_short(told['running_s'])}, longer than such jobs usually do"
    echo(text)


def _show_reasons(told: dict[str, Any]) -> None:
    total = sum(one["seconds"] for one in told["reasons"])
    if not total:
        return
    echo(f"waited {duration_short(total)} in all:")
    for one in told["reasons"]:
        bar = "#" * max(1, round(one["seconds"] / total * _BAR))
        text = REASONS_TOLD.get(one["reason"], one["reason"])
        show_text(f"  {duration_short(one['seconds']):>8}  {bar:<{_BAR}}  {text}", " " * 12)


def _show_usual(told: dict[str, Any]) -> None:
    usual = told["usual"]
    if usual is None:
        return say("how long its jobs usually take is not kept (series_services_max), or not for this key")
    for name, verb in (("wait", "wait"), ("run", "run")):
        shares = usual[name]
        if shares["p50"] is not None:
            half, most = duration_short(shares["p50"]), duration_short(shares["p95"])
            echo(f"jobs of {told['service']} {verb} {half} usually, 95 % less than {most}")
    return None
