"""A broker whose store does not sync its commits: `python -m tests.system.lax_broker broker -c FILE`.

With it a test of power cuts shows that it can fail; zmws itself has no such setting.
"""

from __future__ import annotations

from zmws import cli, store
from zmws.settings import Settings
from zmws.store.sqlite.disk import SqliteStore


def open_lax(known: Settings) -> SqliteStore:
    """Instead of `open_store`."""
    assert known.store_path is not None, known.store
    return SqliteStore(
        known.store_path,
        reserve_bytes=known.store.reserve_bytes,
        free_bytes_min=known.store.free_bytes_min,
        synchronous="NORMAL",
        own_folder=known.store_folder,
    )


if __name__ == "__main__":
    store.open_store = open_lax
    cli.main()
