"""Which topics there are, and when an address has too many."""

from __future__ import annotations

from zmws.server.subscriptions import Subscriptions


def test_an_address_has_so_many_bytes_of_topics_and_others_are_not_held_up_by_that() -> None:
    held = Subscriptions(bytes_max=100)
    assert held.begun(b"x" * 40, "a") and not held.begun(b"y" * 40, "a")
    assert held.begun(b"z" * 40, "b") and len(held) == 3


def test_what_ended_is_not_counted_any_more_whoever_says_so() -> None:
    held = Subscriptions(bytes_max=100)
    for n in range(1_000):
        assert held.begun(b"%040d" % n, "a") and held.ended(b"%040d" % n)
    assert len(held) == 0 and not held._bytes


def test_a_topic_that_there_is_counts_once_and_the_end_of_none_is_told() -> None:
    held = Subscriptions(bytes_max=100)
    assert all(held.begun(b"x" * 40, "a") for _ in range(5))
    assert held.ended(b"x" * 40) and not held.ended(b"x" * 40)
