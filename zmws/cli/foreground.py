"""`zmws broker` and `zmws worker`: one process in the foreground, for systemd and containers."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import FAILED, USAGE
from zmws.cli.options import F, config_option, settings_here
from zmws.errors import SettingsError, StoreError
from zmws.log_file import LogFile
from zmws.service_manager import ServiceManager
from zmws.settings.workers import file_and_names
from zmws.supervisor.pidfile import leave_note, ready_note
from zmws.supervisor.sessions import MARK
from zmws.work.command import OPTIONS, command, run_worker, set_up_log

_FLAGS = {
    "client": ("broker.client", "Where clients connect."),
    "worker": ("broker.worker", "Where workers connect."),
    "news": ("broker.news", "Where subscribers of news connect."),
    "mdp": ("broker.mdp", "Where strict MDP/0.2 peers connect; '' for nowhere."),
    "store": ("store.url", "The store's url."),
    "heartbeat_interval": ("broker.heartbeat_interval", "Seconds between heartbeats."),
    "log_level": ("broker.log_level", "debug, info, warning or error, or a first letter."),
}


def _setting_flags(command: F) -> F:
    """Flags for the settings that are given most."""
    for name, (_, text) in reversed(_FLAGS.items()):
        command = click.option(f"--{name.replace('_', '-')}", help=text)(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@_setting_flags
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Write the log there, and all that is printed; SIGHUP opens it anew.",
)
@click.option(
    "--set", "others", multiple=True, metavar="KEY=VALUE", help="Any setting: broker.frames_max=64."
)
def broker(config: Path | None, log_file: Path | None, others: tuple[str, ...], **given: str | None) -> int:
    """Run the broker in the foreground. SIGTERM or Ctrl-C ends it; so does SIGHUP, without --log-file."""
    from zmws.server import BrokerServer, StartFailed
    from zmws.store import open_store

    flags: dict[str, object] = {_FLAGS[name][0]: value for name, value in given.items()}
    for other in others:
        key, separator, value = other.partition("=")
        if not separator:
            raise click.UsageError(f"--set takes KEY=VALUE, not '{other}'")
        flags[key] = value
    known = settings_here(config, flags)
    log = None if log_file is None else LogFile(log_file, known.logs.bytes_max, known.logs.files)
    if log is not None:
        log.take()
    set_up_log(known.broker.log_level, known.logs.format)
    try:
        jobs = open_store(known)
    except StoreError as wrong:
        logging.getLogger("zmws.broker").error("%s", wrong)
        return FAILED
    server = BrokerServer(known, jobs, ServiceManager())
    server.handle_signals()
    if log is not None:
        signal.signal(signal.SIGHUP, lambda number, frame: log.reopen())
    try:
        try:
            server.bind()
        except StartFailed:
            server.close()  # `run` does it by itself
            raise
        server.run()
    except StartFailed as wrong:
        logging.getLogger("zmws.broker").error("%s", wrong)
        return USAGE
    if server.fault is not None:
        return FAILED
    leave_note(os.environ.get(MARK), 0, removes=True)
    return 0


def _worker(files: tuple[str, ...], reload: bool, **given: Any) -> int:
    # Whatever begins with a dash and is none of our options is the classes' own.
    count = next((n for n, word in enumerate(files) if word.startswith("-")), len(files))
    if not count:
        raise click.UsageError("name a worker FILE first, then its own options")
    if reload:
        return _reloaded(files, count, **given)
    from zmws.work.files import load_main_classes
    from zmws.work.run import DRAINED

    mark = os.environ.get(MARK)

    def before_end(code: int) -> None:
        leave_note(mark, code, removes=code in (0, DRAINED))

    return run_worker(
        lambda: load_main_classes(files[:count]),
        files[count:],
        before_end=before_end,
        manager=_Noted(mark),
        **given,
    )


class _Noted(ServiceManager):
    """Tells the supervisor, too, by a note in run/: the worker may end before that has seen it."""

    def __init__(self, mark: str | None) -> None:
        super().__init__()
        self._mark = mark

    def ready(self) -> None:
        ready_note(self._mark)
        super().ready()


def _reloaded(words: tuple[str, ...], count: int, config: Path | None, log_level: str, **given: Any) -> int:
    """`words`: the files, so many of them, and behind them the options of their classes."""
    from zmws.supervisor.reload import reload

    if MARK in os.environ:
        raise SettingsError(
            "--reload is for a worker in the foreground; 'zmws start' cannot start one with it"
        )
    set_up_log(log_level)
    files = [file_and_names(word, Path.cwd())[0] for word in words[:count]]
    for file in files:
        if not file.is_file():
            raise SettingsError(f"there is no worker file {file}")
    known = settings_here(config)
    given |= {"config": config, "log_level": log_level}
    arguments = [*words]
    for option in OPTIONS:
        value = given[str(option.name)]
        for one in value if option.multiple else [value]:
            if one is not None:
                arguments += [option.opts[-1], str(one)]
    folders = list(dict.fromkeys([*(file.parent for file in files), known.root]))
    ignored = [known.store_folder, known.logs_dir, known.run_dir]
    return reload(arguments, folders, ignored)


worker = command(
    "worker",
    "Run the workers of FILE in the foreground, in one process: all that the file defines, or those of NAME. "
    "Options of their own follow. SIGTERM or Ctrl-C lets them finish and leave.",
    _worker,
    [
        click.Argument(["files"], nargs=-1, required=True, metavar="FILE[:NAME]..."),
        click.Option(
            ["--reload"], is_flag=True, help="Start it anew when a Python file changes, here or beside FILE."
        ),
    ],
)
worker.context_settings["ignore_unknown_options"] = True
