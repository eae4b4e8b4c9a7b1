"""State machine and gate as one: what is handed out when."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws import cron, ids
from zmws.core.limits import Limits
from zmws.core.node import Node, Output
from zmws.core.options import service_options
from zmws.core.reads import ReadUnfinished
from zmws.core.rows import Rows, Unfinished
from zmws.core.writes import InsertJob, Verdict
from zmws.wire import mdp

C = ("client", b"C", "")


def a_node(durability: str = "disk", **limits: Any) -> Node:
    node = Node(Limits(**limits), {"E": service_options({})}, ids.suppliers(cron), durability)
    node.set_time(100.0, 1_000.0, 1_000.0)
    node.start()
    return node


def recovered(durability: str = "disk", **limits: Any) -> Node:
    node = a_node(durability, **limits)
    out = take(node)
    assert out.commit is not None
    (read,) = out.commit.reads
    assert isinstance(read, ReadUnfinished) and not node.recovered
    node.committed(out.commit.seq, [])
    node.loaded(read, Rows(unfinished=Unfinished()))
    assert node.recovered
    node.broker.turn.news_wanted = False
    out = take(node)  # a mark of the start, and how long jobs take usually
    assert out.commit is not None and len(out.commit.writes) == len(out.commit.reads) == 1
    node.committed(out.commit.seq, [])
    node.loaded(out.commit.reads[0], Rows())
    assert node.idle
    return node


def take(node: Node) -> Output:
    out = node.take()
    assert out is not None
    return out


def commit_insert(node: Node, out: Output) -> None:
    """The commit that was handed out inserts one job, and is on disk now."""
    assert out.commit is not None
    insert = out.commit.writes[0]
    assert isinstance(insert, InsertJob)
    node.committed(out.commit.seq, [Verdict("new", insert.row["id"])])


def submit(node: Node, *frames: bytes, name: bytes = b"E") -> None:
    node.receive(C, mdp.decode("client", [mdp.MDPC02, b"\x01", name, *frames]))


def test_nothing_is_taken_where_nothing_has_come_out() -> None:
    node = recovered()
    assert node.take() is None and node.idle and node.held == 0 and node.uncommitted_bytes == 0


def test_a_batch_is_handed_out_once_and_what_waited_for_it_leaves_with_its_commit() -> None:
    node = recovered()
    submit(node)
    out = take(node)
    assert out.commit is not None and out.sends == [] and node.take() is None
    (insert,) = out.commit.writes
    assert isinstance(insert, InsertJob) and not node.idle and node.uncommitted_bytes == insert.size
    node.committed(out.commit.seq, [Verdict("new", insert.row["id"])])
    acknowledged = take(node)
    assert acknowledged.commit is None and len(acknowledged.sends) == 1
    assert node.idle and node.uncommitted_bytes == 0 and node.take() is None


def test_a_send_that_waits_for_a_commit_is_counted() -> None:
    node = recovered()
    submit(node, b'{"service": "E"}', name=b"zmws.pause")
    take(node)
    assert node.held == 1


def test_lists_go_beside_the_writes_and_lines_and_cuts_are_taken_once() -> None:
    node = recovered()
    submit(node, b"{}", name=b"zmws.jobs")
    out = take(node)
    assert out.commit is None and len(out.reads) == 1 and node.take() is None
    turn = node.broker.turn
    turn.note("info", "a line")
    out = take(node)
    assert (out.log, out.cuts, out.reads) == ([("info", "a line")], [], []) and node.take() is None
    turn.cut(C)
    out = take(node)
    assert (out.cuts, out.log) == ([C], []) and node.take() is None


@pytest.mark.parametrize(
    "durability, patience",
    [
        ("disk", {"commit_patience_s": 0.25, "memory_commit_patience_s": 0.75}),
        ("memory", {"commit_patience_s": 0.75, "memory_commit_patience_s": 0.25}),
    ],
)
def test_the_deadline_is_the_first_of_the_reminders_and_of_what_gathers(
    durability: str, patience: dict[str, float]
) -> None:
    node = recovered(durability, probe_interval_s=3.0, **patience)
    assert node.next_deadline() == 101.0, "the prune of each second"
    node.receive(("worker", b"W", ""), mdp.decode("worker", [mdp.MDPW02, b"\x01", b"E"]))
    submit(node)
    out = take(node)
    commit_insert(node, out)
    out = take(node)
    assert out.commit is None, "nobody waits for the write of its start"
    assert node.next_deadline() == 100.25
    node.set_time(100.2, 1_000.2, 1_000.2)
    assert node.take() is None
    node.set_time(100.25, 1_000.25, 1_000.25)
    out = take(node)
    assert out.commit is not None and len(out.commit.writes) == 1
    assert node.next_deadline() == 101.0


def test_at_the_end_nothing_gathers_any_more() -> None:
    node = recovered(commit_patience_s=5.0)
    node.receive(("worker", b"W", ""), mdp.decode("worker", [mdp.MDPW02, b"\x01", b"E"]))
    submit(node)
    out = take(node)
    commit_insert(node, out)
    assert take(node).commit is None and not node.idle
    node.stop()
    assert take(node).commit is not None


def test_what_was_said_before_a_commit_leaves_before_what_waited_for_it() -> None:
    scene = Scene()
    scene.hold = True
    scene.ask("zmws.pause", service="E")
    node, batch = scene.node, scene._batch
    assert batch is not None
    hello = mdp.decode("client", [mdp.MDPC02, b"\x01", b"zmws.hello"])
    node.receive(("client", b"H", ""), hello)
    node.committed(batch.seq, scene.store.commit(batch.writes))
    out = node.take()
    assert out is not None and [send.peer[1] for send in out.sends] == [b"H", b"C"]
