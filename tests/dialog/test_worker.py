"""The worker's side of MDP, without a socket: each move between its states, and what it says when."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clocked import Clocked
from zmws.dialog.worker import DialogSettings, WorkerDialog
from zmws.dialog.worker_actions import CancelJob, Hangs, Lies, Registered, StartJob, Stopped, TellStack
from zmws.dialog.worker_states import TRANSITIONS, State
from zmws.wire import mdp

READY, PARTIAL, FINAL = mdp.W_READY, mdp.W_PARTIAL, mdp.W_FINAL
HEARTBEAT, DISCONNECT = mdp.W_HEARTBEAT, mdp.W_DISCONNECT
DONE_1 = (b"COMPLETE", b"PARAM-JSON: 1")


class Life(Clocked):
    """A dialog that has started."""

    def __init__(
        self,
        *brokers: str,
        memory: int | None = None,
        slots: int = 1,
        prefetch: int = 0,
        **settings: Any,
    ) -> None:
        self.dialog = WorkerDialog(
            "E",
            "w",
            brokers or ("tcp://here:1",),
            lambda: 0.5,
            {"host": "h"},
            DialogSettings(**settings),
            lambda: memory,
            slots,
            prefetch,
        )
        super().__init__(self.dialog)
        self.did: list[Any] = []
        self.dialog.start(self.now)
        self.take()

    def on_action(self, action: Any) -> None:
        self.did.append(action)

    def hear(self, command: bytes = HEARTBEAT, *frames: bytes) -> None:
        """The broker says this."""
        self.dialog.receive(self.now, [mdp.MDPW02, command, *frames])
        self.take()

    def register(self) -> None:
        """The handshake, and the broker's first heartbeat."""
        self.dialog.connected(self.now)
        self.hear()

    def told_pace(self, *takes: str, **more: Any) -> None:
        """What a broker tells once after READY."""
        self.hear(HEARTBEAT, json.dumps({"takes": takes, **more}).encode())

    def says(self, token: bytes, *body: bytes) -> None:
        """work() says something of its job."""
        self.dialog.partial(self.now, token, body)
        self.take()

    def give(self, token: bytes = b"1/1/a") -> bytes:
        self.hear(mdp.W_REQUEST, token, b"", mdp.JOB_JSON + b"{}", b"body")
        return token

    def returned(self, token: bytes = b"1/1/a", body: tuple[bytes, ...] = DONE_1) -> None:
        """work() has returned."""
        self.dialog.final(self.now, token, body)
        self.take()

    def lose(self) -> None:
        self.dialog.disconnected(self.now)
        self.take()

    def stop(self) -> None:
        self.dialog.stop(self.now)
        self.take()

    def come_back(self) -> None:
        """The connection breaks, the next one is made, and the broker answers."""
        self.lose()
        self.pass_time(0.1)
        self.register()

    def said(self, command: bytes) -> list[list[bytes]]:
        """What it has said with this command, without the head."""
        return [frames[2:] for frames in self.sent if frames[1] == command]

    def ready(self) -> dict[str, Any]:
        """What its last READY has told."""
        return json.loads(self.said(READY)[-1][1])


# ---------------------------------------------------------------- states


def cancelled(life: Life) -> None:
    life.register()
    life.hear(HEARTBEAT, b"CANCEL " + life.give())


def dismissed(life: Life) -> None:
    cancelled(life)
    life.hear(DISCONNECT)


def cancelled_and_lost(life: Life) -> None:
    cancelled(life)
    life.lose()
    life.pass_time(0.1)


def dismissed_and_out_of_time(life: Life) -> None:
    dismissed(life)
    life.dialog.stop(life.now, 1.0)
    life.pass_time(1.0)


def retired(life: Life) -> None:
    dismissed(life)
    life.stop()
    life.returned()


def retired_with_a_result(life: Life) -> None:
    life.register()
    life.returned(life.give(b"0/1/z"))
    life.hear(HEARTBEAT, b"CANCEL " + life.give())
    life.hear(DISCONNECT)
    life.stop()
    life.returned()


def stopped_while_away(life: Life) -> None:
    life.lose()
    life.stop()


