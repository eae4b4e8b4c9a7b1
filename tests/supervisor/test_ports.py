"""Addresses that another program has."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.supervisor.folder import installation_in
from zmws.supervisor.ports import ports_in_use


def test_a_taken_port_is_seen_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'[broker]\nclient = "tcp://*:*"\nworker = "tcp://127.0.0.1:{port}"\n'
        text += 'news = "ipc://run/news"\nmdp = ""\n'
        made = installation_in(tmp_path, text)
        assert ports_in_use(made.settings) == [f"broker.worker (tcp://127.0.0.1:{port})"]
    assert ports_in_use(made.settings) == []
