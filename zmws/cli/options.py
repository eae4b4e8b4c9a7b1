"""Options that many verbs have, and the client that they connect with."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from zmws import settings
from zmws.cli.durations import moment
from zmws.cli.output import say
from zmws.cli.who import OperatorClient
from zmws.client.synchronous import Client
from zmws.errors import SettingsError
from zmws.key_file import NO_KEY
from zmws.settings.file import SNAPSHOT
from zmws.sockets import check_endpoint

CONNECT_S = 1.2  # a broker that has not answered by then is not there

FOR_PROGRAMS = "zmws.for_programs"  # in a context's meta: --json was given

Connect = Callable[[], Client]
F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The settings file [etc/zmws.toml, of this folder or the nearest above it].",
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
    """--broker and --config: the verb gets `connect`, which makes a client of the broker that they name."""

    @functools.wraps(command)
    def verb(
        *args: Any, broker: tuple[str, ...], config: Path | None, key_file: Path | None, **given: Any
    ) -> Any:
        return command(*args, connect=functools.partial(_client, broker, config, key_file), **given)

    text = "Client endpoint, tcp://HOST:PORT; may be repeated."
    found = click.option("--broker", multiple=True, help=text)(cast(F, verb))
    return config_option(key_option(found))


key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="The key file by which to prove who you are [etc/keys/operator.key, where the broker asks].",
)


def _client(broker: tuple[str, ...], config: Path | None, key: Path | None) -> Client:
    if not broker:
        endpoint, found = settings.target("client", "operator", key, config)
        return OperatorClient(endpoint, connect_timeout=CONNECT_S, key=found or NO_KEY)
    for endpoint in broker:
        try:
            check_endpoint(endpoint)
        except ValueError as wrong:
            raise click.UsageError(str(wrong)) from None
    # The whole command is to have said so within 2 s.
    found = settings.key_for("operator", broker, key, config)
    return OperatorClient(list(broker), connect_timeout=CONNECT_S, key=found or NO_KEY)


def operator_client(config: Path | None, key: Path | None) -> Client:
    """A client of the broker that the settings name, for who acts here."""
    return _client((), config, key)


def settings_here(config: Path | None, flags: Mapping[str, object] | None = None) -> settings.Settings:
    """The settings of the installation, for a verb that acts on it: where that is a folder above the current
    one, the user is told which."""
    known = settings.load(config, flags)
    if config is None and known.root != Path.cwd():
        say(f"zmws: the installation is {known.root}")
    return known


def settings_in_use(config: Path | None) -> settings.Settings:
    """As `settings_here`, for a verb that has to work while the file is being edited: where that cannot be
    used, the settings are those of the last start."""
    try:
        return settings_here(config)
    except SettingsError as wrong:
        try:
            known = settings.load(settings.root_of(config) / SNAPSHOT)
        except SettingsError:
            raise wrong from None
        say(f"zmws: {wrong}")
        say("zmws: what runs was started with the settings of before")
        return known


def filter_options(states: tuple[str, ...]) -> Callable[[F], F]:
    """Which jobs: of those that can be in these states."""

    def decorate(command: F) -> F:
        ago = "Made at this time or later: ISO 8601 with zone, or 1h for an hour ago."
        for option in (
            click.option("--before", metavar="TIME", type=moment, help="Made before this time."),
            click.option("--since", metavar="TIME", type=moment, help=ago),
            click.option("--submitter", metavar="NAME", help="Only what this key or token has submitted."),
            click.option("--batch", metavar="ID", help="Only of this batch."),
            click.option("--chain", metavar="ID", help="Only of this chain."),
            click.option("--parent", metavar="ID", help="Only what followed from the end of this job."),
            click.option("--cause", metavar="KEY", help="Only what failed for this cause ('zmws failures')."),
            click.option("--group", help="Only of this group."),
            click.option("--state", type=click.Choice(states), help="Only in this state."),
            click.option("--service", help="Only of this service."),
        ):
            command = option(command)
        return command

    return decorate


def asks(yes: bool) -> bool:
    """Whether somebody is there who is to be asked before much is undone; a program is not."""
    return not yes and sys.stdin.isatty() and sys.stderr.isatty()


def sure(question: str, yes: bool) -> None:
    """Ask a person before much is undone. Raises Abort for a no."""
    if asks(yes):
        click.confirm(f"zmws: {question}", abort=True, err=True)
