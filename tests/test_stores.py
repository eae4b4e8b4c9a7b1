"""The contract of store_contract.py, over every store; and that all of them do the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store_contract import *  # noqa: F403
from tests.store_contract import batches_by_chance, everything
from zmws.store import upkeep
from zmws.store.base import Store
from zmws.store.memory import MemoryStore
from zmws.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Any
    if request.param == "memory":
        opened = MemoryStore()
    else:
        opened = SqliteStore(tmp_path / "zmws.db", reserve_bytes=4096, free_bytes_min=0)
    yield opened
    opened.close()
    if request.param == "sqlite":
        assert upkeep.check(tmp_path / "zmws.db") == []


@pytest.mark.parametrize("seed", range(40))
def test_all_stores_answer_alike_whatever_is_written(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    memory = MemoryStore()
    path = tmp_path / "zmws.db"
    sqlite = SqliteStore(path, reserve_bytes=4096, free_bytes_min=0, synchronous="OFF")
    for batch in batches_by_chance(chance):
        assert sqlite.commit(batch) == memory.commit(batch)
        if chance.random() < 0.1:
            sqlite.close()
            sqlite = SqliteStore(path, reserve_bytes=4096, free_bytes_min=0, synchronous="OFF")
        for one, other in zip(everything(sqlite), everything(memory), strict=True):
            assert one == other
    sqlite.close()
    assert upkeep.check(path) == []
