"""The one command line of workers: `zmws worker FILE`, and `WorkerBase.main()` of a file that is its own.

It knows WorkerBase only as something with `run(brokers, service)`: `base` stands above it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from zmws import settings, sockets
from zmws.errors import SettingsError, ZmwsError
from zmws.key_file import KeyFile
from zmws.log_file import LogFile
from zmws.service_manager import ServiceManager
from zmws.settings import LogsSettings
from zmws.work.last_words import end
from zmws.work.line_handler import LineHandler

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_LEVELS = {name.lower(): name for name in _LEVELS} | {name[0].lower(): name for name in _LEVELS}
USAGE = 2  # the exit code of a command that cannot be
FAILED = 1
_THREADS_S = 2.0  # for threads that jobs have left to end by themselves

OPTIONS: tuple[click.Parameter, ...] = (
    click.Option(["--broker"], multiple=True, help="Worker endpoint of a broker; may be repeated."),
    click.Option(["--service", "--service-name"], help="Serve this service instead of the class's own."),
    click.Option(["--log-level"], default="info", help="debug, info, warning or error."),
    click.Option(
        ["--stop-timeout"],
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="How long a job may take to end at a stop; then it is given back [the class's, or 30].",
    ),
    click.Option(
        ["--log-file"], type=click.Path(path_type=Path), help="Write the log there, and all that is printed."
    ),
    click.Option(
        ["--log-bytes-max"],
        type=click.IntRange(1),
        default=LogsSettings().bytes_max,
        help="Begin another log file when it is larger.",
    ),
    click.Option(
        ["--log-files"],
        type=click.IntRange(0),
        default=LogsSettings().files,
        help="How many older ones are kept, as NAME.1 and so on.",
    ),
    click.Option(
        ["--log-format"],
        type=click.Choice(["text", "json"]),
        default=LogsSettings().format,
        help="How a line of the log is written; what is printed is as it is.",
    ),
    click.Option(
        ["-c", "--config"], type=click.Path(path_type=Path), help="The settings file [etc/zmws.toml]."
    ),
    click.Option(
        ["--key"],
        type=click.Path(path_type=Path),
        help="The key file by which it proves who it is [etc/keys/worker.key, where the broker asks].",
    ),
    # As the PHP program of the same name has them.
    click.Option(["--backend-servers"], hidden=True),
    click.Option(["--backend-port"], type=click.IntRange(1, 65535), hidden=True),
    click.Option(["--frontend-port"], type=click.IntRange(1, 65535), hidden=True),
)


def set_up_log(level: str, form: str = "text") -> None:
    """Log to standard error, times in UTC. `level`: a name or its first letter; `form`: text or json.

    Raises SettingsError for any other.
    """
    name = LOG_LEVELS.get(level.lower())
    if name is None:
        raise SettingsError(f"'{level}' is no log level; there are debug, info, warning and error")
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=name, handlers=[LineHandler(sys.stderr, form == "json")])


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
    flags = flags_of([cls])

    def run(**given: Any) -> int:
        own = {name: given.pop(name) for name in flags}
        return run_worker(lambda: [cls], own, **given)

    text = (cls.__doc__ or f"The worker {cls.__name__}.").strip()
    try:
        code: int = command(cls.__name__, text, run, [*flags.values()]).main(args, standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    return code


def flags_of(classes: Sequence[type[Any]]) -> dict[str, click.Option]:
    """The options that classes declare for their command line, by name. Raises ZmwsError for what is none, or
    stands for another one already."""
    found: dict[str, click.Option] = {}
    taken = {text for option in OPTIONS for text in option.opts} | {"-h", "--help"}
    for cls in classes:
        for flag in getattr(cls, "flags", ()):
            if not isinstance(flag, click.Option):
                raise ZmwsError(
                    f'{cls.__name__}.flags holds {flag!r}; write click.Option(["--name"], default=...)'
                )
            double = sorted(taken & {*flag.opts, *flag.secondary_opts})
            if flag.name in found and found[flag.name] is flag:
                continue  # two classes of one base
            if double or flag.name is None or flag.name in found:
                raise ZmwsError(f"{cls.__name__}.flags: {(double or flag.opts)[0]} is taken already")
            taken.update(flag.opts, flag.secondary_opts)
            found[flag.name] = flag
    return found


def flags_given(classes: Sequence[type[Any]], args: Sequence[str]) -> dict[str, Any]:
    """The values of the options that classes declare, out of a command line; with no `args` their defaults.
    Raises click.UsageError, and what `flags_of` raises."""
    flags = flags_of(classes)
    names = ", ".join(cls.__name__ for cls in classes)
    parser = click.Command(names, {"help_option_names": []}, params=[*flags.values()])
    return parser.make_context(names, [*args]).params


def run_worker(
    load: Callable[[], Sequence[type[Any]]],
    own: dict[str, Any] | Sequence[str] = (),
    broker: Sequence[str] = (),
    service: str | None = None,
    config: Path | None = None,
    key: Path | None = None,
    log_level: str = "info",
    stop_timeout: float | None = None,
    log_file: Path | None = None,
    log_bytes_max: int = LogsSettings().bytes_max,
    log_files: int = LogsSettings().files,
    log_format: str = LogsSettings().format,
    backend_servers: str | None = None,
    backend_port: int | None = None,
    frontend_port: int | None = None,
    before_end: Callable[[int], object] = lambda code: None,
    manager: ServiceManager | None = None,
) -> int:
    """Run one worker process; the exit code. `load` gives its classes; what is not given is as the settings
    have it. `before_end`: called with the exit code, also where the process ends at once. `manager`: who is
    told that it is ready. `own`: the values of the options that the classes declare, or a command line with
    them. What is wrong with any of that is told on standard error."""
    from zmws.work.run import Run

    if log_file is not None:
        LogFile(log_file, log_bytes_max, log_files).take()
    try:
        set_up_log(log_level, log_format)
        importable(settings.root_of(config))
        classes = load()
        values = own if isinstance(own, dict) else flags_given(classes, own)
        if service is not None and len(classes) > 1:
            raise SettingsError(f"--service is for one class, and here are {len(classes)}")
        hosts = [host.strip() for host in (backend_servers or "").split(",") if host.strip()]
        if hosts or backend_port is not None:
            broker = [*broker, *(f"tcp://{host}:{backend_port or 5556}" for host in hosts or ["127.0.0.1"])]
        if broker:
            endpoints = list(broker)
            for endpoint in endpoints:
                sockets.check_endpoint(endpoint)
            client_key = own_key = settings.key_for("worker", endpoints, key, config)
        else:
            found = settings.target("worker", "worker", key, config)
            endpoints, own_key = [found.endpoint], found.key
            client_key = own_key or _client_key(config)
        client = None if frontend_port is None else f"tcp://{(hosts or ['127.0.0.1'])[0]}:{frontend_port}"
        made = []
        for cls in classes:
            one = cls()
            one.options = values
            if stop_timeout is not None:
                one.stop_timeout = stop_timeout
            made.append((one, service))
        told = manager or ServiceManager()
        run = Run(
            made,
            endpoints,
            client=client,
            before_end=before_end,
            manager=told,
            key=own_key,
            client_key=client_key,
        )
    except (ZmwsError, ValueError) as wrong:
        sys.stderr.write(f"zmws: {wrong}\n")
        return USAGE
    try:
        code = run.run()
    except ZmwsError as wrong:
        sys.stderr.write(f"zmws: {wrong}\n")
        code = FAILED
    except Exception:  # a setup() has failed: told with where
        traceback.print_exc()
        code = FAILED
    before_end(code)
    return _without_threads(code)


def _client_key(config: Path | None) -> KeyFile | None:
    """The key of `self.client`, where clients have to show one and workers do not."""
    try:
        return settings.target("client", "worker", None, config).key
    except SettingsError:  # nobody knows yet where clients connect: the broker will tell
        return None


def _without_threads(code: int) -> int:
    """The exit code, when nothing of the author's keeps the process; else it ends here. Python would wait for
    threads that jobs have left, without end."""
    until = time.monotonic() + _THREADS_S
    left = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))
    names = ", ".join(thread.name for thread in left if thread.is_alive())
    if names and threading.current_thread() is threading.main_thread():
        text = "ends without the threads that jobs have left: %s"
        end(code, lambda: logging.getLogger("zmws.worker").warning(text, names))
    return code
