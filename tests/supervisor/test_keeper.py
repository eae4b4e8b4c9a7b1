"""The keeper alone: which copies start, wait, are tried again, stop, and in which order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from zmws.supervisor.keeper import (
    DRAINED,
    RECYCLED,
    Copy,
    End,
    Event,
    Keeper,
    Rules,
    Signal,
    Start,
    State,
    Step,
)

RULES = Rules(
    ready_timeout_s=60,
    start_retries=3,
    give_up=False,
    restart_delay_max_s=10,
    restart_window_s=60,
    stop_timeout_s=30,
    kill_after_s=10,
)


class House:
    """A keeper over processes that do what they are told."""

    def __init__(self, *workers: str, rules: Rules = RULES, jitter: float = 0.0) -> None:
        self.keeper = Keeper(lambda: jitter)
        self.now = 100.0
        self.keeper.add("broker", True, rules)
        for name in workers:
            self.keeper.add(name, False, rules)
        self.keeper.broker_answers(True, self.now)
        self.started: list[str] = []
        self.signals: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self._numbers = iter(range(1000, 9000))

    def act(self) -> None:
        while outputs := self.keeper.take():
            for output in outputs:
                if isinstance(output, Start):
                    self.started.append(output.name)
                    self.keeper.started(output.name, next(self._numbers), self.now)
                elif isinstance(output, Signal):
                    self.signals.append((output.name, output.signal))
                else:
                    self.events.append((output.name, output.what))

    def copy(self, name: str) -> Copy:
        return self.keeper.copies[name]

    def want(self, *names: str) -> None:
        self.keeper.want(names or list(self.keeper.copies), self.now)
        self.act()

    def stop(self, *names: str, wait_s: float | None = None) -> None:
        self.keeper.stop(names or list(self.keeper.copies), self.now, wait_s)
        self.act()

    def ready(self, *names: str) -> None:
        for name in names:
            self.keeper.ready(name, self.now)
        self.act()

    def up(self) -> None:
        self.want()
        self.ready("broker")
        self.ready(*[name for name in self.keeper.copies if name != "broker"])
        assert all(one.state is State.RUNNING for one in self.keeper.copies.values())
        self.started.clear()
        self.events.clear()

    def end(self, name: str, code: int | None = -9) -> None:
        self.keeper.ended(name, End(code, self.now))
        self.act()

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.keeper.tick(self.now)
        self.act()

    def until_started(self, name: str, most_s: float = 60.0) -> float:
        """How long it takes, by the keeper's own deadlines, until it is started."""
        before, count = self.now, self.started.count(name)
        while self.started.count(name) == count:
            due = self.keeper.next_deadline()
            assert due is not None and due - before <= most_s, f"{name} is not started"
            self.later(max(0.0, due - self.now))
        return self.now - before


def test_workers_start_when_the_broker_is_ready_and_stop_before_it() -> None:
    house = House("a", "b")
    house.want()
    assert house.started == ["broker"] and house.copy("a").state is State.WAITING
    house.ready("broker")
    assert house.started == ["broker", "a", "b"]
    house.ready("a", "b")
    house.stop()
    assert house.signals == [("a", "SIGTERM"), ("b", "SIGTERM")]
    house.end("a", 0)
    assert len(house.signals) == 2
    house.end("b", 0)
    assert house.signals[2:] == [("broker", "SIGTERM")]
    house.end("broker", 0)
    assert all(one.state is State.STOPPED for one in house.keeper.copies.values())


def test_the_broker_alone_stops_without_waiting_for_workers_that_go_on() -> None:
    house = House("a")
    house.up()
    house.stop("broker")
    assert house.signals == [("broker", "SIGTERM")]


def test_a_broker_that_is_not_ours_is_not_waited_for() -> None:
    house = House("a")
    house.want("a")
    assert house.started == ["a"]


