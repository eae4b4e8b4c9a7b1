"""Running a worker class: find the broker, log, run. For `zmws worker FILE` and `WorkerBase.main()`.

It knows WorkerBase only as something with `run(brokers, service)`: `base` stands above it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zmws import settings, sockets
from zmws.errors import SettingsError, ZmwsError

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_LEVELS = {name.lower(): name for name in _LEVELS} | {name[0].lower(): name for name in _LEVELS}


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


def run_class(cls: type[Any], args: Sequence[str] | None = None) -> int:
    """`Worker.main()`: options from the command line, the rest from the settings; the exit code."""
    parser = argparse.ArgumentParser(description=(cls.__doc__ or f"The worker {cls.__name__}.").strip())
    parser.add_argument("--broker", action="append", help="worker endpoint of a broker; may be repeated")
    parser.add_argument("--service", help="serve this service instead of the class's own")
    parser.add_argument("-c", "--config", type=Path, help="the settings file")
    parser.add_argument("--log-level", default="info", help="debug, info, warning or error")
    given = parser.parse_args(args)
    try:
        set_up_log(given.log_level)
        importable(settings.root_of(given.config))
        return run(cls, given.broker, given.service, given.config)
    except (ZmwsError, ValueError) as wrong:
        sys.stderr.write(f"zmws: {wrong}\n")
        return 2


def run(
    cls: type[Any],
    brokers: Sequence[str] | None,
    service: str | None = None,
    config: Path | None = None,
) -> int:
    """Run one worker process; brokers from the settings where none are given.

    Raises SettingsError, and ValueError for an endpoint or a service that cannot be.
    """
    if not brokers:
        brokers = [settings.connectable(settings.load(config).broker.worker)]
    for endpoint in brokers:
        sockets.check_endpoint(endpoint)
    code: int = cls().run(brokers, service)
    return code
