"""zmws.work.own_client: where `self.client` connects, and when there is a new one."""

from __future__ import annotations

from typing import Any

import pytest

from zmws.errors import ZmwsError
from zmws.settings.addresses import seen_from
from zmws.work.own_client import OwnClient, endpoint_told


@pytest.mark.parametrize(
    ("told", "connected", "endpoint"),
    [
        ("tcp://10.0.0.1:5555", "tcp://10.0.0.9:5556", "tcp://10.0.0.1:5555"),
        ("tcp://*:5555", "tcp://broker.example:5556", "tcp://broker.example:5555"),
        ("tcp://0.0.0.0:5555", "tcp://10.0.0.9:5556", "tcp://10.0.0.9:5555"),
        ("tcp://[::]:5555", "tcp://[fe80::1]:5556", "tcp://[fe80::1]:5555"),
        ("tcp://[::]:5555", "tcp://10.0.0.9:5556", "tcp://10.0.0.9:5555"),
        ("tcp://*:5555", "tcp://[::1]:5556", "tcp://[::1]:5555"),
        ("tcp://*:5555", "ipc:///run/workers", "tcp://127.0.0.1:5555"),
        ("tcp://[::]:5555", "ipc:///run/workers", "tcp://[::1]:5555"),
        ("tcp://*:5555", "tcp://0.0.0.0:5556", "tcp://127.0.0.1:5555"),
        ("tcp://[::]:5555", "tcp://[::]:5556", "tcp://[::1]:5555"),
        ("tcp://[::1]:5555", "tcp://10.0.0.9:5556", "tcp://[::1]:5555"),
        ("ipc:///run/clients", "tcp://10.0.0.9:5556", "ipc:///run/clients"),
        ("inproc://x", "tcp://10.0.0.9:5556", "inproc://x"),
    ],
)
def test_a_wildcard_stands_for_the_host_that_the_worker_reaches(
    told: str, connected: str, endpoint: str
) -> None:
    assert seen_from(told, connected) == endpoint


class FakeClient:
    made: list[FakeClient] = []

    def __init__(self, endpoint: str, key: Any) -> None:
        self.endpoint, self.closed = endpoint, 0
        self.made.append(self)

    def close(self) -> None:
        self.closed += 1


class Dialog:
    client_endpoint: str | None = None
    broker = "tcp://one:5556"


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    monkeypatch.setattr("zmws.client.Client", FakeClient)
    monkeypatch.setattr(FakeClient, "made", [])
    return FakeClient.made


def own(dialog: Any, given: str | None = None) -> Any:
    return OwnClient(lambda: endpoint_told(dialog, given))


def test_there_is_none_before_the_broker_has_told_where() -> None:
    with pytest.raises(ZmwsError, match=r"self\.client: the broker has not told"):
        own(Dialog())()


def test_one_is_made_at_the_first_use_and_kept_until_the_broker_changes(clients: list[FakeClient]) -> None:
    dialog = Dialog()
    client = own(dialog)
    dialog.client_endpoint = "tcp://*:5555"
    assert not clients
    assert client() is client() and [one.endpoint for one in clients] == ["tcp://one:5555"]
    dialog.broker = "tcp://two:5556"
    assert client().endpoint == "tcp://two:5555" and [one.closed for one in clients] == [1, 0]
    client.close()
    client.close()
    assert [one.closed for one in clients] == [1, 1]
    assert client() is clients[2], "and one that was closed is not given out again"


def test_what_is_given_goes_before_what_the_broker_tells() -> None:
    assert own(Dialog(), "tcp://given:1")().endpoint == "tcp://given:1"