def test_who_dies_after_it_was_ready_starts_at_once_then_later_and_later_up_to_the_longest_delay() -> None:
    house = House("a")
    house.up()
    delays = []
    for _ in range(11):
        house.end("a")
        delays.append(0.0 if house.started else house.until_started("a"))
        house.started.clear()
        house.ready("a")
    assert delays == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])
    assert house.copy("a").restarts_since(house.now - 600) == 11
    house.later(60)
    house.end("a")
    assert house.started == ["a"], "it has run for long enough: again at once"


def test_a_delay_is_shorter_by_chance_and_never_longer() -> None:
    house = House("a", jitter=1.0)
    house.up()
    for _ in range(9):
        house.end("a")
        house.until_started("a") if not house.started else None
        house.started.clear()
        house.ready("a")
    house.end("a")
    assert house.until_started("a") == pytest.approx(8.0)


def test_who_leaves_to_be_started_anew_is_and_nothing_counts() -> None:
    house = House("a")
    house.up()
    for _ in range(20):
        house.end("a", RECYCLED)
        assert house.started == ["a"]
        house.started.clear()
        house.ready("a")
    assert house.copy("a").restarts == [] and ("a", "died") not in house.events


@pytest.mark.parametrize("ready", [True, False])
def test_who_was_sent_away_stays_away_until_it_is_wanted(ready: bool) -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    if ready:
        house.ready("a")
    house.end("a", DRAINED)
    assert house.copy("a").state is State.STOPPED and not house.copy("a").wanted
    house.later(100)
    assert house.started.count("a") == 1
    house.want("a")
    assert house.started.count("a") == 2


def test_who_never_gets_ready_is_fatal_is_told_once_more_each_time_and_tried_as_seldom_as_may_be() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    waits = []
    for _ in range(2):
        house.end("a", 2)
        assert not house.copy("a").is_fatal
        waits.append(house.until_started("a"))
    house.end("a", 2)
    assert house.copy("a").is_fatal and house.events[-1] == ("a", "fatal")
    assert waits == pytest.approx([0.1, 0.2]) and house.until_started("a") == pytest.approx(10)
    house.end("a", 2)
    assert house.until_started("a") == pytest.approx(10)
    house.ready("a")
    assert not house.copy("a").is_fatal and house.copy("a").state is State.RUNNING


def test_who_gives_up_is_not_tried_again_before_somebody_asks_for_it() -> None:
    house = House("a", rules=replace(RULES, give_up=True, start_retries=1))
    house.want()
    house.ready("broker")
    house.end("a", 2)
    assert house.copy("a").is_fatal and house.copy("a").due_at is None
    house.later(1_000)
    assert house.started.count("a") == 1
    house.want("a")
    assert house.started.count("a") == 2


def test_who_is_not_ready_in_time_is_killed_and_that_counts() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    house.later(59)
    assert house.signals == []
    house.later(1)
    assert house.signals == [("a", "SIGKILL")] and ("a", "killing") in house.events
    house.ready("a")  # too late
    assert house.copy("a").state is State.STARTING
    house.end("a")
    assert house.copy("a").deaths_before_ready == 1
    assert house.copy("a").last_end is not None and "not ready within 60 s" in house.copy("a").last_end.why


def test_while_the_broker_does_not_answer_no_worker_is_late_but_the_broker_is() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    house.keeper.broker_answers(False, house.now)
    house.later(500)
    assert house.signals == []
    house.keeper.broker_answers(True, house.now)
    house.later(59)
    assert house.signals == []
    house.later(1)
    assert house.signals == [("a", "SIGKILL")]
    other = House()
    other.want()
    other.keeper.broker_answers(False, other.now)
    other.later(60)
    assert other.signals == [("broker", "SIGKILL")]


