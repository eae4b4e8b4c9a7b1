"""What `zmws start`, `stop` and `status` say of what they are told."""

from __future__ import annotations

import pytest

from zmws.cli.control import _parts, say_event
from zmws.cli.status import what_is_wrong
from zmws.supervisor.broker import Broker
from zmws.supervisor.events import Event, GivingUp, HadDied, LeftEnded, RunsUnnoted
from zmws.supervisor.processes import DIED, State


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        (Broker("absent", "tcp://h:1", fault="no broker"), r"^no broker \('.*zmws start' starts one\)$"),
        (
            Broker("silent", "tcp://h:1", 7, fault="no broker"),
            r"^no broker; its process 7 runs: .* stop' ends it$",
        ),
        (
            Broker("another", "tcp://h:1", 7),
            r"at tcp://h:1 is of another installation \(process 7\); stop it there",
        ),
    ],
)
def test_why_no_broker_answers_comes_with_what_to_do(broker: Broker, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(what_is_wrong(broker))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            HadDied((State("a", DIED, None, 0.0), State("b", DIED, None, 60.0))),
            "had died: a (after 1970-01-01T00:00:00.000Z), b (after 1970-01-01T00:01:00.000Z)",
        ),
        (LeftEnded("a", 1), "ended 1 process that a had left"),
        (LeftEnded("a", 2), "ended 2 processes that a had left"),
        (RunsUnnoted(7), "the broker runs already, not from here (process 7)"),
        (GivingUp(("a", "b")), "stopping what was started: a, b"),
    ],
)
def test_what_happens_on_the_way_is_said_in_a_line(
    event: Event, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_event(event)
    assert capsys.readouterr() == ("", f"zmws: {said}\n")


def test_neither_flag_means_both_parts() -> None:
    assert (_parts(False, False), _parts(True, False), _parts(False, True)) == (
        (True, True),
        (True, False),
        (False, True),
    )
