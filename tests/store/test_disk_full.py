"""The store on disk: no room."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.contract import (
    batch_of,
    close_batch,
    delete,
    finish,
    finish_member,
    follow_up,
    has,
    insert,
    job,
    open_batch,
    said,
    unfinished,
    unit,
    update,
)
from tests.store.disk import MIB, opened
from zmws.core.writes import (
    DISK_FULL,
    EXISTING,
    FULL,
    NEW,
    UNIQUE_CONFLICT,
    Counted,
    InsertJob,
    Verdict,
)
from zmws.errors import StoreError
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.disk import SqliteStore


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk of its own takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(store: SqliteStore) -> list[str]:
    """New jobs until they are refused for good; those that were taken."""
    taken: list[str] = []
    refused = 0
    while refused < 20:
        batch = [insert(f"j{len(taken) + n}", body=b"x" * 20_000) for n in range(10)]
        verdicts = store.commit(batch)
        assert {verdict.verdict for verdict in verdicts} in ({DISK_FULL}, {NEW})
        if verdicts[0].verdict == DISK_FULL:
            refused += 1
        else:
            refused = 0
            taken += [verdict.job_id for verdict in verdicts]
    return taken


def use_up(ballast: Path) -> None:
    """Take all the room there is."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_refuses_new_jobs_and_lets_the_others_end(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=2 * MIB)
    store.commit([insert("key", unique="u")])
    taken = fill(store)
    assert store.refuses_inserts and len(taken) > 50
    assert "new jobs are refused" in caplog.text
    # Whoever repeats himself is still answered as before, and what runs ends: into the reserve.
    verdicts = store.commit(
        [insert("j0"), insert("x", unique="u"), insert("y", only_if_known=True), insert("z")]
    )
    assert [verdict.verdict for verdict in verdicts] == [EXISTING, UNIQUE_CONFLICT, FULL, DISK_FULL]
    for job_id in taken:
        store.commit([update(job_id, state="running"), finish(job_id, result=(b"r" * 500,))])
    assert unfinished(store).ended == {("S", "complete"): len(taken)}
    assert not (small_disk / "zmws.db.reserve").exists()
    store.close()
    assert upkeep.check(small_disk / "zmws.db") == []


def test_a_unit_with_a_new_job_waits_for_room_as_a_whole(path: Path) -> None:
    store = opened(path)
    store.commit([insert(job_id) for job_id in "abc"])
    store.close()
    store = opened(path, free_bytes_min=1 << 60)
    verdicts = store.commit(
        [*unit(finish("a"), insert("d"), delete("a")), finish("b"), *unit(finish("c"), insert("b"))]
    )
    assert [(one.verdict, one.job_id, one.by_unit) for one in verdicts] == [
        (DISK_FULL, "d", False),
        (DISK_FULL, "d", True),
        (EXISTING, "b", False),
    ]
    assert unfinished(store).waiting == [("S", None, 1)]
    assert unfinished(store).ended == {("S", "complete"): 2}
    store.close()


def follows(job_id: str, body: bytes = b"body", **more: Any) -> InsertJob:
    write = insert(job_id, body, parent="p", **more)
    write.spare_id = f"{job_id}-spare"
    return write


def test_what_follows_from_an_end_is_not_refused_when_there_is_no_room(path: Path) -> None:
    store = opened(path)
    store.commit([insert("p"), insert("taken")])
    store.commit([open_batch("b", follow_up("AFTER")), insert("m", batch="b"), close_batch()])
    store.close()
    store = opened(path, free_bytes_min=1 << 60)
    assert store.refuses_inserts
    verdicts = store.commit(
        [
            insert("x"),
            *unit(finish("p"), follows("p:1"), follows("taken"), follows("p:2", batch="b")),
            *unit(finish_member("m"), insert("y")),
        ]
    )
    assert said(verdicts) == [
        (DISK_FULL, "x"),
        *((NEW, job_id) for job_id in ("p:1", "taken-spare", "p:2")),
        *[(DISK_FULL, "y")] * 2,
    ]
    assert (batch_of(store).total, batch_of(store).unfinished) == (2, 2)
    verdicts = store.commit([finish_member("m"), finish_member("p:2"), insert("z")])
    (*_, counted, refused) = verdicts
    assert isinstance(counted, Counted) and counted.concluded is not None
    assert job(store, "b:then")["concludes"]["complete"] == 2 and refused.verdict == DISK_FULL
    store.close()
    assert upkeep.check(path) == []


