"""A broker whose sockets ask everybody for a key, and keys for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from zmws.client import Client
from zmws.core.options import service_options
from zmws.key_file import KeyFile
from zmws.settings import key_files
from zmws.testing.broker import RunningBroker, broker_in_thread

SERVICES = ("IMG-A", "EMAIL")


def pair() -> tuple[str, str]:
    """A public and a secret key."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


@dataclass
class Keyed:
    """A broker that runs; `keys`: those that it was given, by name."""

    broker: RunningBroker
    folder: Path
    keys: dict[str, KeyFile]
    public: str  # of the broker

    def connect(self, name: str, **given: Any) -> Client:
        """A client of it, to be closed by whoever asked."""
        return Client(self.broker.client, key=self.keys[name], **given)

    def new(self, name: str, **given: Any) -> KeyFile:
        """A key that the running broker is told of. `given`: as zmws.key takes it."""
        key = KeyFile(name, *pair(), self.public)
        with self.connect("operator") as client:
            client.ask("zmws.key", {"do": "new", "name": name, "proof": key.public, **given})
        self.keys[name] = key
        return key

    def revoke(self, name: str) -> None:
        with self.connect("operator") as client:
            client.ask("zmws.key", {"do": "revoke", "name": name})


def write_keys(folder: Path, keys: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, KeyFile]]:
    """Key files in this folder, the broker's among them: its public key, and those of the others by name."""
    public, secret = pair()
    key_files.write(folder / "broker.key", KeyFile("broker", public, secret))
    made = {name: KeyFile(name, *pair(), public, **given) for name, given in keys.items()}
    for name, key in made.items():
        key_files.write(folder / f"{name}.key", key)
    return public, made


@contextlib.contextmanager
def keyed_broker(
    folder: Path, keys: Mapping[str, Mapping[str, Any]] | None = None, text: str = "", **given: Any
) -> Iterator[Keyed]:
    """It asks for keys on the loopback, too, until the block ends. `keys`: what each may, as KeyFile has it;
    an operator is always there. `text`: more of the section `[security]`; `given`: as of broker_in_thread."""
    file = folder / "etc" / "zmws.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[security]\ncurve = "on"\n{text}\n')
    public, made = write_keys(folder / "etc" / "keys", {"operator": {"role": "operator"}, **(keys or {})})
    given.setdefault("services", {name: service_options({}) for name in SERVICES})
    with broker_in_thread(file=file, **given) as broker:
        yield Keyed(broker, folder, made, public)
