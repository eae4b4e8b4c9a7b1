"""`zmws keys`: who may come in, and what they may (docs/security.md)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import zmq

from zmws.cli.ends import zmws
from zmws.cli.options import (
    F,
    config_option,
    json_option,
    key_option,
    operator_client,
    settings_here,
    sure,
)
from zmws.cli.output import echo, say
from zmws.cli.tables import age, show_done, show_json, show_table
from zmws.core.key import CURVE, NAME, RIGHTS, ROLES, TOKEN, group_fault, rights_of
from zmws.errors import BrokerUnreachable, SettingsError
from zmws.key_file import KeyFile
from zmws.settings import Settings, key_files
from zmws.settings.key_files import BROKER, OF_KIND, SUFFIX, TOKEN_SUFFIX

PREFIX = "zmws_"  # of tokens, so that who finds one knows what it is
LIMITS = ("rate", "bytes_rate", "waiting_max", "connections_max")
# Those that an installation's own processes have: role, and rights beside it.
OWN: dict[str, tuple[str, Mapping[str, list[str]]]] = {
    "operator": ("operator", {}),
    "worker": ("worker", {"submit": ["*"]}),
    "gateway": ("gateway", {}),
    "client": ("client", {}),
}


def rights_options(command: F) -> F:
    """What a key may: --role and so on."""
    for option in (
        click.option("--connections-max", type=click.IntRange(1), help="Connections at once."),
        click.option("--waiting-max", type=click.IntRange(1), help="Jobs of its that have not ended."),
        click.option("--bytes-rate", type=click.FloatRange(0, min_open=True), help="Bytes of jobs a second."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), help="Jobs a second."),
        click.option("--group", help="Its jobs are of this group, and it sees no other."),
        click.option(
            "--right",
            "more",
            multiple=True,
            metavar="RIGHT=PATTERNS",
            help=f"A right beside the role's ({', '.join(RIGHTS)}), for these services; may be repeated.",
        ),
        click.option(
            "--services", metavar="PATTERNS", help="Those that the role is for: 'IMG-*,EMAIL' [all of them]."
        ),
        click.option("--role", type=click.Choice(tuple(ROLES)), help="A bundle of rights."),
    ):
        command = option(command)
    return command


@click.group()
def keys() -> None:
    """Who may come in, and what they may: make keys and tokens, list them, change and revoke them.

    A key proves who a program is where the broker listens beyond this machine (CURVE); a token does for HTTP.
    A client submits and follows its jobs, a worker does jobs, a viewer looks on, an operator may everything;
    a gateway speaks for others. Each for the services that are named.
    """


@keys.command()
@config_option
@json_option
def init(config: Path | None, as_json: bool) -> int:
    """Make the broker's own key, and one each for this installation's command line, workers, gateway and
    clients. What there is already is left as it is.

    The broker takes them at its next start, and then asks for keys at each address that others can reach.
    """
    known = settings_here(config)
    folder = known.keys_folder
    try:
        key_files.make_folder(folder)
    except OSError as wrong:
        raise SettingsError(f"{folder}: cannot be made: {wrong.strerror}") from None
    key_files.check_folder(folder)
    made = []
    path = folder / f"{BROKER}{SUFFIX}"
    if not path.exists():
        key_files.write(path, KeyFile(BROKER, *_pair()))
        made.append(str(path))
    broker = key_files.read(path).public
    for name, (role, rights) in OWN.items():
        path = folder / f"{name}{SUFFIX}"
        if not path.exists():
            key_files.write(path, KeyFile(name, *_pair(), broker, role=role, rights=rights))
            made.append(str(path))
    if as_json:
        show_json({"made": made, "folder": str(folder), "broker": broker})
        return 0
    echo(f"made: {', '.join(made)}" if made else f"nothing: {folder} has all of them")
    say(f"the broker's public key is {broker}")
    say(f"next: set broker.client to an address that others reach, and '{zmws()} restart'")
    say(f"      '{zmws()} keys new NAME --role client' makes a key for somebody else")
    return 0


@keys.command()
@click.argument("name")
@rights_options
@click.option("--token", "is_token", is_flag=True, help="A token, for HTTP, and not a key.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the key file there [etc/keys/NAME.key].",
)
@json_option
@config_option
@key_option
def new(
    name: str,
    is_token: bool,
    output: Path | None,
    as_json: bool,
    config: Path | None,
    key_file: Path | None,
    **given: Any,
) -> int:
    """Make a key file for NAME, or with --token a token. Give it to whom it is for, and to nobody else.

    The broker learns the public half at once; if none is running, at its next start.
    """
    asked = rights_given(given)
    if not {"role", "rights"} & asked.keys():
        raise click.UsageError(
            "say what it may: --role client, worker, viewer, operator, gateway; or --right"
        )
    known = settings_here(config)
    if is_token:
        token, is_known = make_token(known, name, asked, key_file, config)
        show_token(name, asked, token, is_known, as_json)
        return 0
    if name == BROKER:
        raise click.UsageError(f"'{name}' is the broker's own key: choose another name")
    if not NAME.match(name):
        raise click.UsageError(f"'{name}' is no name of a key: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    path = output or known.keys_folder / f"{name}{SUFFIX}"
    if output is not None and not output.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {output.absolute().parent}")
    made = KeyFile(name, *_pair(), _broker_public(known, key_file), **_in_file(asked))
    key_files.write(path, made)
    told = _tell(known, {"kind": CURVE, "proof": made.public, "name": name, **asked}, path, key_file, config)
    if as_json:
        show_json({"name": name, "kind": CURVE, "file": str(path), "public": made.public, **asked})
        return 0
    echo(str(path))
    if told is not None and told["unfinished"]:
        say(f"a key '{name}' was revoked before: its {told['unfinished']} unfinished jobs are this one's now")
    if told is None:
        where = "" if output is None else f"; put it into {known.keys_folder} for that"
        say(f"no broker answered here: it takes the key in at its next start{where}")
    say(f"to use it: Client(..., key='{path}'), --key {path}, or ZMWS_SECURITY_KEY={path.absolute()}")
    return 0


@keys.command("list")
@json_option
@config_option
@key_option
def list_(as_json: bool, config: Path | None, key_file: Path | None) -> int:
    """List the keys and tokens that the broker knows, the revoked ones too."""
    with operator_client(config, key_file) as client:
        rows = client.ask("zmws.keys")["keys"]
    if as_json:
        show_json(rows)
        return 0
    if not rows:
        echo("there is no key, and no token: whoever reaches the broker may everything")
        return 0
    heads = ("NAME", "KIND", "ROLE", "RIGHTS", "LIMITS", "CONNECTIONS", "JOBS", "MADE", "REVOKED")
    show_table(
        heads,
        [
            (
                *(row["name"], row["kind"], row["role"], _rights_shown(row), _limits_shown(row)),
                *(row["connections"], row["unfinished"], age(row["made_at"]), age(row["revoked_at"])),
            )
            for row in rows
        ],
        may_cut=("RIGHTS", "LIMITS"),
    )
    return 0


@keys.command()
@click.argument("name")
@rights_options
@click.option(
    "--no",
    "no_more",
    multiple=True,
    type=click.Choice(("group", *(limit.replace("_", "-") for limit in LIMITS))),
    callback=lambda _, __, given: tuple(one.replace("-", "_") for one in given),
    help="Take this limit away, or the group; may be repeated.",
)
@json_option
@config_option
@key_option
def change(
    name: str,
    no_more: tuple[str, ...],
    as_json: bool,
    config: Path | None,
    key_file: Path | None,
    **given: Any,
) -> int:
    """Change what a key or token may, as of now. Rights that are given take the place of those there are."""
    asked = rights_given(given)
    for lifted in no_more:
        if lifted in asked:
            raise click.UsageError(f"--no {lifted} takes away what another flag sets")
        asked[lifted] = None
    if not asked:
        raise click.UsageError("say what to change: --role, --services, --right, --group, or a limit")
    with operator_client(config, key_file) as client:
        row = client.ask("zmws.key", {"do": "change", "name": name, **asked})
    limits = _limits_shown(row)
    show_done(row, f"changed: {name}: {_rights_shown(row)}{f'; {limits}' if limits else ''}", as_json)
    return 0


@keys.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
@key_option
def revoke(name: str, yes: bool, as_json: bool, config: Path | None, key_file: Path | None) -> int:
    """Revoke a key or token. Its connections are cut at once, and its workers' jobs go to others; its file in
    etc/keys is removed, so that the name is free again."""
    sure(f"revoke {name}?", yes)
    row = revoke_key(settings_here(config), name, key_file, config)
    show_done(row, f"revoked: {name}", as_json)
    return 0


# ---------------------------------------------------------------- how


def rights_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags say, as zmws.key takes it. Raises UsageError."""
    asked = {name: given[name] for name in ("role", "group", *LIMITS) if given.get(name) is not None}
    if given.get("services") is not None:
        asked["services"] = _patterns(given["services"])
        if "role" not in asked:
            raise click.UsageError("--services is for the services of a --role")
    rights: dict[str, list[str]] = {}
    for one in given.get("more") or ():
        right, separator, patterns = one.partition("=")
        if right not in RIGHTS or not separator:
            raise click.UsageError(f"--right takes RIGHT=PATTERNS, of {', '.join(RIGHTS)}; not '{one}'")
        rights.setdefault(right, []).extend(_patterns(patterns))
    asked |= {"rights": rights} if rights else {}
    try:
        if {"role", "rights"} & asked.keys():
            found = rights_of(asked.get("role"), asked.get("services"), rights)
            if fault := group_fault(found, asked.get("group")):
                raise ValueError(fault)
        if not str(asked.get("group", "x")).isprintable():
            raise ValueError("the group must be a printable text")
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    return asked