def test_a_stop_tells_then_asks_for_what_is_in_hand_then_kills() -> None:
    house = House("a", rules=RULES)
    house.up()
    house.stop("a")
    house.later(29.9)
    assert house.signals == [("a", "SIGTERM")]
    house.later(0.1)
    assert house.signals[1:] == [("a", "SIGINT")]
    house.later(9.9)
    assert len(house.signals) == 2
    house.later(0.1)
    assert house.signals[2:] == [("a", "SIGKILL")] and house.copy("a").step is Step.KILLED
    house.later(100)
    house.end("a")
    assert len(house.signals) == 3 and house.copy("a").state is State.STOPPED


def test_a_broker_has_nothing_to_give_back_and_a_wait_of_ones_own_counts() -> None:
    house = House("a")
    house.up()
    house.stop(wait_s=5.0)
    house.later(5)
    assert house.signals == [("a", "SIGTERM"), ("a", "SIGINT")]
    house.end("a", 130)
    assert house.signals[2:] == [("broker", "SIGTERM")]
    house.later(5)
    assert house.signals[3:] == [("broker", "SIGKILL")]


def test_who_is_in_a_hurry_is_asked_at_once() -> None:
    house = House("a")
    house.up()
    house.stop()
    house.keeper.hurry(house.now)
    house.act()
    assert house.signals == [("a", "SIGTERM"), ("a", "SIGINT")]


def test_who_is_wanted_again_while_it_stops_starts_when_it_has() -> None:
    house = House("a")
    house.up()
    house.stop("a")
    house.want("a")
    assert house.started == []
    house.end("a", 0)
    assert house.started == ["a"]


def test_who_has_no_process_stops_at_once() -> None:
    house = House("a")
    house.want()
    house.stop("a")  # it waits for the broker
    assert house.copy("a").state is State.STOPPED
    house.ready("broker")
    assert house.started == ["broker"]
    house.want("a")
    house.end("a", 2)
    assert house.copy("a").state is State.BACKOFF
    house.stop("a")
    house.later(100)
    assert house.copy("a").state is State.STOPPED and house.started.count("a") == 1


def test_who_is_killed_for_a_reason_starts_again_and_the_reason_is_kept() -> None:
    house = House("a")
    house.up()
    house.keeper.kill("a", "too much memory", house.now)
    house.keeper.kill("a", "too much memory", house.now)
    house.act()
    assert house.signals == [("a", "SIGKILL")]
    house.end("a")
    assert house.started == ["a"] and house.copy("a").restarts
    assert house.copy("a").last_end == End(-9, house.now, why="too much memory")


def test_who_was_taken_over_is_not_started_and_waited_for_until_the_broker_knows_it() -> None:
    house = House("a")
    house.keeper.adopt("broker", 77, house.now)
    house.keeper.adopt("a", 78, house.now)
    house.want()
    assert house.started == [] and house.copy("a").adopted
    house.ready("broker", "a")
    house.end("a", None)
    assert house.started == ["a"] and not house.copy("a").adopted


def test_after_any_history_all_that_is_wanted_runs_or_will_be_tried() -> None:
    for seed in range(300):
        draw = random.Random(seed)
        house = House("a", "b", "c", rules=RULES)
        house.want()
        for _ in range(draw.randrange(120)):
            name = draw.choice(["broker", "a", "b", "c"])
            copy = house.copy(name)
            match draw.randrange(6):
                case 0 if copy.lives:
                    house.end(name, draw.choice([0, 1, -9, RECYCLED, None]))
                case 1 if copy.lives:
                    house.ready(name)
                case 2:
                    house.want(name)
                case 3:
                    house.stop(name)
                case 4:
                    house.keeper.broker_answers(draw.random() < 0.7, house.now)
                case _:
                    house.later(draw.choice([0.05, 1.0, 30.0]))
            for one in house.keeper.copies.values():
                assert one.lives == (one.state in (State.STARTING, State.RUNNING, State.STOPPING)), seed
                if one.state is State.BACKOFF:
                    assert one.due_at is not None and one.wanted, seed
                if one.state is State.WAITING:
                    broker = house.copy("broker")
                    assert not one.is_broker and broker.wanted and broker.state is not State.RUNNING, seed
                if one.state in (State.STARTING, State.RUNNING):
                    assert one.wanted, seed
        # Left alone, and with processes that come up, all that is wanted is up in the end.
        house.keeper.broker_answers(True, house.now)
        for _ in range(200):
            for one in list(house.keeper.copies.values()):
                if one.state is State.STOPPING or one.killing:
                    house.end(one.name, 0)
                elif one.state is State.STARTING:
                    house.ready(one.name)
            house.later(1.0)
        for one in house.keeper.copies.values():
            assert one.state is (State.RUNNING if one.wanted else State.STOPPED), (seed, one)


