"""`zmws pause`, `resume`, `purge`: what an operator does to a service."""

from __future__ import annotations

import click

from zmws.cli.names import service_argument
from zmws.cli.options import Connect, broker_options, json_option, sure
from zmws.cli.tables import show_done


@click.command()
@service_argument()
@json_option
@broker_options
def pause(service: str, as_json: bool, connect: Connect) -> int:
    """Start no more jobs of SERVICE. What runs goes on, and new jobs are taken and wait."""
    return _set_paused("pause", "paused", service, as_json, connect)


@click.command()
@service_argument()
@json_option
@broker_options
def resume(service: str, as_json: bool, connect: Connect) -> int:
    """Start jobs of SERVICE again."""
    return _set_paused("resume", "resumed", service, as_json, connect)


@click.command()
@service_argument()
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@broker_options
def purge(service: str, yes: bool, as_json: bool, connect: Connect) -> int:
    """Cancel all jobs of SERVICE that wait or are scheduled."""
    with connect() as client:
        sure(f"cancel all waiting and scheduled jobs of {service}?", yes)
        count = client.purge(service)
    text = f"cancelled: {count} {'job' if count == 1 else 'jobs'} of {service}"
    show_done({"count": count}, text, as_json)
    return 0


def _set_paused(verb: str, done: str, service: str, as_json: bool, connect: Connect) -> int:
    with connect() as client:
        answer = client.ask(f"zmws.{verb}", {"service": service})
    show_done(answer, f"{done}: {service}", as_json)
    return 0
