"""The stores that the contract runs over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.disk import opened
from tests.store.model import ModelStore
from zmws.store.base import Store
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

pytest.register_assert_rewrite("tests.store.contract")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "zmws.db"


@pytest.fixture(params=["model", "memory", "disk"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    if request.param == "disk":
        on_disk = opened(path)
        yield on_disk
        on_disk.close()
        assert upkeep.check(path) == []
    else:
        in_memory: Store = ModelStore() if request.param == "model" else MemoryStore()
        yield in_memory
        in_memory.close()
