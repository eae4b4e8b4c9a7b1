"""`zmws broker` and `zmws worker`: one process in the foreground, for systemd and containers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from zmws import settings
from zmws.cli.ends import FAILED, USAGE
from zmws.cli.options import config_option
from zmws.errors import StoreError
from zmws.supervisor.pidfile import remove_own
from zmws.supervisor.sessions import MARK
from zmws.worker.command import command, run_worker, set_up_log


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@click.option("--client", help="Where clients connect.")
@click.option("--worker", help="Where workers connect.")
@click.option("--news", help="Where subscribers of news connect.")
@click.option("--mdp", help="Where strict MDP/0.2 peers connect; '' for nowhere.")
@click.option("--store", help="The store's url.")
@click.option("--heartbeat-interval", type=float, help="Seconds between heartbeats.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.option(
    "--set", "others", multiple=True, metavar="KEY=VALUE", help="Any setting: broker.frames_max=64."
)
def broker(
    config: Path | None,
    client: str | None,
    worker: str | None,
    news: str | None,
    mdp: str | None,
    store: str | None,
    heartbeat_interval: float | None,
    log_level: str | None,
    others: tuple[str, ...],
) -> int:
    """Run the broker in the foreground. SIGTERM, SIGHUP or Ctrl-C ends it."""
    from zmws.server import BrokerServer, StartFailed
    from zmws.store import open_store

    flags: dict[str, object] = {
        "broker.client": client,
        "broker.worker": worker,
        "broker.news": news,
        "broker.mdp": mdp,
        "store.url": store,
        "broker.heartbeat_interval": heartbeat_interval,
        "broker.log_level": log_level,
    }
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


def _worker(file: Path, **given: Any) -> int:
    from zmws.worker.files import load_main_class

    code = run_worker(lambda: load_main_class(file), **given)
    if code == 0:
        remove_own(os.environ.get(MARK))
    return code


worker = command(
    "worker",
    "Run the worker of FILE in the foreground. SIGTERM, SIGHUP or Ctrl-C lets it finish and leave.",
    _worker,
    [click.Argument(["file"], type=click.Path(path_type=Path))],
)
