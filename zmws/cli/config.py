"""`zmws config`: whether the settings are right, and what they come to."""

from __future__ import annotations

from pathlib import Path

import click

from zmws import settings
from zmws.cli.options import config_option, json_option
from zmws.cli.output import echo, say
from zmws.cli.tables import show_json
from zmws.errors import SettingsError
from zmws.server.security import check as check_security
from zmws.server.security import doorways


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@json_option
@config_option
def check(as_json: bool, config: Path | None) -> int:
    """Check the whole settings file, and say what it comes to."""
    known = settings.load(config)
    for worker in known.workers:
        if (what := settings.missing(worker)) is not None:
            raise SettingsError(f"worker {worker.name}: {what}")
    check_security(known)
    if as_json:
        show_json(known.as_shown())
        return 0
    where = known.path if known.path is not None else "no settings file: the defaults"
    echo(f"ok: {where}")
    broker = known.broker
    echo(f"  client {broker.client}, worker {broker.worker}, news {broker.news}, mdp {broker.mdp or 'off'}")
    echo(f"  store {settings.without_password(known.store.url)}, services {len(known.services)} configured")
    for schedule in known.schedules:
        when = schedule.cron if schedule.cron is not None else f"every {schedule.every:g} s"
        when += f" in {schedule.zone}" if schedule.cron is not None else ""
        echo(f"  schedule {schedule.name}: {schedule.service}, {when}{', paused' if schedule.paused else ''}")
    for worker in known.workers:
        count = str(worker.count) if worker.scale is None else f"{worker.scale.min} to {worker.scale.max}"
        echo(f"  worker {worker.name}: {worker.what} x {count}")
    for name, door in doorways(known).items():
        if door.key is None and not settings.is_loopback(getattr(broker, name)):
            say(
                f"zmws: warning: broker.{name} is open to the network, and nothing authenticates who connects"
            )
    return 0