WALKS: list[tuple[Callable[[Life], Any], list[str]]] = [
    (lambda life: None, ["GREETING"]),
    (Life.lose, ["GREETING", "AWAY"]),
    (lambda life: life.pass_time(5.0), ["GREETING", "AWAY"]),  # nobody answers
    (Life.come_back, ["GREETING", "AWAY", "GREETING", "REGISTERED"]),
    (Life.register, ["GREETING", "REGISTERED"]),
    (lambda life: life.hear(DISCONNECT), ["GREETING", "AWAY"]),
    (lambda life: (life.register(), life.hear(DISCONNECT)), ["GREETING", "REGISTERED", "AWAY"]),
    (lambda life: (life.register(), life.lose()), ["GREETING", "REGISTERED", "AWAY"]),
    (dismissed, ["GREETING", "REGISTERED", "DISMISSED"]),
    (lambda life: (dismissed(life), life.returned()), ["GREETING", "REGISTERED", "DISMISSED", "GREETING"]),
    (
        lambda life: (cancelled_and_lost(life), life.hear(DISCONNECT)),
        ["GREETING", "REGISTERED", "AWAY", "GREETING", "DISMISSED"],
    ),
    (retired, ["GREETING", "REGISTERED", "DISMISSED", "AWAY", "STOPPED"]),
    (retired_with_a_result, ["GREETING", "REGISTERED", "DISMISSED", "GREETING"]),
    (dismissed_and_out_of_time, ["GREETING", "REGISTERED", "DISMISSED", "STOPPED"]),
    (Life.stop, ["GREETING", "STOPPED"]),
    (lambda life: (life.register(), life.stop()), ["GREETING", "REGISTERED", "STOPPED"]),
    (stopped_while_away, ["GREETING", "AWAY", "STOPPED"]),
]


def walked(walk: Callable[[Life], Any], monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, str]]:
    """The moves that a life makes: from where, and by which event."""
    moves: list[tuple[State, str]] = []
    real = WorkerDialog._move

    def move(dialog: WorkerDialog, event: str) -> None:
        moves.append((dialog.state, event))
        real(dialog, event)

    monkeypatch.setattr(WorkerDialog, "_move", move)
    walk(Life())
    monkeypatch.undo()
    return moves


