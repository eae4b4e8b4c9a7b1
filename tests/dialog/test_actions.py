"""What either dialog wants done, and that both can be driven by the same line."""

from __future__ import annotations

import inspect

import pytest

from zmws.dialog.actions import Dialog, Open, Transmit
from zmws.dialog.client import ClientDialog
from zmws.dialog.worker import WorkerDialog


@pytest.mark.parametrize("kind", [ClientDialog, WorkerDialog])
def test_a_dialog_has_all_that_a_line_calls(kind: type) -> None:
    members = [name for name in vars(Dialog) if not name.startswith("_") and callable(getattr(Dialog, name))]
    assert {"connected", "disconnected", "receive", "tick", "take", "next_deadline"} <= set(members)
    for name in members:
        wanted = list(inspect.signature(getattr(Dialog, name)).parameters)
        assert list(inspect.signature(getattr(kind, name)).parameters)[: len(wanted)] == wanted, name


def test_both_begin_with_a_socket_to_open_and_then_something_to_send() -> None:
    worker = WorkerDialog("E", "w", ["tcp://here:1"], lambda: 0.5)
    worker.start(1.0)
    actions = worker.take()
    assert isinstance(actions[0], Open) and actions[0].endpoint == "tcp://here:1"
    assert [type(action) for action in actions[1:]] == [Transmit]
