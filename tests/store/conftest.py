"""The stores that the contract runs over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import Cluster
from tests.store.disk import opened
from tests.store.model import ModelStore
from zmws.store.base import Store
from zmws.store.postgres import upkeep as pg_upkeep
from zmws.store.postgres.store import PostgresStore
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.memory import MemoryStore

pytest.register_assert_rewrite("tests.store.contract")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "zmws.db"


@pytest.fixture
def schema(cluster: Cluster) -> Iterator[str]:
    """A name of which there is no schema yet."""
    name = f"test_{uuid4().hex}"
    yield name
    cluster.drop(name)


@pytest.fixture(params=["model", "memory", "disk", "postgres"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    if request.param == "postgres":
        cluster, schema = (request.getfixturevalue(name) for name in ("cluster", "schema"))
        in_database = PostgresStore(cluster.url, schema=schema)
        yield in_database
        in_database.close()
        assert pg_upkeep.check(cluster.url, schema) == []
        return
    if request.param == "disk":
        on_disk = opened(path)
        yield on_disk
        on_disk.close()
        assert upkeep.check(path) == []
    else:
        in_memory: Store = ModelStore() if request.param == "model" else MemoryStore()
        yield in_memory
        in_memory.close()
