"""A real broker in a thread of the test's own process, on ports that the system chooses."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from zmws import settings
from zmws.client import Client
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.server import BrokerServer
from zmws.store import open_store
from zmws.store.base import Store

FREE = "tcp://127.0.0.1:*"
_START_S = 10.0
_STOP_S = 15.0


@dataclass
class RunningBroker:
    """A broker that runs in this process. `client`, `worker`, `news`, `mdp`: its endpoints; `server`: what
    runs, for the tests of zmws itself."""

    server: BrokerServer
    client: str
    worker: str
    news: str
    mdp: str

    def connect(self, **settings_of_client: Any) -> Client:
        """A client of it, to be closed by whoever asked."""
        return Client(self.client, **settings_of_client)


@contextlib.contextmanager
def broker_in_thread(
    services: Mapping[str, ServiceOptions] | None = None,
    store: Store | str = "memory:",
    file: Path | None = None,
    **changes: Any,
) -> Iterator[RunningBroker]:
    """A broker on free ports, until the block ends.

    `services`: their options, as `[services.NAME]` gives them. `store`: a url as `[store]` has it (a file is
    `sqlite:` and its path), or a Store; the broker closes it. `file`: a settings file, which counts but for
    its addresses and its store's. `changes`: fields of Limits or of BrokerSettings, as in
    `heartbeat_interval_s=0.5, submit_many_max=10`. What the broker ends with is raised here.
    """
    # No settings file and no ZMWS_* of this machine: every test sees the same broker.
    url = store if isinstance(store, str) else "memory:"
    known = settings.load(file, {"store.url": url}, environ={}, cwd=Path(os.devnull), upward=False)
    names = {field.name for field in fields(Limits)}
    limits = replace(known.broker.limits, **{k: v for k, v in changes.items() if k in names})
    other = {k: v for k, v in changes.items() if k not in names}
    free = dict.fromkeys(("client", "worker", "news", "mdp"), FREE)
    broker = replace(known.broker, **{**free, "limits": limits, **other})
    known = replace(known, broker=broker, services={**known.services, **(services or {})})
    server = BrokerServer(known, open_store(known) if isinstance(store, str) else store)
    ready, faults = threading.Event(), list[BaseException]()
    server.on_ready = ready.set

    def run() -> None:
        try:
            server.bind()
            server.run()
        except BaseException as fault:
            faults.append(fault)
            ready.set()

    thread = threading.Thread(target=run, name="zmws-test-broker")
    thread.start()
    try:
        assert ready.wait(_START_S), f"the broker was not ready within {_START_S:g} s"
        if faults:
            raise faults[0]
        yield RunningBroker(server, *(server.address(name) for name in free))
    finally:
        server.stop()
        thread.join(_STOP_S)
        assert not thread.is_alive(), f"the broker did not stop within {_STOP_S:g} s"
    if faults:
        raise faults[0]
