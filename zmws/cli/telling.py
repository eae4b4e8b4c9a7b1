"""What was done to processes is told to the broker, which keeps it (zmws.acted)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from zmws.cli.who import OperatorClient
from zmws.core.table import KEY_BYTES_MAX
from zmws.errors import ZmwsError
from zmws.key_file import NO_KEY
from zmws.supervisor.broker import address_of, own_key
from zmws.supervisor.ports import ports_in_use
from zmws.supervisor.processes import BROKER, Installation

TELL_S = 0.5  # so long a broker that does not answer may hold a command up, to connect and to answer each
NAMES_MAX = 20  # of processes that are named


def tell(here: Installation, verb: str, on: str, **done: Any) -> None:
    """Tell the broker of the installation, if one runs here. What goes wrong with that is nobody's matter: it
    is done already, or will be."""
    detail = {name: _few(value) for name, value in done.items() if value}
    asked = {"verb": verb, "on": _short(on), "detail": detail or None}
    with contextlib.suppress(ZmwsError, TimeoutError, OSError, ValueError):
        held = ports_in_use(here.settings)
        if BROKER not in here.running() and not any(one.startswith("broker.client ") for one in held):
            return
        key = own_key(here, "operator", here.settings.broker.client) or NO_KEY
        with OperatorClient(address_of(here), connect_timeout=TELL_S, key=key) as client:
            client.answer_future("zmws.acted", asked).result(TELL_S)


def which(servers: bool, workers: bool, names: Sequence[str]) -> str:
    """The processes that a verb is for, in words."""
    if names:
        return ", ".join(names)
    return "everything" if servers == workers else "servers" if servers else "workers"


def _few(value: Any) -> Any:
    if isinstance(value, Mapping) and len(value) > NAMES_MAX:
        return {name: value[name] for name in [*value][:NAMES_MAX]} | {"...": len(value) - NAMES_MAX}
    if isinstance(value, (list, tuple)) and len(value) > NAMES_MAX:
        return [*value[:NAMES_MAX], f"and {len(value) - NAMES_MAX} more"]
    return value


def _short(text: str) -> str:
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text.encode("utf-8", "replace")[:KEY_BYTES_MAX].decode(errors="ignore")
