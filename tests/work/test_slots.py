"""zmws.work.slots: which kind runs what, how much of it at once, and what READY tells of that."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.work.kinds import Isolated, Waits
from zmws import WorkerBase
from zmws.work.children import Children
from zmws.work.coroutines import Coroutines
from zmws.work.declared import PREFETCH, declared
from zmws.work.inline import Inline
from zmws.work.slots import Slots
from zmws.work.threads import Threads


class Plain(WorkerBase):
    """One at a time."""

    service_name = "PLAIN"

    def work(self, job_id: str, params: Any) -> None: ...


class Other(Plain):
    """Another one."""

    service_name = "OTHER"
    prefetch = 3


class Several(Plain):
    """Three at a time."""

    service_name = "SEVERAL"
    concurrency = 3


def slots(*classes: type[WorkerBase]) -> Slots:
    made = [(worker, declared(worker)) for worker in (cls() for cls in classes)]
    return Slots({found.service: (worker, found) for worker, found in made}, (), lambda: None)


@pytest.mark.parametrize(
    ("cls", "kind", "count", "prefetch"),
    [
        (Plain, Inline, 1, PREFETCH),
        (Other, Inline, 1, 3),
        (Several, Threads, 3, 0),
        (Waits, Coroutines, 10, 0),
        (Isolated, Children, 1, 0),
    ],
)
def test_each_kind_has_its_slots(cls: Any, kind: type[Any], count: int, prefetch: int) -> None:
    made = slots(cls)
    assert isinstance(made.of(cls.service_name), kind)
    assert (made.count, made.prefetch) == (count, prefetch)
    assert made.told(declared(cls())) == {"slots": count, "prefetch": prefetch}


def test_inline_classes_share_the_main_thread() -> None:
    made = slots(Plain, Other)
    assert made.of("PLAIN") is made.of("OTHER")
    assert (made.count, made.prefetch, made.any) == (1, 3, True)


def test_beside_another_kind_an_inline_class_has_a_thread() -> None:
    made = slots(Plain, Several)
    assert isinstance(made.of("PLAIN"), Threads)
    assert (made.count, made.prefetch, made.any) == (4, 0, False)
    assert made.told(declared(Plain())) == {"slots": 1, "prefetch": 0}


def test_a_slot_is_taken_until_it_is_given_back() -> None:
    made = slots(Plain, Several)
    assert made.free("PLAIN") and not made.busy("PLAIN")
    made.take("PLAIN")
    assert not made.free("PLAIN") and made.busy("PLAIN") and made.free("SEVERAL")
    made.give_back("PLAIN")
    assert made.free("PLAIN")
    for _ in range(3):
        assert made.free("SEVERAL")
        made.take("SEVERAL")
    assert not made.free("SEVERAL")
    assert made.free("NONE"), "a job that is not served here can but fail"


def test_what_a_kind_cannot_keep_is_told() -> None:
    told = "\n".join(slots(Several, Waits, Isolated).limits_told())
    assert "SEVERAL: 3 jobs at once, in threads, which cannot be ended" in told
    assert "WAITS: 10 jobs at once, in one event loop" in told
    assert "ISOLATED" not in told
    (told,) = slots(Plain).limits_told()
    assert told.startswith(
        "PLAIN: one job at a time; one that is cancelled or runs past its ttr cannot be ended"
    )
    (told, *_) = slots(Several, Other).limits_told()
    assert "SEVERAL" in told


def test_the_memory_of_children_is_told_with_the_processes_own() -> None:
    worker = Isolated()
    made = Slots({"ISOLATED": (worker, declared(worker))}, (), lambda: None)
    own = made.memory_bytes()
    made.set_up(worker)
    try:
        executor = made.of("ISOLATED")
        assert isinstance(executor, Children) and os.getpid() not in executor.pids
        both = made.memory_bytes()
        assert own is not None and both is not None and both > own + 1024 * 1024
    finally:
        made.close(5.0)
