"""The command: `python -m tests.faults --seed N --places 200`."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults import crew
from tests.faults.draw import at, drawn, places_of
from tests.faults.fault import KINDS, Fault
from tests.faults.hunt import Hunt
from tests.faults.learning import NothingLearned, learned
from tests.faults.project import PACKAGES, ROOT, Project
from tests.faults.table import as_json, table, where
from tests.faults.trial import Trial

REPLAY_PATIENCE_S = 60.0  # the usual times are not known then


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Puts faults into the shipped code and names those that no test without sockets notices.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="the choice of places; the same seed chooses the same (1)")
    add("--places", type=int, default=200, help="how many faults are tried (200)")
    add("--files", nargs="+", default=[], metavar="GLOB", help="only in these files")
    add("--jobs", type=int, default=2, help="how many at a time (2)")
    add("--seeds", type=int, default=60, help="how many histories the simulator runs for each fault (60)")
    add(
        "--patience",
        type=float,
        default=10.0,
        help="a test may take ten times its usual time, or so long (10)",
    )
    add("--at-least", type=float, default=92.0, help="the exit code is 1 when less per cent is noticed (92)")
    add(
        "--json",
        type=lambda text: Path(text).absolute(),
        metavar="FILE",
        help="write what was found for programs, too",
    )
    add("--list", action="store_true", help="only print the faults that would be tried")
    text = f"try the faults of one line, and show what the tests print; KIND is one of {', '.join(KINDS)}"
    add("--place", metavar="FILE:LINE[:KIND]", help=text)
    add("--root", type=Path, default=ROOT, help="another project's folder")
    add("--package", action="append", help=f"a folder whose modules get faults ({', '.join(PACKAGES)})")
    add("--tests", default="tests", help="the folder of the tests (tests)")
    return parser


def main() -> int:
    given = options().parse_args()
    project = Project(
        given.root.resolve(),
        tuple(given.package or PACKAGES),
        given.tests,
        (f"--seeds={given.seeds}",) if given.root == ROOT else (),
    )
    if given.place:
        try:
            faults = at(project, given.place)
        except ValueError as wrong:
            return _fail(str(wrong))
        if not faults:
            return _fail(f"there is no place for a fault at {given.place}")
        if given.list:
            return _list(project, faults)
        return _replay(project, faults, given.patience)
    places = places_of(project, tuple(given.files))
    if not places:
        return _fail("there is no place for a fault in these files")
    if given.list:
        return _list(project, list(itertools.islice(drawn(places, given.seed), given.places)))
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        _say(f"{len(places)} places; running each test once, to learn which lines it runs")
        os.chdir(project.root)
        try:
            known = learned(project, given.jobs, Path(folder))
        except NothingLearned as fault:
            return _fail(str(fault))
        _say(f"{len(known.seconds)} tests need no socket, process or thread; {known.skipped} are left out")
        for text in known.failed:
            _say(f"left out, since it fails without a fault: {text}")
        hunt = Hunt(project, known, drawn(places, given.seed), given.places, given.patience, _progress)
        hunt.run(given.jobs, Path(folder))
    _say("")
    print(table(hunt))
    if given.json:
        given.json.write_text(json.dumps(as_json(hunt, given.seed), indent=1) + "\n")
    return 0 if hunt.percent >= given.at_least else 1


def _list(project: Project, faults: list[Fault]) -> int:
    for fault in faults:
        place = fault.place
        before, after = fault.shown(place.path.read_bytes())
        print(f"{project.name(place.path)}:{place.line}:{place.kind}\n    {before}\n    {after}")
    return 0


def _replay(project: Project, faults: list[Fault], patience_s: float) -> int:
    """All tests are run, in their own order: nothing has been learned."""
    trials = [
        Trial(project, fault, None, {}, max(patience_s, REPLAY_PATIENCE_S), output=True) for fault in faults
    ]
    os.chdir(project.root)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for number, trial in enumerate(trials):
            print(trial.fault.diff(trial.source, project.name(trial.fault.place.path)), flush=True)
            one = Path(folder) / str(number)
            one.mkdir()
            rest = iter([trial])
            crew.run(lambda rest=rest: next(rest, None), 1, one)  # type: ignore[misc]
            print(trial.output)
            by = f" by {trial.test}: {trial.why}" if trial.test else f" {trial.why}"
            print(f"== {trial.verdict}{by}\n", flush=True)
    return 0 if all(trial.is_noticed or not trial.is_fair for trial in trials) else 1


def _progress(hunt: Hunt) -> None:
    done, latest = len(hunt.fair), hunt.fair[-1]
    if not latest.is_noticed:
        start = "\r" if sys.stderr.isatty() else ""
        _say(f"{start}missed: {where(latest)}:{latest.fault.place.kind}")
    line = f"{done}/{hunt.count}, noticed so far: {len(hunt.noticed)}"
    if sys.stderr.isatty():
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    elif done % 10 == 0:
        _say(line)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str) -> int:
    _say(f"faults: {text}")
    return 2


if __name__ == "__main__":
    # Sets and dicts of texts are walked in the same order each time, so that a replay is one.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C it leaves nothing behind
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
