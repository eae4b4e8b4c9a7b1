"""Options that many verbs have, and the client that they connect with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from zmws import settings
from zmws.client.synchronous import Client
from zmws.sockets import check_endpoint

CONNECT_S = 1.2  # a broker that has not answered by then is not there

FOR_PROGRAMS = "zmws.for_programs"  # in a context's meta: --json was given

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The settings file [etc/zmws.toml].",
)


def _for_programs(ctx: click.Context, _: click.Parameter, given: bool) -> bool:
    if given:
        ctx.meta[FOR_PROGRAMS] = True
    return given


# Before the other options: what is wrong with one of those is told as JSON already.
json_option = click.option(
    "--json", "as_json", is_flag=True, is_eager=True, callback=_for_programs, help="Print JSON, for programs."
)


def broker_options(command: F) -> F:
    """--broker and --config: where the broker is."""
    command = click.option(
        "--broker", multiple=True, help="Client endpoint, tcp://HOST:PORT; may be repeated."
    )(command)
    return config_option(command)


def connect(broker: tuple[str, ...], config: Path | None) -> Client:
    """A client of the broker that the flags or the settings name."""
    if not broker:
        broker = (settings.connectable(settings.load(config).broker.client),)
    for endpoint in broker:
        try:
            check_endpoint(endpoint)
        except ValueError as wrong:
            raise click.UsageError(str(wrong)) from None
    # The whole command is to have said so within 2 s.
    return Client(list(broker), connect_timeout=CONNECT_S)


def sure(question: str, yes: bool) -> None:
    """Ask a person before much is undone; a program is not asked. Raises Abort for a no."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"zmws: {question}", abort=True, err=True)
