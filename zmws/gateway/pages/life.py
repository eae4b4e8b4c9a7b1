"""A job's life as a bar: its waits, attempts and backoffs, one after the other, out of its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from zmws.core.states import FINAL_STATES, RUNNING, SCHEDULED, WAITING
from zmws.gateway.pages import svg
from zmws.gateway.pages.shown import between, moment, span

STEPS_MAX = 60  # of the bar; of a longer life the last


@dataclass(frozen=True, slots=True)
class Step:
    """A part of it. `ends` is None while it goes on."""

    colour: str
    text: str
    seconds: float
    starts: str
    ends: str | None


def steps_of(record: dict[str, Any], events: list[dict[str, Any]]) -> list[Step]:
    """The parts of a job's life, the earliest first."""
    states = [one for one in events if one["kind"] == "state"]
    ended = {one["attempt"]: one for one in record["attempts"]}
    found = []
    for n, one in enumerate(states):
        if one["state"] in FINAL_STATES:
            continue
        ends = states[n + 1]["at"] if n + 1 < len(states) else record["ended_at"]
        failed = one["state"] == RUNNING and bool((ended.get(one["attempt"]) or {}).get("error"))
        after = states[n + 1]["state"] if n + 1 < len(states) else None
        seconds = max(0.0, between(one["at"], ends) or 0.0)
        found.append(Step(*_looks(one, failed, after), seconds, one["at"], ends))
    return found[-STEPS_MAX:]


def _looks(state: dict[str, Any], failed: bool, after: str | None) -> tuple[str, str]:
    name, attempt = state["state"], state["attempt"]
    if name == WAITING:
        return "waiting", "waited"
    if name == SCHEDULED:
        return "scheduled", "backoff" if attempt else "scheduled"
    assert name == RUNNING, name
    if failed:
        return "failed", f"attempt {attempt} failed"
    if after is None:
        return "running", f"attempt {attempt}"
    how = {"complete": "complete", "failed": "failed", "cancelled": "cancelled"}.get(after)
    if how is None:
        return "cancelled", f"attempt {attempt}, given back"
    return how, f"attempt {attempt}" + ("" if how == "complete" else f" {how}")


def picture(steps: list[Step]) -> Markup:
    """The bar."""
    if not steps:
        return Markup("")
    begin = moment(steps[0].starts).timestamp()
    bars = []
    for one in steps:
        at = moment(one.starts).timestamp() - begin
        bars.append(svg.Bar(at, at + one.seconds, one.colour, f"{one.text}, {span(one.seconds)}"))
    return svg.life(bars)
