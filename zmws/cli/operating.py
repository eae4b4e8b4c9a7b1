"""`zmws pause`, `resume`, `purge`: what an operator does to a service."""

from __future__ import annotations

from pathlib import Path

import click

from zmws.cli.options import broker_options, connect, json_option, sure
from zmws.cli.output import echo
from zmws.cli.tables import show_json


@click.command()
@click.argument("service")
@json_option
@broker_options
def pause(service: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Start no more jobs of SERVICE. What runs goes on, and new jobs are taken and wait."""
    return _set_paused("pause", "paused", service, as_json, broker, config)


@click.command()
@click.argument("service")
@json_option
@broker_options
def resume(service: str, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Start jobs of SERVICE again."""
    return _set_paused("resume", "resumed", service, as_json, broker, config)


@click.command()
@click.argument("service")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@broker_options
def purge(service: str, yes: bool, as_json: bool, broker: tuple[str, ...], config: Path | None) -> int:
    """Cancel all jobs of SERVICE that wait or are scheduled."""
    with connect(broker, config) as client:
        sure(f"cancel all waiting and scheduled jobs of {service}?", yes)
        count = client.purge(service)
    if as_json:
        show_json({"count": count})
    else:
        echo(f"cancelled: {count} {'job' if count == 1 else 'jobs'} of {service}")
    return 0


def _set_paused(
    verb: str, done: str, service: str, as_json: bool, broker: tuple[str, ...], config: Path | None
) -> int:
    with connect(broker, config) as client:
        answer = client.ask(f"zmws.{verb}", {"service": service})
    if as_json:
        show_json(answer)
    else:
        echo(f"{done}: {service}")
    return 0
