"""Parameters and options as they are given on the command line.

key=value     a text                        str='Hello, world'
key:=json     JSON                          seconds:=3  tags:='["a", "b"]'
@FILE         a JSON file                   @order.json
-             JSON on standard input        cat order.json | zmws call ORDER -
--raw FILE    bytes, as they are            --raw photo.jpg, or --raw - for standard input
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from zmws.cli.durations import seconds_of
from zmws.core.options import JOB_OPTIONS, option
from zmws.core.table import value_in
from zmws.errors import OptionError

F = TypeVar("F", bound=Callable[..., Any])
JOB_OPTION_NAMES = tuple(JOB_OPTIONS)
_METAVARS = {"whole": "NUMBER", "seconds": "DURATION", "time": "TIME", "id": "ID", "parsed": "SERVICE"}


raw_option = click.option("--raw", metavar="FILE", help="Send the bytes of this file, - for standard input.")


def parse_params(words: tuple[str, ...], raw: str | None = None) -> Any:
    """The parameters that the words stand for, or the bytes of the file `raw`; None for neither. Raises
    UsageError."""
    if raw is not None:
        if words:
            raise click.UsageError("give PARAMS or --raw, not both")
        return _read(raw)
    if not words:
        return None
    if len(words) == 1 and words[0] == "-":
        return _json(_read("-"), "standard input", "; --raw - sends it as bytes")
    if len(words) == 1 and words[0].startswith("@"):
        file = words[0][1:]
        return _json(_read(file), file, f"; --raw {file} sends it as bytes")
    params: dict[str, Any] = {}
    for word in map(_text, words):
        key, separator, value = word.partition("=")
        if not separator or not key.rstrip(":"):
            raise click.UsageError(f"'{word}' is neither key=text, key:=json, @FILE nor -")
        if key.endswith(":"):
            params[key[:-1]] = _json(value.encode(), f"the value of '{key[:-1]}'")
        else:
            params[key] = value
    return params


def _text(word: str) -> str:
    """What was typed: bytes that the locale does not know come from Python as half surrogate pairs."""
    try:
        return os.fsencode(word).decode()
    except UnicodeError:
        raise click.UsageError(
            f"'{word}' is not UTF-8; key:=JSON takes escapes, and --raw FILE sends bytes"
        ) from None


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as wrong:
        raise click.UsageError(f"cannot read {file}: {wrong.strerror}") from None


def _json(text: bytes, what: str, hint: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise click.UsageError(f"{what} is not JSON: {wrong}{hint}") from None


def job_option_flags(*names: str) -> Callable[[F], F]:
    """A flag for each of these options of a job, checked as the broker would; all of them if none is
    named."""

    def decorate(command: F) -> F:
        for name in reversed(names or JOB_OPTION_NAMES):
            row = JOB_OPTIONS[name]
            command = click.option(
                f"--{name.replace('_', '-')}",
                f"option_{name}",
                metavar=_METAVARS.get(row.kind, "TEXT"),
                help=row.help[0].upper() + row.help[1:] + ".",
            )(command)
        return command

    return decorate


def job_options_given(flags: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, in their types. Raises UsageError that names option and range."""
    given = {}
    for name, row in JOB_OPTIONS.items():
        text = flags.get(f"option_{name}")
        if text is None:
            continue
        seconds = seconds_of(text) if row.kind == "seconds" else None
        try:
            checked = option(name, row, value_in(row, text) if seconds is None else seconds)
        except OptionError as wrong:
            raise click.UsageError(str(wrong)) from None
        given[name] = text if row.kind == "time" else checked
    return given
