"""Bars on standard error, where that is a terminal: how far something is."""

from __future__ import annotations

import sys
from typing import Any, Self

import click

from zmws.cli.output import say


class Bar:
    """A bar, or none; for a `with` block."""

    def __init__(self, length: int | None, label: str) -> None:
        """`length`: None where there is none to be seen."""
        self._bar: Any = None
        if length is not None:
            self._bar = click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *exits: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exits)

    def say(self, text: str) -> None:
        """A note, which takes the bar's line; the bar comes again when it moves."""
        say(f"\r\033[K{text}" if self._bar is not None else text)


class BatchBar(Bar):
    """A bar whose length may grow: the jobs of a batch may add to it."""

    def __init__(self, total: int) -> None:
        is_seen = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(total if is_seen else None, "jobs done")
        self._done = 0

    @property
    def seen(self) -> bool:
        """Whether there is one."""
        return self._bar is not None

    def show(self, row: dict[str, Any]) -> None:
        """Move it to where the batch is."""
        if self._bar is None:
            return
        done = row["total"] - row["unfinished"]
        self._bar.length = row["total"]
        self._bar.update(done - self._done)
        self._done = done
        self._bar.render_progress()
