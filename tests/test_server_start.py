"""The broker process's way up, when the store keeps it from getting there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.peers import wait_until
from zmws import settings
from zmws.core.reads import Read, ReadUnfinished
from zmws.core.rows import Rows
from zmws.errors import StoreError
from zmws.server import BrokerServer
from zmws.store.sqlite.memory import MemoryStore

FREE = {f"broker.{name}": "tcp://127.0.0.1:*" for name in ("client", "worker", "news", "mdp")}


class Unreadable(MemoryStore):
    """What an earlier run left cannot be read: at once, or only when it is given up."""

    def __init__(self, waits: bool) -> None:
        super().__init__()
        self.waits = waits
        self.asked, self.given_up = threading.Event(), threading.Event()

    def read(self, read: Read) -> Rows:
        assert isinstance(read, ReadUnfinished), read
        self.asked.set()
        if self.waits:
            self.given_up.wait()
        raise StoreError("it cannot be read")

    def give_up(self) -> None:
        self.given_up.set()


def _server(folder: Path, store: MemoryStore) -> BrokerServer:
    server = BrokerServer(settings.load(None, FREE, environ={}, cwd=folder), store)
    server.bind()
    return server


@pytest.mark.timeout(30)
def test_a_store_that_fails_before_the_broker_is_up_ends_it(tmp_path: Path) -> None:
    server = _server(tmp_path, Unreadable(waits=False))
    with pytest.raises(StoreError, match="cannot be read"):
        server.run()


def test_a_broker_that_waits_for_its_store_can_be_stopped(tmp_path: Path) -> None:
    store = Unreadable(waits=True)
    server = _server(tmp_path, store)
    runs = threading.Thread(target=server.run)
    runs.start()
    wait_until(store.asked.is_set, what="the store to be asked")
    server.stop()
    runs.join(20)
    assert not runs.is_alive()
