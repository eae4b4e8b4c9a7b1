"""The one command line of workers: `zmws worker FILE`, and `WorkerBase.main()` of a file that is its own.

It knows WorkerBase only as something with `run(brokers, service)`: `base` stands above it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from zmws import settings, sockets
from zmws.errors import SettingsError, ZmwsError

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_LEVELS = {name.lower(): name for name in _LEVELS} | {name[0].lower(): name for name in _LEVELS}
USAGE = 2  # the exit code of a command that cannot be

OPTIONS: tuple[click.Parameter, ...] = (
    click.Option(["--broker"], multiple=True, help="Worker endpoint of a broker; may be repeated."),
    click.Option(["--service"], help="Serve this service instead of the class's own."),
    click.Option(["--log-level"], default="info", help="debug, info, warning or error."),
    click.Option(
        ["-c", "--config"],
        type=click.Path(path_type=Path),
        help="The settings file [etc/zmws.toml].",
    ),
)


def set_up_log(level: str) -> None:
    """Log to standard error, times in UTC. `level`: a name or its first letter.

    Raises SettingsError for any other.
    """
    name = LOG_LEVELS.get(level.lower())
    if name is None:
        raise SettingsError(f"'{level}' is no log level; there are debug, info, warning and error")
    logging.Formatter.converter = time.gmtime
    form = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=name, format=form, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr)


def importable(folder: Path) -> None:
    """Let Python find modules in this folder, last of all: none there can stand for one of Python's or of
    an installed package, which other modules import too."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def command(
    name: str, text: str, run: Callable[..., int], arguments: Sequence[click.Parameter] = ()
) -> click.Command:
    """A command with the options of workers. `text`: its help; `run` gets what is given."""
    context: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
    return click.Command(name, context, run, [*arguments, *OPTIONS], help=text)


def main_of(cls: type[Any], args: Sequence[str] | None = None) -> int:
    """`Worker.main()`; the exit code."""

    def run(**given: Any) -> int:
        return run_worker(lambda: cls, **given)

    text = (cls.__doc__ or f"The worker {cls.__name__}.").strip()
    try:
        code: int = command(cls.__name__, text, run).main(args, standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    return code


def run_worker(
    load: Callable[[], type[Any]],
    broker: Sequence[str] = (),
    service: str | None = None,
    config: Path | None = None,
    log_level: str = "info",
) -> int:
    """Run one worker process; the exit code. `load` gives its class; what is not given is as the settings
    have it. What is wrong with any of that is told on standard error."""
    try:
        set_up_log(log_level)
        importable(settings.root_of(config))
        cls = load()
        endpoints = list(broker) or [settings.address("worker", config)]
        for endpoint in endpoints:
            sockets.check_endpoint(endpoint)
        code: int = cls().run(endpoints, service)
        return code
    except (ZmwsError, ValueError) as wrong:
        sys.stderr.write(f"zmws: {wrong}\n")
        return USAGE
