"""A client's or worker's dialog without a socket, on a clock of its own."""

from __future__ import annotations

from typing import Any

from zmws.dialog.actions import Dialog, Open, Transmit


class Clocked:
    """What the dialog has opened and sent, and its time, in seconds."""

    def __init__(self, dialog: Dialog) -> None:
        self.driven = dialog
        self.now = 0.0
        self.opened: list[str] = []
        self.sent: list[list[bytes]] = []

    def take(self) -> None:
        for action in self.driven.take():
            if isinstance(action, Open):
                self.opened.append(action.endpoint)
            elif isinstance(action, Transmit):
                self.sent.append(action.frames)
            else:
                self.on_action(action)

    def on_action(self, action: Any) -> None:
        """An action that only one of the two has."""

    def pass_time(self, seconds: float) -> None:
        """Tick at each time the dialog wants to be told of."""
        end = self.now + seconds
        while (due := self.driven.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.driven.tick(self.now)
            self.take()
        self.now = end