def test_events_say_when_it_is_tried_again() -> None:
    keeper = Keeper(lambda: 0.0)
    keeper.add("broker", True, RULES)
    keeper.want(["broker"], 0.0)
    keeper.take()
    keeper.started("broker", 1, 0.0)
    keeper.take()
    keeper.ended("broker", End(1, 0.5))
    (event,) = keeper.take()
    assert event == Event("broker", "died", End(1, 0.5), in_s=0.1)


def test_who_asks_again_may_be_in_more_of_a_hurry_and_never_in_less() -> None:
    house = House("a")
    house.up()
    house.stop("a", wait_s=1e9)
    house.later(5)
    house.stop("a", wait_s=2.0)
    house.later(1.9)
    assert house.signals == [("a", "SIGTERM")]
    house.stop("a", wait_s=1e9)
    house.later(0.1)
    assert house.signals[1:] == [("a", "SIGINT")]


def test_while_it_stood_still_itself_nobody_was_late() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    house.now += 100
    house.keeper.stood_still(100)
    house.later(0)
    assert house.signals == []
    house.later(60)
    assert house.signals == [("a", "SIGKILL")]


def test_who_was_ready_though_nobody_has_seen_it_did_not_fail_to_come_up() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    for code in (RECYCLED, 7, RECYCLED, 7):
        house.keeper.ended("a", End(code, house.now, was_ready=True))
        house.act()
        if house.copy("a").state is State.BACKOFF:
            house.until_started("a")
    assert house.copy("a").deaths_before_ready == 0 and house.copy("a").restarts_since(0) == 2


@pytest.mark.parametrize("code", [RECYCLED, DRAINED])
def test_a_code_that_is_not_meant_is_a_death(code: int) -> None:
    house = House("a")
    house.up()
    house.keeper.ended("a", End(code, house.now, meant=False))
    house.act()
    assert house.events == [("a", "died"), ("a", "started")] and house.copy("a").restarts_since(0) == 1


def test_who_waits_for_its_next_try_is_tried_at_once_as_if_for_the_first_time() -> None:
    house = House("a", "b")
    house.want()
    house.ready("broker", "b")
    house.end("a", 2)
    house.end("a", 2) if house.copy("a").lives else house.until_started("a")
    while not house.copy("a").is_fatal:
        if house.copy("a").lives:
            house.end("a", 2)
        else:
            house.until_started("a")
    tries = house.started.count("a")
    house.keeper.retry(["a", "b"], house.now)
    house.act()
    assert house.started.count("a") == tries + 1 and house.copy("a").deaths_before_ready == 0
    assert house.started.count("b") == 1 and house.copy("b").state is State.RUNNING, "it is no matter of b"
    house.end("a", 2)
    assert house.until_started("a") == pytest.approx(0.1), "it begins anew"


def test_one_that_is_asked_for_while_it_is_tried_again_has_all_its_tries() -> None:
    house = House("a")
    house.want()
    house.ready("broker")
    for _ in range(3):
        house.end("a", 2)
        house.until_started("a")
    assert house.copy("a").is_fatal and house.copy("a").state is State.STARTING
    house.want("a")
    assert house.copy("a").deaths_before_ready == 0 and house.started.count("a") == 4