def make_token(
    known: Settings, name: str, asked: Mapping[str, Any], key_file: Path | None, config: Path | None
) -> tuple[str, bool]:
    """A new token, known by its hash alone; and whether the broker knows it already."""
    if not NAME.match(name):
        raise click.UsageError(f"'{name}' is no name of a token: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    token = PREFIX + secrets.token_urlsafe(32)
    # 256 bits by chance: a quick hash is as good as a slow one.
    proof = hashlib.sha256(token.encode()).hexdigest()
    path = known.keys_folder / f"{name}{TOKEN_SUFFIX}"
    key_files.write(path, KeyFile(name, hash=proof, **_in_file(asked)))
    told = _tell(known, {"kind": TOKEN, "proof": proof, "name": name, **asked}, path, key_file, config)
    return token, told is not None


def revoke_key(known: Settings, name: str, key_file: Path | None, config: Path | None) -> dict[str, Any]:
    """Tell the broker; the key as it knows it now. Its file here goes too, so that the name is free again."""
    with operator_client(config, key_file) as client:
        row: dict[str, Any] = client.ask("zmws.key", {"do": "revoke", "name": name})
    path = known.keys_folder / f"{name}{SUFFIX if row['kind'] == CURVE else TOKEN_SUFFIX}"
    try:
        if path.exists() and key_files.read(path).public == (row["public"] or ""):
            path.unlink()
    except (OSError, SettingsError) as wrong:
        say(f"zmws: {path} is of no use any more, and could not be removed: {wrong}")
    return row


def show_token(name: str, asked: Mapping[str, Any], token: str, told: bool, as_json: bool) -> None:
    """Print a new token, this once. `told`: the broker knows it already."""
    show_done({"name": name, "kind": TOKEN, "token": token, **asked}, token, as_json)
    if not as_json:
        say(f"it is shown this once; a request has it as: Authorization: Bearer {token[:9]}...")
    if not as_json and not told:
        say("no broker answered here: it takes the token in at its next start")


def _tell(
    known: Settings, asked: Mapping[str, Any], path: Path, key_file: Path | None, config: Path | None
) -> dict[str, Any] | None:
    """Tell the broker, and give the key as it has it; None where there is none, and it will find the file.
    What it refuses is no key."""
    try:
        with operator_client(config, key_file) as client:
            row: dict[str, Any] = client.ask("zmws.key", {"do": "new", **asked})
            return row
    except BrokerUnreachable:
        return None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _broker_public(known: Settings, key_file: Path | None) -> str:
    """The broker's public key: from its own file here, or from that of who asks."""
    own = known.keys_folder / f"{BROKER}{SUFFIX}"
    if own.exists():
        return key_files.read(own).public
    mine = key_file or known.keys_folder / f"{OF_KIND['operator'][0]}{SUFFIX}"
    if not mine.exists():
        raise SettingsError(f"this broker has no key yet: '{zmws()} keys init' makes it ({own})")
    return key_files.read(mine).broker


def _in_file(asked: Mapping[str, Any]) -> dict[str, Any]:
    services = asked.get("services")
    return {
        "role": asked.get("role"),
        "services": None if services is None else tuple(services),
        "rights": asked.get("rights", {}),
        "group": asked.get("group"),
        "limits": {name: asked[name] for name in LIMITS if name in asked},
    }


def _patterns(text: str) -> list[str]:
    return [one for part in text.split(",") if (one := part.strip())]


def _rights_shown(row: Mapping[str, Any]) -> str:
    told = [f"{right} {','.join(patterns)}" for right, patterns in row["rights"].items()]
    return "; ".join(told) + (f"; group {row['group']}" if row["group"] else "")


def _limits_shown(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row[name]:g}" for name in LIMITS if row[name] is not None)
