"""The client's side of the native dialect, without a socket: what it sends when, and when it gives up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clocked import Clocked
from zmws.dialog.client import (
    BYTES_MAX_UNTOLD,
    TRANSITIONS,
    Answered,
    ClientDialog,
    ClientSettings,
    State,
    Unanswered,
)
from zmws.errors import BrokerUnreachable, JobTimeout, Refused
from zmws.wire import at_client, mdp

TOLD = {"zmws": 1, "version": "9", "socket": "client", "message_bytes_max": 1_000, "submit_many_max": 7}


class Ended(dict[bytes, Any]):
    """How each request has ended, by its number."""

    def __missing__(self, number: bytes) -> Any:
        raise AssertionError(f"request {number!r} has not ended")


class Talk(Clocked):
    """A dialog and the broker it talks to."""

    def __init__(self, *brokers: str, **settings: Any) -> None:
        self.dialog = ClientDialog(brokers or ["tcp://here:1"], ClientSettings(**settings))
        super().__init__(self.dialog)
        self.ended = Ended()
        self.partials: list[bytes] = []

    def on_action(self, action: Any) -> None:
        assert isinstance(action, (Answered, Unanswered))
        assert action.number not in self.ended, "answered twice"
        if isinstance(action, Answered) and action.reply.kind == "partial":
            self.partials.append(action.reply.body[0])
            return
        self.ended[action.number] = action.reply if isinstance(action, Answered) else action.error

    def ask(self, body: bytes = b"x", timeout_s: float | None = None, **options: Any) -> bytes:
        number = self.dialog.request(self.now, "E", True, options, (body,), timeout_s)
        self.take()
        return number

    def up(self, told: dict[str, Any] | None = None, status: bytes = b"200") -> None:
        """The handshake, and unless told otherwise the answer to hello."""
        self.dialog.connected(self.now)
        self.take()
        if told is not None:
            self.answer(b"0", b"zmws.hello", status, json.dumps(told).encode())

    def answer(self, number: bytes, service: bytes, *body: bytes) -> None:
        self.dialog.receive(self.now, [number, b"", mdp.MDPC02, b"\x03", service, *body])
        self.take()

    def down(self) -> None:
        self.dialog.disconnected(self.now)
        self.take()


# ---------------------------------------------------------------- states

MDP_SOCKET = TOLD | {"socket": "mdp"}
WALKS: list[tuple[Callable[[Talk], Any], list[str]]] = [
    (lambda talk: None, []),
    (Talk.ask, ["CONNECTING"]),
    (lambda talk: (talk.ask(), talk.down()), ["CONNECTING", "AWAY"]),
    (lambda talk: (talk.ask(), talk.up()), ["CONNECTING", "GREETING"]),
    (lambda talk: (talk.ask(), talk.up(), talk.down()), ["CONNECTING", "GREETING", "AWAY"]),
    (lambda talk: (talk.ask(), talk.up(TOLD)), ["CONNECTING", "GREETING", "READY"]),
    (lambda talk: (talk.ask(), talk.up(TOLD), talk.down()), ["CONNECTING", "GREETING", "READY", "AWAY"]),
    (lambda talk: (talk.ask(), talk.up(MDP_SOCKET)), ["CONNECTING", "GREETING", "REFUSED"]),
    (
        lambda talk: (talk.ask(), talk.up(MDP_SOCKET), talk.down()),
        ["CONNECTING", "GREETING", "REFUSED", "AWAY"],
    ),
]


def walked(walk: Callable[[Talk], Any], monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, str]]:
    """The moves that a talk makes: from where, and by which event."""
    moves: list[tuple[State, str]] = []
    real = ClientDialog._move

    def move(dialog: ClientDialog, event: str) -> None:
        moves.append((dialog.state, event))
        real(dialog, event)

    monkeypatch.setattr(ClientDialog, "_move", move)
    walk(Talk())
    monkeypatch.undo()
    return moves


@pytest.mark.parametrize(("walk", "states"), WALKS)
def test_it_walks_from_state_to_state(
    walk: Callable[[Talk], Any], states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = walked(walk, monkeypatch)
    assert [TRANSITIONS[state][event].name for state, event in moves] == states


def test_these_walks_make_every_move_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {move for walk, _ in WALKS for move in walked(walk, monkeypatch)}
    assert made == {(state, event) for state, events in TRANSITIONS.items() for event in events}


def test_what_a_given_up_connection_still_says_moves_nothing() -> None:
    talk = Talk("tcp://hangs:1", "tcp://here:2")
    talk.down()
    talk.ask()
    talk.up(TOLD)
    talk.down()
    assert talk.dialog.state is State.AWAY
    sent = len(talk.sent)
    talk.up(TOLD)
    assert talk.dialog.state is State.AWAY and len(talk.sent) == sent
    talk.dialog.receive(talk.now, [b"what", b"is this"])
    talk.take()
    talk.pass_time(1.0)
    talk.up(TOLD)
    talk.answer(b"0", b"zmws.hello", b"200", json.dumps(MDP_SOCKET).encode())
    assert talk.dialog.state is State.READY, "it said so once"


# ---------------------------------------------------------------- a request


def test_who_has_nothing_to_ask_has_no_connection_and_waits_for_nothing() -> None:
    talk = Talk()
    assert talk.dialog.next_deadline() is None and talk.opened == []
    number = talk.ask()
    talk.up(TOLD)
    talk.answer(number, b"E", b"COMPLETE: E [x]", b"PARAM-JSON: 1")
    assert talk.ended[number].kind == "final" and talk.ended[number].body == (b"PARAM-JSON: 1",)
    assert talk.dialog.next_deadline() is None
    talk.down()
    talk.pass_time(600.0)
    assert len(talk.opened) == 1
    talk.ask()
    assert len(talk.opened) == 2


def test_partial_answers_come_and_the_last_one_ends_it() -> None:
    talk = Talk()
    number = talk.ask()
    talk.up(TOLD)
    talk.dialog.receive(talk.now, [number, b"", mdp.MDPC02, b"\x02", b"E", b"CONT: E [x]", b"part"])
    talk.take()
    assert talk.partials == [b"part"] and number not in talk.ended
    talk.answer(number, b"E", b"COMPLETE: E [x]")
    talk.answer(number, b"E", b"COMPLETE: E [x]")  # of a repeat
    assert talk.ended[number].kind == "final"


def test_what_is_unanswered_is_repeated_as_it_was_and_a_partial_answer_puts_it_off() -> None:
    talk = Talk()
    number = talk.ask(id="i")
    talk.up(TOLD)
    talk.pass_time(4.9)
    assert [frames[0] for frames in talk.sent] == [b"0", number]
    talk.dialog.receive(talk.now, [number, b"", mdp.MDPC02, b"\x02", b"E", b"CONT: E [x]", b"part"])
    talk.pass_time(4.9)
    assert len(talk.sent) == 2
    talk.pass_time(0.2)
    assert talk.sent[2] == talk.sent[1]


def test_a_timeout_goes_along_as_what_is_left_of_it() -> None:
    talk = Talk()
    number = talk.ask(timeout_s=12.0)
    talk.pass_time(1.0)
    talk.up(TOLD)
    talk.pass_time(10.9)
    left = [json.loads(frames[5].removeprefix(at_client.OPTS_JSON))["expires"] for frames in talk.sent[1:]]
    assert left == [11.0, 6.0, 1.0] and number not in talk.ended
    talk.pass_time(0.2)
    assert isinstance(talk.ended[number], JobTimeout) and "within 12 s" in str(talk.ended[number])
    assert talk.dialog.pending == {}


def test_what_is_left_of_a_timeout_is_told_to_the_millisecond_and_is_never_nothing() -> None:
    for timeout_s, left in ((1.2344, 1.234), (0.0001, 0.001)):
        talk = Talk()
        talk.ask(timeout_s=timeout_s)
        talk.up(TOLD)
        assert json.loads(talk.sent[-1][5].removeprefix(at_client.OPTS_JSON))["expires"] == left


def test_a_timeout_that_passes_before_a_broker_is_found_says_that_none_is() -> None:
    talk = Talk()
    number = talk.ask(timeout_s=0.5)
    talk.pass_time(0.6)
    assert isinstance(talk.ended[number], BrokerUnreachable) and not talk.ended[number].maybe_accepted


def test_what_is_forgotten_is_neither_repeated_nor_answered() -> None:
    talk = Talk()
    number = talk.ask()
    talk.up(TOLD)
    talk.dialog.forget(number)
    talk.answer(number, b"E", b"COMPLETE: E [x]")
    talk.pass_time(60.0)
    assert talk.ended == {} and len(talk.sent) == 2


# ---------------------------------------------------------------- hello


def test_nothing_leaves_before_the_broker_has_said_what_it_is() -> None:
    talk = Talk()
    talk.ask()
    talk.up()
    assert [frames[:5] for frames in talk.sent] == [[b"0", b"", b"MDPC02", b"\x01", b"zmws.hello"]]
    talk.ask()
    assert len(talk.sent) == 1
    talk.answer(b"0", b"zmws.hello", b"200", json.dumps(TOLD).encode())
    assert [frames[0] for frames in talk.sent] == [b"0", b"1", b"2"]
    talk.ask()
    assert talk.sent[-1][0] == b"3", "and then at once"
    talk.down()
    talk.pass_time(1.0)
    talk.up()
    assert [frames[0] for frames in talk.sent[4:]] == [b"0"], "on each connection"


def test_a_message_larger_than_the_broker_takes_is_refused_and_never_sent() -> None:
    talk = Talk()
    large, right = talk.ask(b"x" * 1_001), talk.ask(b"x" * 1_000)
    talk.up(TOLD)
    refused = talk.ended[large]
    assert isinstance(refused, Refused) and refused.code == "too_large"
    assert "1001 bytes, and a message at most 1000" in str(refused)
    assert [frames[0] for frames in talk.sent] == [b"0", right]
    later = talk.ask(b"y" * 2_000)
    assert talk.ended[later].code == "too_large" and right not in talk.ended
    assert talk.dialog.message_bytes_max == 1_000 and talk.dialog.submit_many_max == 7


def test_the_clients_own_bound_holds_below_the_brokers() -> None:
    talk = Talk(message_bytes_max=10)
    number = talk.ask(b"x" * 11)
    talk.up(TOLD)
    assert talk.ended[number].code == "too_large"


@pytest.mark.parametrize("told", [{"code": "unknown_service"}, {}])
def test_an_older_broker_does_not_say_and_gets_the_defaults(told: dict[str, Any]) -> None:
    talk = Talk()
    talk.ask()
    talk.up(told, b"501")
    assert talk.sent[-1][0] == b"1" and talk.dialog.message_bytes_max == 8 * 1024 * 1024
    assert talk.dialog.submit_many_max == 1_000


def test_the_socket_for_strict_programs_is_refused_with_what_to_write() -> None:
    talk = Talk()
    first = talk.ask()
    talk.up(TOLD | {"socket": "mdp"})
    later = talk.ask()
    for number in (first, later):
        assert isinstance(talk.ended[number], Refused) and talk.ended[number].code == "wrong_socket"
        assert "tcp://here:1 is the socket 'mdp'" in str(talk.ended[number])
    assert [frames[0] for frames in talk.sent] == [b"0"]


def test_another_connection_may_be_the_right_one() -> None:
    talk = Talk()
    talk.ask()
    talk.up(TOLD | {"socket": "mdp"})
    talk.down()
    number = talk.ask()
    talk.pass_time(0.2)
    talk.up(TOLD)
    assert talk.sent[-1][0] == number and number not in talk.ended


def test_the_workers_socket_is_refused_as_the_broker_says() -> None:
    talk = Talk()
    number = talk.ask()
    talk.up()
    why = b'PARAM-JSON: {"code": "wrong_socket", "error": "workers only"}'
    talk.answer(b"0", b"zmws.hello", b"FAIL: zmws.hello", why)
    assert talk.ended[number].code == "wrong_socket" and "workers only" in str(talk.ended[number])


def test_a_broker_that_takes_the_connection_and_says_nothing_is_given_up() -> None:
    talk = Talk()
    number = talk.ask()
    talk.up()
    talk.pass_time(14.9)
    assert number not in talk.ended
    talk.pass_time(0.2)
    assert isinstance(talk.ended[number], BrokerUnreachable)
    assert not talk.ended[number].maybe_accepted


def test_tries_come_less_and_less_often_but_at_least_each_second() -> None:
    talk = Talk(connect_s=60.0)
    talk.ask()
    gaps = []
    for _ in range(9):
        talk.down()
        talk.pass_time(0.0)
        due = talk.dialog.next_deadline()
        assert due is not None
        gaps.append(round(due - talk.now, 2))
        talk.pass_time(due - talk.now)
    assert gaps == [0.1, 0.15, 0.23, 0.34, 0.51, 0.76, 1.0, 1.0, 1.0] and len(talk.opened) == 10


def test_cuts_without_end_do_not_set_the_patience_back() -> None:
    # As when something in the request makes the broker, or something before it, cut the connection.
    talk = Talk()
    number = talk.ask()
    while number not in talk.ended:
        assert talk.now < 20.0, "sent again and again, without end"
        talk.up(TOLD)
        talk.pass_time(0.2)
        talk.down()
        talk.pass_time(1.5)
    assert isinstance(talk.ended[number], BrokerUnreachable) and talk.ended[number].maybe_accepted


def test_a_connection_that_held_was_there_and_its_loss_has_a_patience_of_its_own() -> None:
    talk = Talk()
    number = talk.ask()
    for _ in range(5):
        talk.up(TOLD)
        talk.pass_time(60.0)
        talk.down()
        talk.pass_time(14.0)
        assert number not in talk.ended
    talk.pass_time(2.0)
    assert isinstance(talk.ended[number], BrokerUnreachable)


def test_a_request_of_later_has_its_own_patience_though_the_connection_breaks_often() -> None:
    talk = Talk()
    for _ in range(20):
        number = talk.ask()
        talk.up(TOLD)
        talk.answer(number, b"E", b"COMPLETE: E [x]")
        talk.pass_time(2.0)
        in_flight = talk.ask()
        talk.down()
        talk.pass_time(1.0)
        assert in_flight not in talk.ended
        talk.up(TOLD)
        talk.answer(in_flight, b"E", b"COMPLETE: E [x]")
        talk.down()
        talk.pass_time(1.0)


def test_a_call_that_may_run_once_is_not_sent_again() -> None:
    talk = Talk()
    once, more = talk.ask(retries=0), talk.ask()
    talk.up(TOLD)
    talk.down()
    talk.pass_time(0.5)
    talk.up(TOLD)
    assert isinstance(talk.ended[once], BrokerUnreachable) and talk.ended[once].maybe_accepted
    assert [frames[0] for frames in talk.sent] == [b"0", once, more, b"0", more]


# ---------------------------------------------------------------- several brokers


def test_a_broker_that_hangs_has_its_share_of_the_patience_and_the_next_is_asked() -> None:
    talk = Talk("tcp://hangs:1", "tcp://here:2")
    number = talk.ask()
    talk.pass_time(1.0)
    assert talk.opened == ["tcp://hangs:1", "tcp://here:2"]
    talk.up(TOLD)
    assert talk.sent[-1][0] == number and number not in talk.ended


@pytest.mark.parametrize("hung", range(1, 9))
@pytest.mark.parametrize("patience_s", [0.2, 1.5])
@pytest.mark.parametrize("at_once", [False, True])
def test_the_last_of_a_list_is_asked_too(hung: int, patience_s: float, at_once: bool) -> None:
    """`at_once`: they refuse the connection, or their names do not resolve."""
    brokers = [*(f"tcp://hangs:{number}" for number in range(1, hung + 1)), "tcp://here:1"]
    talk = Talk(*brokers, connect_s=patience_s)
    number = talk.ask()
    for _ in range(hung):
        if at_once:
            talk.down()
        talk.pass_time(0.0 if at_once else patience_s / (hung + 1))
    assert talk.opened == brokers
    talk.up(TOLD)
    assert talk.sent[-1][0] == number and number not in talk.ended


def test_a_broker_that_takes_the_connection_and_says_nothing_has_a_longer_share() -> None:
    talk = Talk("tcp://busy:1", "tcp://here:2")
    number = talk.ask()
    talk.up()
    talk.pass_time(7.4)
    assert talk.opened == ["tcp://busy:1"] and number not in talk.ended
    talk.pass_time(0.4)
    assert talk.opened == ["tcp://busy:1", "tcp://here:2"]


def test_after_a_broker_that_hung_nothing_is_due_before_the_next_try() -> None:
    talk = Talk("tcp://gone:1", "tcp://hangs:2")
    talk.ask()
    talk.down()
    talk.pass_time(0.0)
    talk.now = 0.75  # its share
    talk.dialog.tick(talk.now)
    talk.take()
    assert talk.dialog.state is State.AWAY
    assert talk.dialog.next_deadline() == pytest.approx(0.85)


def test_where_all_hang_the_caller_is_told_when_the_patience_is_over() -> None:
    talk = Talk("tcp://hangs:1", "tcp://hangs:2", "tcp://hangs:3")
    number = talk.ask()
    talk.pass_time(1.6)
    assert set(talk.opened) == {"tcp://hangs:1", "tcp://hangs:2", "tcp://hangs:3"}
    assert isinstance(talk.ended[number], BrokerUnreachable) and "tcp://hangs:3" in str(talk.ended[number])


def test_what_has_left_for_one_broker_goes_to_no_other() -> None:
    talk = Talk("tcp://here:1", "tcp://there:2")
    number = talk.ask()
    talk.up(TOLD)
    talk.pass_time(10.0)
    talk.down()
    talk.pass_time(14.0)
    assert set(talk.opened) == {"tcp://here:1"} and number not in talk.ended
    talk.pass_time(2.0)
    assert talk.ended[number].maybe_accepted


def test_why_no_connection_could_be_made_is_told_to_whoever_asked() -> None:
    talk = Talk()
    number = talk.ask()
    talk.dialog.disconnected(talk.now, "Too many open files")
    talk.pass_time(30.0)
    assert isinstance(talk.ended[number], BrokerUnreachable)
    assert str(talk.ended[number]) == "no broker answers at tcp://here:1 (Too many open files)"


def test_who_accepts_duplicates_asks_the_next_broker_too() -> None:
    talk = Talk("tcp://here:1", "tcp://there:2", failover_duplicates=True)
    number = talk.ask()
    talk.up(TOLD)
    talk.down()
    talk.pass_time(0.2)
    assert talk.opened == ["tcp://here:1", "tcp://there:2"]
    talk.up(TOLD)
    assert [frames[0] for frames in talk.sent] == [b"0", number] * 2


def test_who_has_been_sent_a_request_is_tried_again_at_once_whatever_was_before() -> None:
    talk = Talk("tcp://gone:1", "tcp://there:2", connect_s=60.0)
    for _ in range(10):  # until the tries come seldom
        number = talk.ask()
        talk.down()
        talk.pass_time(1.0)
    if talk.opened[-1] == "tcp://gone:1":
        talk.down()
        talk.pass_time(1.0)
    talk.up(TOLD)
    opened = len(talk.opened)
    talk.down()
    talk.pass_time(0.1)
    assert talk.opened[opened:] == ["tcp://there:2"] and number not in talk.ended


def test_it_says_whether_the_broker_has_told_its_limits() -> None:
    talk = Talk()
    talk.ask()
    talk.up()
    assert not talk.dialog.greeted
    talk.answer(b"0", b"zmws.hello", b"200", json.dumps(TOLD).encode())
    assert talk.dialog.greeted


def test_of_limits_the_least_that_means_something_is_one() -> None:
    for many, known in ((1, 1), (0, 1_000), (-1, 1_000)):
        talk = Talk()
        talk.ask()
        talk.up(TOLD | {"submit_many_max": many, "message_bytes_max": many})
        assert talk.dialog.submit_many_max == known
        assert (talk.dialog.message_bytes_max == 1) is (many == 1)


def test_before_a_broker_has_told_its_limits_the_settings_and_the_usual_ones_hold() -> None:
    talk = Talk()
    assert not talk.dialog.greeted and talk.dialog.message_bytes_max == BYTES_MAX_UNTOLD
    talk.ask()
    talk.up(TOLD)
    assert talk.dialog.greeted
