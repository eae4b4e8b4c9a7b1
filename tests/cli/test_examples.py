"""Each verb's help ends with an example, and what that says can be said."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from zmws.cli import cli
from zmws.cli.examples import EXAMPLES


def verbs(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")


ALL = dict(verbs(cli))


def test_every_verb_has_one_and_there_is_none_of_another() -> None:
    assert EXAMPLES.keys() == ALL.keys()
    for name, command in ALL.items():
        help_ = command.get_help(click.Context(command, info_name=f"zmws {name}"))
        assert re.search(r"^  Examples?:$", help_, re.MULTILINE), name
        for line in EXAMPLES[name]:
            assert f"    {line}" in help_, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_of_its_verb_and_its_options_are_there(name: str) -> None:
    said = " ".join(EXAMPLES[name])
    assert f"zmws {name}" in said or name == "completion"
    inner = re.findall(r"\$\((zmws [^)]*)\)", said)
    outer = re.sub(r"\$\([^)]*\)", "X", said)
    for command in re.findall(r"zmws ((?:(?!zmws |&&|\||#).)*)", " ".join([outer, *inner])):
        words = command.split()
        verb: click.Command = cli
        context = click.Context(cli)
        while words and isinstance(verb, click.Group) and (found := verb.get_command(context, words[0])):
            verb, words = found, words[1:]
        given = [word for word in words if word.startswith("-") and word != "-"]
        known = {text for one in verb.params for text in (*one.opts, *one.secondary_opts)}
        assert set(given) <= known, (name, verb.name)
