"""`zmws reload` and `scale`: other settings, other code, more copies, while the work goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from zmws.cli.control import say_event
from zmws.cli.durations import wait_time
from zmws.cli.ends import FAILED, zmws
from zmws.cli.names import processes_argument
from zmws.cli.options import config_option, json_option, settings_here
from zmws.cli.output import echo, say
from zmws.cli.tables import show_json
from zmws.cli.telling import tell
from zmws.errors import ZmwsError
from zmws.supervisor.processes import Installation
from zmws.supervisor.start import ask

_timeout = click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=wait_time,
    metavar="DURATION",
    help="How long to wait until what is new is ready.",
)


@click.command()
@_timeout
@json_option
@config_option
@processes_argument(nargs=-1)
def reload(timeout: float, as_json: bool, config: Path | None, names: tuple[str, ...]) -> int:
    """Take up the settings and the code as they are now, without an interruption.

    What is new in the file starts, what is gone from it leaves, and what has changed (its settings or its
    file; of NAMES all) is started anew, one copy after the other: a new process is ready before the old one
    finishes its jobs and leaves. One that does not come up ends that, and the old ones go on. The broker
    is left alone.
    """
    here = Installation(settings_here(config))
    here.processes(True, True, names)  # an unknown name is told before anything
    command = {"verb": "reload", "names": list(names), "timeout_s": timeout}
    return _change(here, command, as_json, ", ".join(names) or "everything")


def _count(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    counts = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not name or not number.isdigit():
            raise click.BadParameter(f"'{text}' must be NAME=COUNT, such as hello=4")
        counts[name] = int(number)
    return counts


@click.command()
@_timeout
@json_option
@config_option
@click.argument("counts", nargs=-1, required=True, callback=_count, metavar="NAME=COUNT...")
def scale(timeout: float, as_json: bool, config: Path | None, counts: Mapping[str, int]) -> int:
    """Run so many copies of a worker.

    It holds until 'reload', or until everything is stopped; the settings file is not changed. Copies that
    are too many finish their jobs. A worker whose count follows what waits stays at this number meanwhile.
    """
    here = Installation(settings_here(config))
    command = {"verb": "scale", "counts": dict(counts), "timeout_s": timeout}
    return _change(here, command, as_json, ", ".join(counts), counts=dict(counts))


def _change(here: Installation, command: Mapping[str, Any], as_json: bool, on: str, **asked: Any) -> int:
    if not here.running():
        raise ZmwsError(f"nothing runs in {here.root}: '{zmws()} start' starts it")
    told: Callable[[str], None] = (lambda text: None) if as_json else echo
    failed: dict[str, str] = {}
    for answer in ask(here, command, say_event):
        match answer.get("event"):
            case "ready":
                told(f"ready: {answer['name']}")
            case "stopped":
                told(f"{'killed' if answer['killed'] else 'stopped'}: {answer['name']}")
            case "rolled":
                told(f"rolled: {answer['name']}")
            case "failed":
                say(f"zmws: {answer['name']} {answer['text']}")
        if "done" in answer:
            done = answer["done"]
            failed = done["failed"]
            if as_json:
                show_json(done)
            for note in done.get("notes", ()):
                say(f"zmws: {note}")
            if not any(done.get(what) for what in ("started", "stopped", "rolled", "failed")):
                told("nothing has changed")
            names = {what: list(done.get(what) or ()) for what in ("started", "stopped", "rolled", "failed")}
            tell(here, command["verb"], on, **asked, **names)
    if failed:
        say(f"zmws: not as it should be: {', '.join(failed)}; what ran before goes on")
    return FAILED if failed else 0
