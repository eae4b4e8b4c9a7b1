"""`zmws pause`, `resume`, `limit`, `purge`: what an operator does to a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from zmws.cli.names import service_argument
from zmws.cli.options import Connect, F, broker_options, json_option, sure
from zmws.cli.tables import show_done, show_json, show_table
from zmws.core.options import LIMITS, option
from zmws.core.table import value_in
from zmws.errors import OptionError


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


AS_CONFIGURED = "default"  # what takes a limit back


def _limit(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
    if text is None or text == AS_CONFIGURED:
        return text
    name = str(param.name)
    try:
        return option(name, LIMITS[name], value_in(LIMITS[name], text))
    except OptionError as wrong:
        raise click.BadParameter(f"{wrong}, or {AS_CONFIGURED}") from None


def _limit_option(name: str) -> Callable[[F], F]:
    text = LIMITS[name].help
    flag = f"--{name.replace('_', '-')}"
    return click.option(flag, callback=_limit, metavar="NUMBER", help=text[0].upper() + text[1:] + ".")


@click.command()
@service_argument()
@_limit_option("max_running")
@_limit_option("rate")
@_limit_option("max_waiting")
@json_option
@broker_options
def limit(service: str, as_json: bool, connect: Connect, **given: Any) -> int:
    """Set limits of SERVICE, as of now. They hold over a restart of the broker, and go before the settings;
    'default' is what the settings say. With none given, show those that hold."""
    limits = {
        name: None if value == AS_CONFIGURED else value for name, value in given.items() if value is not None
    }
    with connect() as client:
        told = client.limit(service, **limits) if limits else client.service(service)
    if as_json:
        show_json(told)
        return 0
    rows = [(name.replace("_", "-"), told["options"][name]) for name in LIMITS]
    show_table(("LIMIT", "VALUE", "FROM"), [(name, one["value"], one["from"]) for name, one in rows])
    return 0


def _set_paused(verb: str, done: str, service: str, as_json: bool, connect: Connect) -> int:
    with connect() as client:
        answer = client.ask(f"zmws.{verb}", {"service": service})
    show_done(answer, f"{done}: {service}", as_json)
    return 0
