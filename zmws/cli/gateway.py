"""`zmws gateway`: HTTP in the foreground; and its tokens."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import click

from zmws.cli.ends import USAGE
from zmws.cli.keys import make_token, revoke_key, rights_given, rights_options, show_token
from zmws.cli.options import (
    config_option,
    json_option,
    key_option,
    operator_client,
    settings_here,
    sure,
)
from zmws.cli.output import echo
from zmws.cli.tables import show_done, show_json, show_table
from zmws.core.key import TOKEN
from zmws.errors import SettingsError
from zmws.log_file import LogFile
from zmws.service_manager import ServiceManager
from zmws.supervisor.pidfile import leave_note, ready_note
from zmws.supervisor.processes import NO_GATEWAY
from zmws.supervisor.sessions import MARK
from zmws.work.command import set_up_log


@click.group(invoke_without_command=True)
@config_option
@click.option("--http", metavar="HOST:PORT", help="Where it listens.")
@click.option("--log-level", help="debug, info, warning or error, or a first letter.")
@click.option(
    "--log-file", type=click.Path(path_type=Path), help="Write the log there; SIGHUP opens it anew."
)
@click.pass_context
def gateway(
    context: click.Context,
    config: Path | None,
    http: str | None,
    log_level: str | None,
    log_file: Path | None,
) -> int:
    """Serve HTTP in the foreground. SIGTERM or Ctrl-C ends it.

    It is a client of the broker, and holds nothing: it may be killed and started again, and no job is lost.
    """
    context.obj = config
    if context.invoked_subcommand is not None:
        return 0
    known = settings_here(config, {"gateway.http": http, "gateway.log_level": log_level})
    log = None if log_file is None else LogFile(log_file, known.logs.bytes_max, known.logs.files)
    if log is not None:
        log.take()
    set_up_log(known.gateway.log_level, known.logs.format)
    for name in ("uvicorn", "python_multipart"):  # whoever sends nonsense is told, and not the log
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        from zmws.gateway import server
    except ImportError as missing:
        logging.getLogger("zmws.gateway").error("%s (%s)", NO_GATEWAY, missing)
        return USAGE
    try:
        tokens = server.check(known)
        listening = server.bound(known)
    except SettingsError as wrong:
        logging.getLogger("zmws.gateway").error("%s", wrong)
        return USAGE
    if log is not None:
        signal.signal(signal.SIGHUP, lambda number, frame: log.reopen())
    manager, mark = ServiceManager(), os.environ.get(MARK)

    def ready() -> None:
        ready_note(mark)
        manager.ready()

    try:
        server.run(known, tokens, listening, ready)
    except SettingsError as wrong:
        logging.getLogger("zmws.gateway").error("%s", wrong)
        return USAGE
    leave_note(mark, 0, removes=True)
    return 0


@gateway.group()
def token() -> None:
    """Who may come in by HTTP: make tokens, list them, delete them.

    As soon as there is one, every request needs one. The roles: a viewer looks on, a client submits and
    follows its jobs, a worker leases jobs and reports, an operator may everything."""


@token.command()
@click.argument("name")
@rights_options
@json_option
@key_option
@click.pass_obj
def new(config: Path | None, /, name: str, key_file: Path | None, as_json: bool, **given: Any) -> int:
    """Make a token and print it. It is shown this once: only what tells whether a text is it is kept.
    'zmws keys new --token' does the same."""
    asked = rights_given(given)
    if not {"role", "rights"} & asked.keys():
        raise click.UsageError("say what it may: --role client, worker, viewer or operator")
    token, told = make_token(settings_here(config), name, asked, key_file, config)
    show_token(name, asked, token, told, as_json)
    return 0


@token.command("list")
@json_option
@key_option
@click.pass_obj
def list_(config: Path | None, key_file: Path | None, as_json: bool) -> int:
    """List the tokens: name, role, when it was made."""
    with operator_client(config, key_file) as client:
        keys = client.ask("zmws.keys")["keys"]
    rows = [row for row in keys if row["kind"] == TOKEN and row["revoked_at"] is None]
    if as_json:
        show_json(rows)
    elif not rows and any(row["kind"] == TOKEN for row in keys):
        echo("there is no token any more: nobody comes in by HTTP until one is made")
    elif not rows:
        echo("there is no token: everybody on this machine may everything")
    else:
        show_table(("NAME", "ROLE", "MADE"), [(row["name"], row["role"], row["made_at"]) for row in rows])
    return 0


@token.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@key_option
@click.pass_obj
def delete(config: Path | None, key_file: Path | None, name: str, yes: bool, as_json: bool) -> int:
    """Revoke a token. It is none any more within a second, and logins by it are over."""
    sure(f"delete the token {name}?", yes)
    revoke_key(settings_here(config), name, key_file, config)
    show_done({"deleted": name}, f"deleted: {name}", as_json)
    return 0