@pytest.mark.parametrize(("walk", "states"), WALKS)
def test_it_walks_from_state_to_state(
    walk: Callable[[Life], Any], states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = walked(walk, monkeypatch)
    assert [TRANSITIONS[state][event].name for state, event in moves] == states


def test_these_walks_make_every_move_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {move for walk, _ in WALKS for move in walked(walk, monkeypatch)}
    assert made == {(state, event) for state, events in TRANSITIONS.items() for event in events}


@pytest.mark.parametrize("state", State)
def test_what_comes_in_a_state_that_does_not_expect_it_changes_nothing(state: State) -> None:
    life = Life()
    walks: dict[State, Callable[[Life], Any]] = {
        State.AWAY: Life.lose,
        State.GREETING: lambda life: None,
        State.REGISTERED: Life.register,
        State.DISMISSED: dismissed,
        State.STOPPED: Life.stop,
    }
    walks[state](life)
    sent = len(life.sent)
    assert life.dialog.state is state
    life.dialog.receive(life.now, [b"MDPX", b"\x05"])
    life.dialog.receive(life.now, [mdp.MDPW02, b"\x09"])
    life.dialog.receive(life.now, [])
    life.returned(b"9/9/9")
    life.dialog.partial(life.now, b"9/9/9", (b"CONT",))
    life.dialog.tick(life.now)
    if state not in (State.GREETING, State.REGISTERED):
        life.lose()
        life.give(b"2/1/b")
        life.hear(DISCONNECT)
    life.take()
    assert life.dialog.state is state and len(life.sent) == sent


# ---------------------------------------------------------------- connecting


def test_ready_is_the_first_thing_on_a_connection_and_tells_what_is_held_and_finished() -> None:
    life = Life()
    assert life.said(READY)[0][0] == b"E"
    told = {"zmws": 1, "id": "w", "ping": 0.75, "host": "h", "slots": 1, "prefetch": 0}
    told |= {"holding": [], "finished": []}
    assert life.ready() == told
    life.register()
    life.give(b"1/1/a")
    life.returned(b"1/1/a")
    life.give(b"2/1/b")
    life.come_back()
    assert life.ready() == told | {"holding": ["2/1/b"], "finished": ["1/1/a"]}
    assert life.did.count(Registered()) == 2


def test_of_many_results_ready_names_the_newest_thousand() -> None:
    life = Life(unconfirmed_bytes_max=10**9)
    life.register()
    for n in range(1_001):
        life.returned(life.give(b"%d/1/a" % n))
    life.come_back()
    finished = life.ready()["finished"]
    assert (len(finished), finished[0], finished[-1]) == (1_000, "1000/1/a", "1/1/a")


def test_a_broker_that_hangs_has_a_limit_and_the_next_is_tried() -> None:
    life = Life("tcp://hangs:1", "tcp://here:2")
    life.pass_time(7.0)
    assert life.opened == ["tcp://hangs:1", "tcp://here:2"]


def test_a_broker_that_is_restarted_is_tried_quickly_again() -> None:
    life = Life()
    life.register()
    life.pass_time(4.0)
    life.lose()
    life.pass_time(0.3)
    assert life.opened[:2] == ["tcp://here:1"] * 2


def test_who_has_nothing_in_hand_tries_the_next_broker_at_the_first_refusal() -> None:
    life = Life("tcp://here:1", "tcp://there:2", "tcp://far:3")
    life.register()
    for _ in range(4):
        life.lose()
        life.pass_time(0.1)
    assert life.opened == [
        "tcp://here:1",
        "tcp://there:2",
        "tcp://far:3",
        "tcp://here:1",
        "tcp://there:2",
    ]


def test_with_a_job_in_hand_only_the_broker_that_gave_it_is_tried() -> None:
    life = Life("tcp://here:1", "tcp://there:2")
    life.register()
    life.give()
    while life.now < 60.0:
        life.lose()
        due = life.dialog.next_deadline()
        assert due is not None
        life.pass_time(due - life.now)
    assert set(life.opened) == {"tcp://here:1"} and life.ready()["holding"] == ["1/1/a"]
    life.returned()
    life.lose()
    life.pass_time(10.0)
    assert "tcp://there:2" in life.opened


def test_results_go_to_the_broker_they_belong_to_and_to_no_other() -> None:
    life = Life("tcp://here:1", "tcp://there:2")
    life.register()
    life.returned(life.give())
    life.lose()
    life.pass_time(1.0)
    assert set(life.opened) == {"tcp://here:1"}, "it is tried first"
    while life.opened[-1] != "tcp://there:2":
        life.lose()
        life.pass_time(0.3)
    life.register()
    assert life.ready()["finished"] == [] and len(life.said(FINAL)) == len(life.opened) - 1
    life.returned(life.give(b"2/1/b"))
    life.lose()
    life.pass_time(0.1)
    assert life.opened[-1] == "tcp://here:1" and life.ready()["finished"] == ["1/1/a"]


def at_another_with_a_result() -> Life:
    """Its first broker is gone, a result of that is in hand, and it is registered at the second."""
    life = Life("tcp://here:1", "tcp://there:2")
    life.register()
    life.returned(life.give())
    while life.opened[-1] != "tcp://there:2":
        life.lose()
        life.pass_time(0.3)
    life.register()
    return life


def quiet(life: Life, seconds: float) -> None:
    """So much time with a broker that answers its heartbeats."""
    until = life.now + seconds
    while life.now < until:
        life.pass_time(min(5.0, until - life.now))
        if life.dialog.state is State.REGISTERED:
            life.hear()


def test_the_broker_of_a_result_is_tried_as_long_as_it_waits_for_it_after_a_restart() -> None:
    life = Life("tcp://here:1", "tcp://there:2", heartbeat_interval_s=5.0)
    life.register()
    life.returned(life.give())
    lost_at = life.now
    while life.opened[-1] != "tcp://there:2":
        life.lose()
        life.pass_time(0.3)
    assert life.now - lost_at >= 10.0, "two intervals"


def test_who_waits_elsewhere_looks_after_the_broker_that_a_result_belongs_to() -> None:
    life = at_another_with_a_result()
    quiet(life, 9.9)
    assert life.opened[-1] == "tcp://there:2"
    quiet(life, 0.2)
    assert life.opened[-1] == "tcp://here:1" and life.said(DISCONNECT) == [[]]
    life.lose()
    life.pass_time(0.1)
    assert life.opened[-1] == "tcp://there:2", "it is not there: back at once"
    life.register()
    visits = life.opened.count("tcp://here:1")
    quiet(life, 19.0)
    assert life.opened.count("tcp://here:1") == visits, "less and less often"
    quiet(life, 2.0)
    assert life.opened[-1] == "tcp://here:1"
    life.register()
    assert life.ready()["finished"] == ["1/1/a"] and life.said(FINAL)[-1][0] == b"1/1/a"
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    quiet(life, 1_000.0)
    assert life.opened[-1] == "tcp://here:1", "it stays where it is"


def test_nobody_is_looked_after_while_a_job_is_in_hand_or_a_result_of_this_broker() -> None:
    life = at_another_with_a_result()
    opened = len(life.opened)
    held = life.give(b"2/1/b")
    quiet(life, 60.0)
    life.returned(held)
    quiet(life, 60.0)
    assert len(life.opened) == opened
    life.hear(HEARTBEAT, b"DONE 2/1/b")
    quiet(life, 6.0)
    assert life.opened[-1] == "tcp://here:1"


def test_who_leaves_brings_results_to_the_broker_they_belong_to() -> None:
    life = at_another_with_a_result()
    life.stop()
    assert life.opened[-1] == "tcp://here:1" and life.said(DISCONNECT) == [[]]
    life.register()
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    assert life.dialog.state is State.STOPPED and life.did[-1] == Stopped(0)


def test_tries_come_quickly_at_first_and_then_less_and_less_in_turn() -> None:
    life = Life("tcp://a:1", "tcp://b:2")
    tries: list[float] = []
    while life.now < 60.0:
        tries.append(life.now)
        life.lose()
        due = life.dialog.next_deadline()
        assert due is not None
        life.pass_time(due - life.now)
    gaps = [round(after - before, 3) for before, after in itertools.pairwise(tries)]
    assert gaps[:20] == [0.1] * 20 and gaps[20:25] == [0.5, 1.0, 2.0, 4.0, 5.0], "at most the interval"
    assert life.opened[:24] == ["tcp://a:1", "tcp://b:2"] * 12


def test_a_broker_that_says_nothing_for_the_intervals_it_has_told_is_given_up() -> None:
    life = Life()
    life.register()
    life.hear(HEARTBEAT, b'{"interval": 2, "liveness": 4}')
    life.pass_time(7.9)
    assert len(life.opened) == 1
    life.pass_time(0.3)
    assert len(life.opened) == 2


def test_any_command_shows_that_the_broker_is_there_and_a_loss_after_it_is_a_new_one() -> None:
    life = Life()
    for _ in range(30):  # until the tries come seldom
        life.lose()
        life.pass_time(5.0)
    life.register()
    opened = len(life.opened)
    for _ in range(5):
        life.pass_time(10.0)
        life.hear()
    assert len(life.opened) == opened
    life.lose()
    life.pass_time(0.1)
    assert len(life.opened) == opened + 1


# ---------------------------------------------------------------- heartbeats


def test_heartbeats_say_what_is_held_and_how_much_memory_is_used() -> None:
    life = Life(memory=7)
    life.register()
    life.pass_time(5.0)
    assert life.said(HEARTBEAT) == [[b"MEMORY 7"]]
    life.hear()
    life.give()
    life.pass_time(5.0)
    assert life.said(HEARTBEAT)[1:] == [[b"HOLDS 1/1/a", b"MEMORY 7"]]


def test_the_broker_sets_the_pace_and_nonsense_does_not() -> None:
    life = Life()
    life.register()
    nonsense = [json.dumps(dict.fromkeys(("interval", "liveness", "message_bytes_max"), v)) for v in (0, "1")]
    for text in (b"{", b"{}", b"WHAT EVER", *(one.encode() for one in nonsense)):
        life.hear(HEARTBEAT, text)
    dialog = life.dialog
    assert (dialog.interval_s, dialog.liveness, dialog.message_bytes_max) == (5.0, 3, 8 * 1024 * 1024)
    life.hear(HEARTBEAT, b'{"interval": 0.5, "liveness": 4, "message_bytes_max": 1}')
    assert (life.dialog.interval_s, life.dialog.message_bytes_max) == (0.5, 1)
    life.pass_time(1.1)
    assert len(life.said(HEARTBEAT)) == 2, "also the one that was due later before"
    life.hear(HEARTBEAT, b'{"liveness": 1}')
    assert life.dialog.liveness == 1


# ---------------------------------------------------------------- a job


def test_a_job_is_started_once_and_its_words_and_its_result_go_out_with_its_token() -> None:
    life = Life()
    life.register()
    life.give()
    life.give()  # a repeat
    (started,) = [action for action in life.did if isinstance(action, StartJob)]
    assert (started.request.token, started.request.body) == (b"1/1/a", (b"body",))
    life.dialog.partial(life.now, b"1/1/a", (b"LOG", b"x"))
    life.dialog.partial(life.now, b"0/1/z", (b"LOG", b"of a job before"))
    life.returned()
    life.returned()
    assert life.said(PARTIAL) == [[b"1/1/a", b"", b"LOG", b"x"]]
    assert life.said(FINAL) == [[b"1/1/a", b"", *DONE_1]]


def test_a_job_that_comes_again_after_its_result_is_not_run_again() -> None:
    life = Life()
    life.register()
    life.returned(life.give())
    life.give()
    assert len([action for action in life.did if isinstance(action, StartJob)]) == 1
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    life.give()
    assert len([action for action in life.did if isinstance(action, StartJob)]) == 2, "it is forgotten"


def test_a_second_job_makes_it_register_anew_without_naming_it() -> None:
    life = Life()
    life.register()
    life.give(b"1/1/a")
    life.give(b"2/1/b")
    assert life.dialog.state is State.AWAY
    life.pass_time(0.2)
    assert life.ready()["holding"] == ["1/1/a"]


def test_a_result_is_sent_again_after_a_reconnection_until_it_is_done() -> None:
    life = Life()
    life.register()
    life.give()
    life.lose()
    life.dialog.partial(life.now, b"1/1/a", (b"LOG", b"nobody hears it"))
    life.returned()
    assert life.said(FINAL) == [] and life.said(PARTIAL) == []
    life.pass_time(0.1)
    life.register()
    life.come_back()
    assert life.said(FINAL) == [[b"1/1/a", b"", *DONE_1]] * 2
    life.hear(HEARTBEAT, b"DONE 1/1/a 7/1/unknown")
    life.come_back()
    assert len(life.said(FINAL)) == 2 and life.ready()["finished"] == []


def test_a_result_that_is_too_large_fails_the_job_for_good() -> None:
    life = Life(message_bytes_max=20)
    life.register()
    life.returned(life.give(), (b"COMPLETE", b"x" * 21))
    ((_, _, verb, error),) = life.said(FINAL)
    assert verb == b"FAIL"
    told = json.loads(error.removeprefix(b"PARAM-JSON: "))
    assert (told["code"], told["retry"]) == ("result_too_large", False)


def test_many_unconfirmed_bytes_make_it_ask_before_it_says_the_next() -> None:
    life = Life(unconfirmed_bytes_max=40)
    life.register()
    life.returned(life.give(b"1/1/a"))
    assert life.said(HEARTBEAT) == []
    life.returned(life.give(b"2/1/b"))
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a 2/1/b"]]
    assert [frames[1] for frames in life.sent[-2:]] == [HEARTBEAT, FINAL]
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    life.returned(life.give(b"3/1/c"))
    assert len(life.said(HEARTBEAT)) == 2, "22 bytes are left, and 22 more came"
    life.hear(HEARTBEAT, b"DONE 2/1/b 3/1/c")
    life.returned(life.give(b"4/1/d"))
    assert len(life.said(HEARTBEAT)) == 2


def test_just_as_many_bytes_as_may_be_unconfirmed_are_no_reason_to_ask() -> None:
    life = Life(unconfirmed_bytes_max=2 * sum(map(len, DONE_1)))
    life.register()
    life.returned(life.give(b"1/1/a"))
    life.returned(life.give(b"2/1/b"))
    assert life.said(HEARTBEAT) == []
    life.come_back()
    assert life.said(HEARTBEAT) == []
    life.returned(life.give(b"3/1/c"))
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a 2/1/b 3/1/c"]]


def test_who_leaves_asks_anew_though_all_that_it_asked_before_is_confirmed() -> None:
    life = Life(unconfirmed_bytes_max=0)
    life.register()
    life.returned(life.give(b"1/1/a"))
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    life.dialog.settings.unconfirmed_bytes_max = 1_000
    life.returned(life.give(b"2/1/b"))
    life.stop()
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a"], [b"CONFIRM 2/1/b"]]


def test_what_was_asked_on_a_lost_connection_is_asked_anew_by_who_leaves() -> None:
    life = Life(unconfirmed_bytes_max=40)
    life.register()
    life.returned(life.give(b"1/1/a"))
    life.returned(life.give(b"2/1/b"))
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    life.come_back()
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a 2/1/b"]]
    life.stop()
    assert life.said(HEARTBEAT)[1:] == [[b"CONFIRM 2/1/b"]]


# ---------------------------------------------------------------- cancelled


def test_a_cancel_of_the_job_in_hand_is_told_and_of_another_is_not() -> None:
    life = Life()
    life.register()
    life.give()
    life.hear(HEARTBEAT, b"CANCEL 0/1/z")
    life.hear(HEARTBEAT, b"CANCEL 1/1/a")
    assert [action for action in life.did if isinstance(action, CancelJob)] == [CancelJob(b"1/1/a")]
    life.returned()
    assert len(life.said(FINAL)) == 1, "it is said, and refused there"
    life.hear(DISCONNECT)
    assert life.dialog.state is State.AWAY, "what was cancelled is over: it comes back at once"


def test_who_was_dismissed_for_a_cancelled_job_is_silent_until_it_has_returned() -> None:
    life = Life()
    dismissed(life)
    life.pass_time(600.0)
    assert life.opened == ["tcp://here:1"] and life.said(HEARTBEAT) == []
    life.returned()
    assert len(life.opened) == 2 and life.ready()["holding"] == life.ready()["finished"] == []
    assert life.said(FINAL) == [], "nobody waits for this result"


# ---------------------------------------------------------------- leaving


def test_who_has_nothing_leaves_at_once() -> None:
    life = Life()
    life.register()
    life.stop()
    assert life.sent[-1] == [mdp.MDPW02, DISCONNECT] and life.did[-1] == Stopped(0)
    assert life.dialog.next_deadline() is None


def test_the_job_in_hand_is_finished_and_confirmed_before_it_leaves() -> None:
    life = Life()
    life.register()
    life.give(b"1/1/a")
    life.stop()
    life.stop()
    life.give(b"2/1/b")  # on its way as it was told to stop
    assert life.dialog.state is State.REGISTERED
    life.returned(b"1/1/a")
    assert [frames[1] for frames in life.sent[-2:]] == [HEARTBEAT, FINAL]
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a"]], "once"
    assert life.did[-1] != Stopped(0) and life.said(DISCONNECT) == []
    life.hear(HEARTBEAT, b"DONE 1/1/a", b"DONE 1/1/a", b"DRAIN")
    assert life.did[-1] == Stopped(0) and life.said(DISCONNECT) == [[]]
    assert life.did.count(Stopped(0)) == 1


def test_a_drain_is_a_stop() -> None:
    life = Life()
    life.register()
    life.hear(HEARTBEAT, b"DRAIN")
    assert life.did[-1] == Stopped(0)


def test_results_that_nobody_confirms_are_counted_when_it_leaves() -> None:
    life = Life(leave_s=2.0)
    life.register()
    life.returned(life.give())
    life.stop()
    assert life.said(HEARTBEAT) == [[b"CONFIRM 1/1/a"]]
    life.pass_time(1.9)
    assert life.dialog.state is State.REGISTERED
    life.pass_time(0.2)
    assert life.did[-1] == Stopped(1)


def test_who_has_left_while_cut_off_connects_no_more() -> None:
    life = Life(leave_s=0.1)
    life.register()
    life.returned(life.give())
    life.stop()
    life.lose()
    assert life.dialog.next_deadline() == 0.1, "to leave, and to connect"
    life.pass_time(0.1)
    assert life.did[-1] == Stopped(1) and len(life.opened) == 1
    assert life.dialog.state is State.STOPPED and life.dialog.next_deadline() is None


def test_who_leaves_while_cut_off_comes_back_to_have_its_result_confirmed() -> None:
    life = Life()
    life.register()
    life.give()
    life.lose()
    life.stop()
    life.returned()
    life.pass_time(0.1)
    assert [frames[1] for frames in life.sent[-3:]] == [READY, HEARTBEAT, FINAL], (
        "it asks on the new connection"
    )
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    assert life.did[-1] == Stopped(0)


# ---------------------------------------------------------------- what a job says


def test_the_last_progress_save_and_touch_are_said_again_after_a_reconnection() -> None:
    life = Life()
    life.register()
    life.told_pace("SAVE")
    token = life.give()
    for n in range(3):
        life.says(token, b"PROGRESS", b"%d" % n)
        life.says(token, b"SAVE", b"%d" % n)
    life.says(token, b"TOUCH", b"60")
    life.says(token, b"LOG", b"once")
    before = len(life.said(PARTIAL))
    life.lose()
    life.says(token, b"SAVE", b"3")
    life.says(token, b"LOG", b"nobody hears it")
    life.pass_time(10.0)
    life.register()
    assert len(life.said(PARTIAL)) == before, "nobody knows yet what this broker takes"
    life.told_pace("SAVE")
    again = [frames[2:] for frames in life.said(PARTIAL)[before:]]
    assert again[:2] == [[b"PROGRESS", b"2"], [b"SAVE", b"3"]]
    (word, left), *more = again[2:]
    assert word == b"TOUCH" and float(left) == pytest.approx(50.0) and more == []


def test_nothing_of_a_job_that_has_ended_is_said_again_nor_a_touch_that_is_over() -> None:
    life = Life()
    life.register()
    life.told_pace("SAVE")
    ended, held = life.give(b"1/1/a"), b"2/1/b"
    life.says(ended, b"SAVE", b"1")
    life.returned(ended)
    life.give(held)
    life.says(held, b"TOUCH", b"5")
    before = len(life.said(PARTIAL))
    life.lose()
    life.pass_time(6.0)
    life.register()
    life.told_pace("SAVE")
    assert len(life.said(PARTIAL)) == before


def test_save_and_stack_are_said_only_to_a_broker_that_takes_them() -> None:
    life = Life()
    life.register()
    life.told_pace("STACK")
    token = life.give()
    life.says(token, b"SAVE", b"1")
    life.says(token, b"STACK", b"here")
    assert [frames[2] for frames in life.said(PARTIAL)] == [b"STACK"]
    life.come_back()
    life.told_pace("SAVE")
    assert [frames[2:] for frames in life.said(PARTIAL)[1:]] == [[b"SAVE", b"1"]]
    life.says(token, b"STACK", b"here")
    assert len(life.said(PARTIAL)) == 2


def test_a_broker_that_asks_for_a_stack_is_told_that_of_a_job_in_hand() -> None:
    life = Life()
    life.register()
    token = life.give()
    life.hear(HEARTBEAT, b"STACK 9/9/z")
    assert TellStack(b"9/9/z") not in life.did
    life.hear(HEARTBEAT, b"STACK " + token)
    assert life.did[-1] == TellStack(token)


# ---------------------------------------------------------------- leaving


def test_who_leaves_takes_no_more_and_releases_what_comes_all_the_same() -> None:
    life = Life()
    life.register()
    life.told_pace("SLOTS", "RELEASE")
    token = life.give()
    life.stop()
    assert life.said(HEARTBEAT)[-1] == [b"SLOTS 0"]
    life.give(b"2/1/b")
    assert life.said(HEARTBEAT)[-1] == [b"RELEASE 2/1/b"] and list(life.dialog.holding) == [token]
    life.come_back()
    life.told_pace("SLOTS", "RELEASE")
    assert life.said(HEARTBEAT)[-1] == [b"SLOTS 0"]


def test_a_broker_that_does_not_know_them_is_not_told_slots_and_release() -> None:
    life = Life()
    life.register()
    life.give()
    said = len(life.said(HEARTBEAT))
    life.stop()
    life.give(b"2/1/b")
    assert len(life.said(HEARTBEAT)) == said and b"2/1/b" not in life.dialog.holding


def test_what_still_runs_when_the_time_to_leave_is_over_is_given_back() -> None:
    life = Life()
    life.register()
    token = life.give()
    life.dialog.stop(life.now, 3.0)
    life.take()
    life.pass_time(2.9)
    assert life.dialog.state is State.REGISTERED
    life.hear(HEARTBEAT, b"CANCEL " + token)
    assert life.did[-1] == CancelJob(token), "a cancel still works"
    life.pass_time(0.2)
    assert life.dialog.state is State.STOPPED and life.said(DISCONNECT) == [[]]
    assert life.did[-1] == Stopped(0, (token,)) and life.said(FINAL) == []
    assert life.said(HEARTBEAT)[-1] == [b"HOLDS " + token], "so the broker knows that it has begun"


def test_a_later_stop_may_leave_less_time_and_never_more() -> None:
    life = Life()
    life.register()
    life.give()
    life.dialog.stop(life.now, 30.0)
    life.dialog.stop(life.now, 60.0)
    life.pass_time(1.0)
    life.dialog.stop(life.now, 0)
    life.pass_time(0.0)
    assert life.dialog.state is State.STOPPED


def test_who_is_told_to_give_back_now_waits_for_no_confirmation_either() -> None:
    life = Life()
    life.register()
    life.returned(life.give())
    life.dialog.stop(life.now, 30.0)
    life.pass_time(1.0)
    assert life.dialog.state is State.REGISTERED
    life.dialog.stop(life.now, 0)
    life.pass_time(0.0)
    assert life.dialog.state is State.STOPPED and life.did[-1] == Stopped(1)


def test_a_drained_worker_takes_no_more_and_finishes_however_long_that_takes() -> None:
    life = Life()
    life.register()
    life.told_pace("SLOTS", "RELEASE", interval=5.0)
    token = life.give()
    life.hear(HEARTBEAT, b"DRAIN")
    for _ in range(100):
        life.pass_time(5.0)
        life.hear()
    assert list(life.dialog.holding) == [token]
    life.returned(token)
    life.hear(HEARTBEAT, b"DONE " + token)
    assert life.dialog.state is State.STOPPED and life.did[-1] == Stopped(0)


# ---------------------------------------------------------------- a job that hangs


def hanging() -> tuple[Life, bytes]:
    life = Life()
    life.register()
    life.told_pace("SLOTS", cancel_grace=2.0)
    token = life.give()
    life.hear(HEARTBEAT, b"CANCEL " + token)
    return life, token


def test_a_job_hangs_when_it_does_not_return_for_twice_the_grace_after_its_cancel() -> None:
    life, token = hanging()
    life.pass_time(3.9)
    life.hear(HEARTBEAT, b"CANCEL " + token)  # a second one gives no more time
    assert Hangs(token) not in life.did
    life.pass_time(0.1)
    life.pass_time(1.0)
    assert life.did.count(Hangs(token)) == 1 and token in life.dialog.holding


def test_a_job_that_returns_in_time_does_not_hang() -> None:
    life, token = hanging()
    life.returned(token)
    life.pass_time(5.0)
    assert Hangs(token) not in life.did


def test_who_abandons_what_hangs_leaves_and_says_what_it_gives_back() -> None:
    life, token = hanging()
    life.pass_time(4.0)
    life.dialog.abandon(life.now)
    life.take()
    assert life.dialog.state is State.STOPPED and life.did[-1] == Stopped(0, (token,))
    assert life.said(DISCONNECT) == [[]]


def test_abandoning_waits_for_the_results_there_are() -> None:
    life = Life()
    life.register()
    life.told_pace(cancel_grace=2.0)
    life.returned(life.give(b"1/1/a"))
    token = life.give(b"2/1/b")
    life.hear(HEARTBEAT, b"CANCEL " + token)
    life.pass_time(4.0)
    life.dialog.abandon(life.now)
    life.take()
    assert life.dialog.state is State.REGISTERED
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    assert life.did[-1] == Stopped(0, (token,))


# ---------------------------------------------------------------- several jobs, and jobs ahead


def test_it_takes_as_many_as_it_has_told_and_comes_back_when_it_is_given_more() -> None:
    life = Life(slots=2, prefetch=1)
    life.register()
    assert (life.ready()["slots"], life.ready()["prefetch"]) == (2, 1)
    for token in (b"1/1/a", b"2/1/b", b"3/1/c"):
        life.give(token)
    assert sum(isinstance(one, StartJob) for one in life.did) == 3
    assert life.dialog.state is State.REGISTERED
    life.give(b"4/1/d")
    assert life.dialog.state is State.AWAY
    life.pass_time(0.1)
    assert life.ready()["holding"] == ["1/1/a", "2/1/b", "3/1/c"], "the fourth never arrived"


def lies(life: Life) -> list[tuple[bytes, ...]]:
    return [one.tokens for one in life.did if isinstance(one, Lies)]


def test_what_came_ahead_is_asked_for_once_it_has_lain_for_so_long_and_then_no_more() -> None:
    life = Life(prefetch=3, lies_s=0.02)
    life.register()
    life.give(b"1/1/a")
    life.give(b"2/1/b")
    life.pass_time(0.01)
    life.give(b"3/1/c")
    life.pass_time(0.009)
    assert lies(life) == []
    life.pass_time(0.001)
    assert lies(life) == [(b"2/1/b",)]
    life.pass_time(0.01)
    assert lies(life) == [(b"2/1/b",), (b"3/1/c",)]
    life.pass_time(1.0)
    assert len(lies(life)) == 2, "who has begun it meanwhile is not asked again"


def test_what_has_moved_up_does_not_lie() -> None:
    life = Life(slots=2, prefetch=2)
    life.register()
    for token in (b"1/1/a", b"2/1/b", b"3/1/c"):
        life.give(token)
    life.returned(b"2/1/b")
    life.pass_time(1.0)
    assert lies(life) == []


def test_what_is_released_is_as_if_it_had_not_come() -> None:
    life = Life(prefetch=2)
    life.register()
    life.told_pace("RELEASE")
    life.give(b"1/1/a")
    life.give(b"2/1/b")
    life.dialog.release(life.now, b"2/1/b")
    life.dialog.release(life.now, b"2/1/b")
    life.take()
    assert [frames for frames in life.said(HEARTBEAT) if frames] == [[b"RELEASE 2/1/b"]]
    assert list(life.dialog.holding) == [b"1/1/a"]
    life.returned(b"2/1/b")
    assert not life.said(FINAL), "it is not in hand any more"


def test_at_a_stop_all_that_came_ahead_is_asked_for_and_it_leaves_when_the_rest_is_done() -> None:
    life = Life(prefetch=3, lies_s=60.0)
    life.register()
    life.told_pace("RELEASE", "SLOTS")
    for token in (b"1/1/a", b"2/1/b", b"3/1/c"):
        life.give(token)
    life.stop()
    assert lies(life) == [(b"2/1/b", b"3/1/c")]
    for token in (b"2/1/b", b"3/1/c"):
        life.dialog.release(life.now, token)
        life.take()
    assert life.dialog.state is State.REGISTERED
    life.returned(b"1/1/a")
    life.hear(HEARTBEAT, b"DONE 1/1/a")
    assert life.dialog.state is State.STOPPED and life.did[-1] == Stopped(0)


def test_who_only_has_to_release_leaves_with_the_last_of_it() -> None:
    life = Life(prefetch=1)
    life.register()
    life.give(b"1/1/a")
    life.stop()
    life.dialog.release(life.now, b"1/1/a")
    life.take()
    assert life.dialog.state is State.STOPPED


def test_results_of_several_come_in_any_order() -> None:
    life = Life(slots=3)
    life.register()
    for token in (b"1/1/a", b"2/1/b", b"3/1/c"):
        life.give(token)
    for token in (b"3/1/c", b"1/1/a", b"2/1/b"):
        life.returned(token)
    assert [frames[0] for frames in life.said(FINAL)] == [b"3/1/c", b"1/1/a", b"2/1/b"]


def test_who_was_sent_away_for_a_cancelled_job_brings_the_others_results() -> None:
    life = Life(slots=2)
    life.register()
    life.give(b"1/1/a")
    life.give(b"2/1/b")
    life.hear(HEARTBEAT, b"CANCEL 1/1/a")
    life.hear(DISCONNECT)
    assert life.dialog.state is State.DISMISSED
    life.returned(b"2/1/b")
    assert life.dialog.state is State.DISMISSED and list(life.dialog.unconfirmed) == [b"2/1/b"]
    life.returned(b"1/1/a")
    assert life.dialog.state is State.GREETING, "it comes back when the cancelled one has returned"
    assert life.ready()["finished"] == ["2/1/b"] and life.ready()["holding"] == []


def test_the_jobs_that_hang_are_given_up_and_the_others_finished() -> None:
    life = Life(slots=2, cancel_grace_s=1.0)
    life.register()
    life.give(b"1/1/a")
    life.give(b"2/1/b")
    life.hear(HEARTBEAT, b"CANCEL 1/1/a")
    life.pass_time(2.0)
    assert life.did[-1] == Hangs(b"1/1/a")
    life.dialog.abandon(life.now)
    life.take()
    assert life.dialog.state is State.REGISTERED
    life.returned(b"2/1/b")
    life.hear(HEARTBEAT, b"DONE 2/1/b")
    assert life.did[-1] == Stopped(0, (b"1/1/a",))
