"""What verbs have in common: the flags of settings, the connection, the filter."""

from __future__ import annotations

from typing import Any

import click
import pytest

from zmws.cli import foreground
from zmws.cli.options import Connect, broker_options, filter_options
from zmws.settings.table import SETTINGS


def test_the_flags_of_the_broker_are_settings() -> None:
    assert {name for name, _ in foreground._FLAGS.values()} <= SETTINGS.keys()
    given = {option.name for option in foreground.broker.params}
    assert given == {*foreground._FLAGS, "config", "log_file", "others"}


def test_a_verb_gets_a_connection_that_is_made_when_it_asks_for_it() -> None:
    made: list[Connect] = []

    @click.command()
    @click.argument("word")
    @broker_options
    def verb(word: str, connect: Connect) -> None:
        assert word == "x"
        made.append(connect)

    verb(["x", "--broker", "localhost"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="'localhost' is no endpoint"):
        made[0]()
    verb(["x", "--broker", "tcp://127.0.0.1:9"], standalone_mode=False)
    made[1]().close()


def test_a_filter_takes_times_and_the_states_that_it_is_for() -> None:
    found: list[dict[str, Any]] = []

    @click.command()
    @filter_options(("failed",))
    def verb(**where: Any) -> None:
        found.append(where)

    verb(["--state", "failed", "--since", "2027-01-31T08:00:00Z"], standalone_mode=False)
    assert found == [
        {
            "service": None,
            "state": "failed",
            "group": None,
            "since": "2027-01-31T08:00:00Z",
            "before": None,
            "cause": None,
            "parent": None,
            "chain": None,
            "batch": None,
            "submitter": None,
        }
    ]
    with pytest.raises(click.BadParameter, match="'running' is not"):
        verb(["--state", "running"], standalone_mode=False)
