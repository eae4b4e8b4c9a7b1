"""`self.client`: a client of the broker that the worker is connected to, made when it is asked for first.

Rule 1: the broker tells in its pace where it takes clients; a wildcard stands for the host that the worker
        connected to.
Rule 2: after a change of the broker the next use has a client of the new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from zmws.errors import ZmwsError
from zmws.settings.addresses import seen_from

if TYPE_CHECKING:
    from zmws.client import Client
    from zmws.dialog.worker import WorkerDialog
    from zmws.key_file import KeyFile


def endpoint_told(dialog: WorkerDialog, given: str | None) -> str | None:
    """Where a worker's broker takes clients. `given`: an endpoint that goes before what the broker tells."""
    told = given or dialog.client_endpoint
    return None if told is None else seen_from(told, dialog.broker)


class OwnClient:
    """Makes and keeps it."""

    def __init__(self, endpoint: Callable[[], str | None], key: KeyFile | None = None) -> None:
        """`endpoint`: where it is to connect now, None as long as nobody has told. `key`: who it is there."""
        self.key = key
        self._where = endpoint
        self._client: Client | None = None
        self._endpoint = ""
        self._making = threading.RLock()  # several jobs may ask at once

    def __call__(self) -> Client:
        """The client. Raises ZmwsError where the broker has told no endpoint."""
        with self._making:
            return self._made()

    def _made(self) -> Client:
        endpoint = self._where()
        if endpoint is None:
            raise ZmwsError(
                "self.client: the broker has not told where it takes clients (it may be too old, or was not "
                "reached yet); make a Client(ENDPOINT) of your own"
            )
        if self._client is None or endpoint != self._endpoint:
            from zmws.client import Client  # most workers need none
            from zmws.key_file import NO_KEY

            if self._client is not None:
                self._client.close()
            self._client, self._endpoint = Client(endpoint, key=self.key or NO_KEY), endpoint
        return self._client

    def close(self) -> None:
        """Let go of the client, if there is one."""
        with self._making:
            if self._client is not None:
                self._client.close()
                self._client = None
