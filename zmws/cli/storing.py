"""`zmws backup`, `zmws restore` and `zmws check`: what is done to the store's file without the broker."""

from __future__ import annotations

from pathlib import Path

import click

from zmws import settings
from zmws.cli.ends import FAILED, zmws
from zmws.cli.options import config_option, json_option, settings_here
from zmws.cli.output import echo, say
from zmws.cli.tables import show_json
from zmws.errors import SettingsError, StoreError
from zmws.settings.key_files import SUFFIX, read
from zmws.store.postgres import SCHEMA


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@config_option
def backup(file: Path, as_json: bool, config: Path | None) -> int:
    """Copy the store to FILE, which must not exist yet. The broker may go on meanwhile.

    'zmws restore FILE' goes back to it.
    """
    from zmws.store.sqlite import upkeep

    source = _store_path(settings_here(config))
    upkeep.backup(source, file)
    size = file.stat().st_size
    if as_json:
        show_json({"store": str(source), "backup": str(file), "bytes": size})
    else:
        say(f"{source} copied to {file}, {size} bytes")
    return 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@config_option
def check(file: Path | None, as_json: bool, config: Path | None) -> int:
    """Look for damage in the store, or in FILE, a backup. Exit code 1 if there is any.

    It reads the whole file. The broker may go on meanwhile.
    """
    from zmws.store.sqlite import upkeep

    known = settings_here(config)
    url = known.store.url
    if file is None and settings.parse_store_url(url).scheme == "postgresql":
        from zmws.store.postgres.upkeep import check as check_in_database

        path: Path | str = settings.without_password(url)
        problems = check_in_database(url)
    else:
        path = _store_path(known) if file is None else file
        problems = upkeep.check(path)
    if as_json:
        show_json({"store": str(path), "problems": problems})
    elif problems:
        for problem in problems:
            echo(problem)
    else:
        echo(f"{path}: nothing wrong")
    return FAILED if problems else 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@config_option
def restore(file: Path, as_json: bool, config: Path | None) -> int:
    """Go back to the backup FILE. The broker must be stopped; the store as it was is kept beside it.

    Jobs that were accepted after the backup are not in it, and jobs that ran since may run again.
    """
    from zmws.store.sqlite import upkeep

    known = settings_here(config)
    path = _store_path(known)
    old = upkeep.restore(file, path, known.store_folder)
    try:
        found, others = ({}, []) if old is None else upkeep.keys_changed(old, path)
        doubt = old is None
    except StoreError:
        found, others, doubt = {}, [], True
    # A file of that name with another key takes its place at the next start.
    again = [name for name, proof in found.items() if not _has_another(known, name, proof)]
    if as_json:
        told = {"store": str(path), "backup": str(file), "set_aside": str(old) if old else None}
        show_json(told | {"valid_again": again, "as_they_were": others})
        return 0
    say(f"{path} is {file} now" + (f"; what it was is {old}" if old else ""))
    if again:
        say(f"keys that were revoked since are valid again: {', '.join(again)}; '{zmws()} keys revoke NAME'")
    if others:
        say(f"the rights and limits of these keys are as they were then: {', '.join(others)}")
    if doubt:
        say(f"keys that were revoked since that backup would be valid again: see '{zmws()} keys list'")
    return 0


def _has_another(known: settings.Settings, name: str, proof: str) -> bool:
    """Whether there is a key file of this name, and not of this key."""
    path = known.keys_folder / f"{name}{SUFFIX}"
    try:
        return path.exists() and read(path).public != proof
    except SettingsError:
        return False


def _store_path(known: settings.Settings) -> Path:
    path = known.store_path
    if settings.parse_store_url(known.store.url).scheme == "postgresql":
        raise click.UsageError(
            "the store is kept by PostgreSQL: back it up and restore it with that server's own means, such "
            f"as pg_dump --schema {SCHEMA} or pg_basebackup (docs/postgresql.md)"
        )
    if path is None:
        raise click.UsageError('[store] url is "memory:": there is no file')
    return path
