"""What the manager of services is told, where it asks: systemd, and whoever speaks sd_notify(3).

Rule: it is told, and never waited for. Whoever does not ask (no NOTIFY_SOCKET) is told nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class ServiceManager:
    """The one that has started this process."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes what it has said out of the environment: it is for this process alone."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        whose = environ.pop("WATCHDOG_PID", "")
        text = environ.pop("WATCHDOG_USEC", "")
        is_for_us = whose in ("", str(os.getpid()))
        # Half of the time that it gives, as sd_watchdog_enabled(3) advises.
        self.each_s = int(text) / 2e6 if text.isdigit() and is_for_us else 0.0
        self._due_at = 0.0

    def ready(self) -> None:
        """What this process is there for can be asked of it now."""
        self._tell("READY=1")

    def stopping(self, within_s: float) -> None:
        """It is about to end, within so many seconds."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(within_s * 1e6)}")

    def alive(self) -> None:
        """To be called again and again: it is told as often as it wants."""
        if self.each_s and time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + self.each_s
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.setblocking(False)
            told.sendto(text.encode(), address)
