"""What a hunt has found, for people and for programs."""

from __future__ import annotations

from typing import Any

from tests.faults.hunt import Hunt
from tests.faults.trial import DIED, HUNG, Trial


def table(hunt: Hunt) -> str:
    """The survivors, and the share that was noticed."""
    lines = []
    for trial in sorted(hunt.survivors, key=lambda one: (one.fault.place.path, one.fault.place.line)):
        before, after = trial.fault.shown(trial.source)
        lines += [f"{where(trial)}  {trial.fault.place.kind}", f"    {before}", f"    {after}"]
        lines += [f"    {_tests(trial)}", ""]
    for verdict, text in ((HUNG, "a test hangs"), (DIED, "the process ends in the middle of a test")):
        found = [trial for trial in hunt.fair if trial.verdict == verdict]
        lines += [f"{where(trial)}  noticed, for {text}: {trial.test}" for trial in found]
    number = len(hunt.noticed)
    lines.append(f"{number} of {len(hunt.fair)} faults were noticed: {hunt.percent:.1f} %")
    if hunt.unfair:
        count = len(hunt.unfair)
        lines.append(f"{count} more could not be tried, since the module cannot be imported with them")
    return "\n".join(lines)


def as_json(hunt: Hunt, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "noticed": len(hunt.noticed),
        "survived": len(hunt.survivors),
        "unfair": len(hunt.unfair),
        "percent": round(hunt.percent, 2),
        "faults": [_as_json(trial) for trial in hunt.fair],
    }


def where(trial: Trial) -> str:
    return f"{trial.project.name(trial.fault.place.path)}:{trial.fault.place.line}"


def _tests(trial: Trial) -> str:
    if not trial.ran and not trial.crashed:
        return "no test runs this line"
    broke_down = f", {len(trial.crashed)} of them broke down themselves" if trial.crashed else ""
    tests = "1 test" if trial.ran == 1 else f"{trial.ran} tests"
    return f"{tests} ran over it{broke_down}"


def _as_json(trial: Trial) -> dict[str, Any]:
    place = trial.fault.place
    before, after = trial.fault.shown(trial.source)
    return {
        "file": trial.project.name(place.path),
        "line": place.line,
        "column": place.column,
        "kind": place.kind,
        "before": before,
        "after": after,
        "verdict": trial.verdict,
        "test": trial.test or None,
        "why": trial.why,
        "tests": trial.ran,
        "crashed": trial.crashed,
        "seconds": round(trial.took_s, 2),
    }
