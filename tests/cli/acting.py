"""Runs verbs in this process, against a fake broker with workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import pytest

from zmws.cli import cli, options
from zmws.cli.ends import ended_by
from zmws.testing import FakeClient


@dataclass
class Ended:
    """What a verb has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


def runner(client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs a verb, as `zmws` would, with a client of the same broker."""
    monkeypatch.setattr(options, "_client", lambda *_: client.connect())

    def run(*words: str) -> Ended:
        try:
            code = cli.main([*words], standalone_mode=False, prog_name="zmws")
        except click.ClickException as fault:
            code = ended_by(fault)
        told = capsys.readouterr()
        return Ended(code if isinstance(code, int) else 0, told.out, told.err)

    return run
