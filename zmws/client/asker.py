"""`Asker`: a client's connection, and its questions to the broker itself, without waiting for the answers.

What a job, a lease and a batch need of a client; the fronts stand above it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from zmws import ids
from zmws.client.answers import Steps, answer_of
from zmws.client.asked import then
from zmws.client.connection import Connection
from zmws.client.given import Seconds, seconds, service_of
from zmws.core.desk.changes import CHANGES
from zmws.dialog.client import ClientSettings
from zmws.errors import ServiceUnknown
from zmws.key_file import NO_KEY, KeyFile
from zmws.sockets import check_endpoint
from zmws.wire import values

_ANSWER_S = 10.0  # patience with the broker itself
_LONG_S = 600.0  # and where it works through many jobs, each chunk a commit


def _is_here(brokers: list[str]) -> bool:
    """Whether these are sockets that ask nobody for a key, unless that is said."""
    return "ZMWS_SECURITY_KEY" not in os.environ and all(one.startswith(_HERE) for one in brokers)


_HERE = ("tcp://127.0.0.1:", "tcp://localhost:", "tcp://[::1]:", "ipc://")


class Asker:
    """A connection to a broker, or to the first of several that answers."""

    _connection_type: type[Connection] = Connection
    _kind = "client"  # whose key it has, where none is named

    def __init__(
        self,
        broker: str | Sequence[str] | None = None,
        *,
        connect_timeout: Seconds = 1.5,
        reconnect_timeout: Seconds = 15.0,
        failover_duplicates: bool = False,
        message_bytes_max: int | None = None,
        key: str | Path | KeyFile | Literal[False] | None = None,
    ) -> None:
        """`broker`: client endpoint(s), `tcp://HOST:PORT`. None: `$ZMWS_BROKER_CLIENT`, else what the
        etc/zmws.toml of the current folder or of the nearest one above it says, else tcp://127.0.0.1:5555.

        `connect_timeout`: seconds until a broker that was never reached is given up;
        `reconnect_timeout`: seconds that one with requests in flight may stay away.
        `message_bytes_max`: larger parameters are refused here; None: those that the broker tells it would
        not take.
        `key`: the key file by which it proves who it is (docs/security.md). None: `$ZMWS_SECURITY_KEY`, else
        what those settings say, else, for a broker beyond this machine, etc/keys/client.key beside them.
        False: none, wherever the broker is.
        `failover_duplicates`: repeat those at the next broker, at the risk of a second job.
        Whatever is in seconds, here and below, may be a timedelta. Raises ValueError for an endpoint that
        cannot be, SettingsError for settings that had to be looked at and cannot be used, ZmwsError where
        threads have been replaced (gevent, eventlet).
        """
        if key is False:
            key = NO_KEY
        if broker is None:
            from zmws.settings import target  # not at the top: who names the broker needs no settings

            file = None if key is None or isinstance(key, KeyFile) else Path(key)
            broker, found = target("client", self._kind, file)
            key = found if not isinstance(key, KeyFile) else key
        brokers: list[Any] = list(broker) if isinstance(broker, (list, tuple)) else [broker]
        for one in brokers:
            check_endpoint(one)
        if not isinstance(key, KeyFile) and (key is not None or not _is_here(brokers)):
            from zmws.settings.connecting import key_for

            key = key_for(self._kind, brokers, None if key is None else Path(key))
        settings = ClientSettings(
            connect_s=seconds("connect_timeout", connect_timeout, endless=True),
            away_s=seconds("reconnect_timeout", reconnect_timeout, endless=True),
            message_bytes_max=message_bytes_max,
            failover_duplicates=failover_duplicates,
        )
        self._answer_s = max(_ANSWER_S, settings.connect_s)
        self.key = None if key is NO_KEY else key  # by which it proves who it is, None if it does not
        self._connection = self._connection_type(brokers, settings, self.key)

    def ask_future(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> Future[tuple[int, Any]]:
        """As `ask_status`, without waiting."""
        asked = dict(question or {})
        if service in CHANGES:
            asked.setdefault("ask", ids.new_id())  # so that its repeat is answered as it is
        (body,) = values.encode_value(asked, "the question")
        return self.raw_future(service, body, takes_s + self._answer_s, takes_s)

    def answer_future(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> Future[Any]:
        """As `ask`, without waiting."""
        return then(self.ask_future(service, question, takes_s), lambda answer: answer[1])

    def count_future(self, service: str, question: Mapping[str, Any]) -> Future[int]:
        """How many jobs a question has acted on; the broker may work on it for minutes."""
        return then(self.ask_future(service, question, _LONG_S), lambda answer: int(answer[1]["count"]))

    def raw_future(
        self, service: str, body: bytes, timeout: float | None = None, takes_s: float = 0.0
    ) -> Future[tuple[int, Any]]:
        """Status and answer of a `zmws.*` service to a frame that is JSON already. `takes_s`: as of
        `ask_status`."""
        name = service_of(service)
        asked = self._connection.request(name, True, {}, (body,), timeout, takes_s=takes_s)
        return then(asked, answer_of)

    def limits_steps(self) -> Steps[tuple[int, int]]:
        """How large a message may be, and of how many jobs; the broker may have to be asked."""
        dialog = self._connection.dialog
        if not dialog.greeted:
            with suppress(ServiceUnknown):  # of an older broker
                yield self.answer_future("zmws.hello")
        return dialog.message_bytes_max, dialog.submit_many_max

    def endpoint(self) -> str:
        """The endpoint of the broker that it is connected to, or is about to be."""
        return self._connection.dialog.broker

    def monotonic(self) -> float:
        """The clock that waits go by, in seconds."""
        return time.monotonic()

    def check_endless(self, job_id: str) -> None:
        """Somebody is to wait for this job as long as it takes. Raises ZmwsError where it is known that this
        is for ever; a connection cannot know."""

    def check_endless_batch(self, batch_id: str) -> None:
        """The same of a batch."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