def test_what_follows_goes_into_the_reserve_and_then_waits_for_room(small_disk: Path) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB)
    store.commit([insert("p"), open_batch("b", follow_up("AFTER", b"x" * 1000)), insert("m", batch="b")])
    store.commit([close_batch()])
    ballast = small_disk / "ballast"
    use_up(ballast)
    assert said(store.commit([insert("x", body=b"x" * (2 * MIB))])) == [(DISK_FULL, "x")]
    verdicts = store.commit(unit(finish_member("m"), follows("m:1", b"y" * 1000)))
    assert [one.verdict for one in verdicts] == ["counted", NEW]
    assert has(store, "b:then") and has(store, "m:1")
    use_up(ballast)
    done: list[Verdict] = []

    def end() -> None:
        done.extend(store.commit(unit(finish("p"), follows("p:1", b"z" * 2 * MIB), follows("p:2"))))

    writer = threading.Thread(target=end)
    writer.start()
    writer.join(0.5)
    assert writer.is_alive() and done == []
    ballast.unlink()
    writer.join(10)
    assert not writer.is_alive() and said(done) == [(NEW, "p:1"), (NEW, "p:2")]
    store.close()
    assert upkeep.check(small_disk / "zmws.db") == []


def test_new_jobs_are_taken_again_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB, free_bytes_min=MIB)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (6 * MIB))
    verdicts = store.commit([insert("a")])
    assert said(verdicts) == [(DISK_FULL, "a")] and store.refuses_inserts
    # The early alarm leaves the reserve alone.
    assert (small_disk / "zmws.db.reserve").stat().st_size == MIB
    ballast.unlink()
    caplog.set_level(logging.INFO, "zmws.store")
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    assert not store.refuses_inserts and "new jobs are accepted" in caplog.text
    store.close()


def test_the_reserve_is_made_anew_when_there_is_room(small_disk: Path) -> None:
    reserve = small_disk / "zmws.db.reserve"
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (4 * MIB))
    fill(store)
    assert not reserve.exists()
    ballast.unlink()
    assert said(store.commit([insert("a")])) == [(NEW, "a")]
    assert reserve.stat().st_size == MIB
    store.close()


def test_a_commit_waits_when_not_even_the_reserve_helps(small_disk: Path) -> None:
    store = opened(small_disk / "zmws.db", reserve_bytes=4096)
    ballast = small_disk / "ballast"
    store.commit([insert("a"), insert("b")])
    use_up(ballast)
    done = threading.Event()

    def end() -> None:
        store.commit([finish("a", result=(b"r" * MIB,))])
        done.set()

    writer = threading.Thread(target=end)
    writer.start()
    assert not done.wait(0.5)
    ballast.unlink()
    assert done.wait(10)
    writer.join()
    use_up(ballast)
    faults: list[BaseException] = []

    def fail() -> None:
        try:
            store.commit([finish("b", result=(b"r" * 4 * MIB,))])
        except StoreError as fault:
            faults.append(fault)

    writer = threading.Thread(target=fail)
    writer.start()
    store.give_up()
    writer.join(10)
    assert not writer.is_alive() and len(faults) == 1
    ballast.unlink()
    store.close()
    assert upkeep.check(small_disk / "zmws.db") == []


def test_a_store_on_a_full_disk_opens_and_refuses(small_disk: Path) -> None:
    opened(small_disk / "zmws.db", reserve_bytes=MIB).close()
    ballast = small_disk / "ballast"
    use_up(ballast)
    store = opened(small_disk / "zmws.db", reserve_bytes=MIB, free_bytes_min=MIB)
    assert store.refuses_inserts and said(store.commit([insert("a")])) == [(DISK_FULL, "a")]
    store.close()
