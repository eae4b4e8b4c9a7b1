"""`zmws broker` and `zmws worker`: one process in the foreground, for systemd and containers."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import click

from zmws import settings
from zmws.cli.ends import FAILED, USAGE
from zmws.cli.options import F, config_option
from zmws.cli.output import say
from zmws.errors import StoreError
from zmws.supervisor.pidfile import remove_own
from zmws.supervisor.sessions import MARK

_FLAGS = {
    "client": ("broker.client", "Where clients connect."),
    "worker": ("broker.worker", "Where workers connect."),
    "news": ("broker.news", "Where subscribers of news connect."),
    "mdp": ("broker.mdp", "Where strict MDP/0.2 peers connect; '' for nowhere."),
    "store": ("store.url", "The store's url."),
    "heartbeat_interval": ("broker.heartbeat_interval", "Seconds between heartbeats."),
    "log_level": ("broker.log_level", "debug, info, warning or error."),
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
    "--set", "others", multiple=True, metavar="KEY=VALUE", help="Any setting: broker.frames_max=64."
)
def broker(config: Path | None, others: tuple[str, ...], **given: str | None) -> int:
    """Run the broker in the foreground. SIGTERM, SIGHUP or Ctrl-C ends it."""
    from zmws.server import BrokerServer, StartFailed
    from zmws.store import open_store
    from zmws.worker.command import set_up_log

    flags: dict[str, object] = {_FLAGS[name][0]: value for name, value in given.items()}
    for other in others:
        key, separator, value = other.partition("=")
        if not separator:
            raise click.UsageError(f"--set takes KEY=VALUE, not '{other}'")
        flags[key] = value
    known = settings.load(config, flags)
    set_up_log(known.broker.log_level)
    try:
        jobs = open_store(known)
    except StoreError as wrong:
        logging.getLogger("zmws.broker").error("%s", wrong)
        return FAILED
    server = BrokerServer(known, jobs)
    server.handle_signals()
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
    remove_own(os.environ.get(MARK))
    return 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--broker", multiple=True, help="Worker endpoint of a broker; may be repeated.")
@click.option("--service", help="Serve this service instead of the class's own.")
@click.option("--log-level", default="info", help="debug, info, warning or error.")
@config_option
def worker(
    file: Path, broker: tuple[str, ...], service: str | None, log_level: str, config: Path | None
) -> int:
    """Run the worker of FILE in the foreground. SIGTERM, SIGHUP or Ctrl-C lets it finish and leave."""
    from zmws.worker.command import importable, run, set_up_log
    from zmws.worker.files import WorkerFileError, load_main_class

    set_up_log(log_level)
    try:
        importable(settings.root_of(config))
        code = run(load_main_class(file), list(broker), service, config)
    except (WorkerFileError, ValueError) as wrong:
        say(f"zmws: {wrong}")
        where = traceback.extract_tb(wrong.__cause__.__traceback__ if wrong.__cause__ else None)
        if where:
            say(f"  {where[-1].filename}:{where[-1].lineno}: {where[-1].line}")
        return USAGE
    if code == 0:
        remove_own(os.environ.get(MARK))
    return code
