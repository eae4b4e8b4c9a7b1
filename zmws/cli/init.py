"""`zmws init`: a new project."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from zmws.cli.ends import zmws
from zmws.cli.options import json_option
from zmws.cli.output import echo, say
from zmws.cli.tables import show_json
from zmws.supervisor.project import Made, make_project


@click.command()
@json_option
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def init(as_json: bool, folder: Path) -> int:
    """Make a new project: settings, a worker, a test.

    FOLDER is the current one unless given, and is made if it is missing. What is there already is left as it
    is; a folder with an etc/zmws.toml is a project already, and is refused.
    """
    made = make_project(folder)
    if as_json:
        told = {"made": [*map(str, made.made)], "left_alone": [*map(str, made.left_alone)]}
        show_json({"root": str(folder.absolute()), **told})
    else:
        _show(made)
    return 0


def _show(done: Made) -> None:
    echo(f"made: {', '.join(map(str, done.made))}")
    if done.left_alone:
        echo(f"left as it was: {', '.join(map(str, done.left_alone))}")
    if done.above is not None:
        say(f"zmws: this folder lies in another project, {done.above}; in here, the new one counts")
    steps = [
        (f"cd {shlex.quote(str(done.root))}", "") if done.root.absolute() != Path.cwd() else None,
        (f"{zmws()} start", "the broker and the worker, in the background"),
        (f"{zmws()} call HELLO name=you", "Hello, you!"),
        (f"{zmws()} status | logs hello -f | stop", ""),
        ("python -m pytest", "the worker's test (pip install pytest)"),
    ]
    width = max(len(step[0]) for step in steps if step)
    for number, (step, what) in enumerate(filter(None, steps)):
        echo(f"{'next:' if number == 0 else '':6}{step:{width}}  {what}".rstrip())
