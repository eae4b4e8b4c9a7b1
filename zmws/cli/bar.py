"""`BatchBar`: how far a batch is, on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from typing import Any

import click

from zmws.cli.output import say


class BatchBar:
    """A bar whose length may grow: the jobs of a batch may add to it."""

    def __init__(self, total: int) -> None:
        self._bar: Any = None
        self._done = 0
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = click.progressbar(length=total, label="jobs done", file=sys.stderr, show_pos=True)

    @property
    def seen(self) -> bool:
        """Whether there is one."""
        return self._bar is not None

    def __enter__(self) -> BatchBar:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *exits: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exits)

    def say(self, text: str) -> None:
        """A note, which takes the bar's line."""
        say(f"\r\033[K{text}" if self._bar is not None else text)

    def show(self, row: dict[str, Any]) -> None:
        """Move it to where the batch is."""
        if self._bar is None:
            return
        done = row["total"] - row["unfinished"]
        self._bar.length = row["total"]
        self._bar.update(done - self._done)
        self._done = done
        self._bar.render_progress()
