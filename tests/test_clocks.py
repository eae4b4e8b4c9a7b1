"""The broker's process hands the core a clock that goes on while the machine is suspended."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.peers import wait_until
from zmws.core.options import ServiceOptions
from zmws.server import loop
from zmws.testing.fixtures import BrokerFactory


class Machine:
    """The system's clocks, as after a suspend or a step."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.suspended = self.stepped = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def clock_gettime(self, clock: int) -> float:
        asleep = self.suspended if clock == time.CLOCK_BOOTTIME else 0.0
        return time.clock_gettime(clock) + asleep

    def time(self) -> float:
        return time.time() + self.suspended + self.stepped


def test_a_delay_passes_in_a_suspend_and_an_hour_by_a_step(
    zmws_broker_factory: BrokerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    monkeypatch.setattr(loop, "time", machine)
    broker = zmws_broker_factory(services={"S": ServiceOptions()})
    with broker.connect() as client:
        delayed = client.submit("S", delay=3600)
        at = datetime.fromtimestamp(machine.time() + 3600, UTC).isoformat()
        for_the_hour = client.submit("S", at=at)
        assert [delayed.status()["state"], for_the_hour.status()["state"]] == ["scheduled", "scheduled"]
        machine.stepped += 7200.0
        wait_until(lambda: for_the_hour.status()["state"] == "waiting", 5, "its hour has come")
        assert delayed.status()["state"] == "scheduled"
        machine.suspended += 3600.0
        wait_until(lambda: delayed.status()["state"] == "waiting", 5, "its delay has passed")
