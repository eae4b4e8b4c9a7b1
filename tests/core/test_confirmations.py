"""Which results a worker may forget."""

from __future__ import annotations

from tests.stage import Scene
from zmws.core.confirmations import TAKEN_TOKENS_MAX, Confirmations
from zmws.core.writes import DeleteJob


def test_the_tokens_taken_last_are_remembered_with_what_became_of_them() -> None:
    assert TAKEN_TOKENS_MAX == 10_000
    some = Confirmations()
    for n in range(TAKEN_TOKENS_MAX):
        some.remember(b"%d" % n, n % 2 == 0)
    assert some.was_taken(b"0") and some.completed(b"0")
    some.remember(b"last", False)
    assert not some.was_taken(b"0") and not some.completed(b"0")
    assert some.was_taken(b"1") and not some.completed(b"1") and some.completed(b"2")
    assert some.was_taken(b"last") and not some.completed(b"last") and not some.completed(b"never")


def test_done_is_for_what_is_on_disk_up_to_that_number() -> None:
    some, scene = Confirmations(), Scene()
    scene.ready("A")
    scene.ready("B")
    one, other = scene.core.roster.sessions.by_peer.values()
    for n in (1, 2, 3):
        some.await_write(one, b"t%d" % n, DeleteJob("j", seq=n))
    assert some.on_disk(0) == []
    assert some.on_disk(2) == [(one, b"t1"), (one, b"t2")]
    assert not some.reassigned(other, b"t1") and some.reassigned(other, b"t3")
    assert some.on_disk(2) == [] and some.on_disk(3) == [(other, b"t3")] and some.on_disk(9) == []
