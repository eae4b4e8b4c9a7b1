"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers import RunningBroker, broker_in_thread


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    """A broker with quick heartbeats."""
    with broker_in_thread(heartbeat_interval_s=0.5) as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=200, help="how many seeds the simulator runs")
    parser.addoption("--first-seed", type=int, default=0, help="the first seed")
    parser.addoption("--fuzz", type=int, default=100_000, help="how many garbage messages an endpoint gets")
