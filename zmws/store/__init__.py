"""Where stored jobs live. `base.Store` is what every store promises; `open_store` opens the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zmws.settings import Settings
    from zmws.store.base import Store


def open_store(settings: Settings) -> Store:
    """The store that the settings name, ready for use. Raises StoreError that says what to do."""
    # Imported here: whoever knows `base` alone needs no database.
    from zmws.errors import StoreError
    from zmws.settings import parse_store_url

    known = settings.store
    path = settings.store_path
    if parse_store_url(known.url).scheme == "postgresql":
        try:
            from zmws.store.postgres.store import PostgresStore
        except ImportError as missing:
            text = "a store on PostgreSQL needs psycopg: pip install 'zmws[postgres]'"
            raise StoreError(f"{text} ({missing})") from None

        return PostgresStore(
            known.url,
            connect_s=known.open_patience,
            search_s_max=known.search_time,
            causes_max=known.causes_max,
        )
    if path is None:
        from zmws.store.sqlite.memory import MemoryStore

        return MemoryStore(
            known.memory_bytes_max, known.memory_ended_max, known.search_time, known.causes_max
        )
    from zmws.store.sqlite.disk import SqliteStore

    return SqliteStore(
        path,
        reserve_bytes=known.reserve_bytes,
        free_bytes_min=known.free_bytes_min,
        cache_bytes=known.cache_bytes,
        check_s_max=known.check,
        open_patience_s=known.open_patience,
        search_s_max=known.search_time,
        causes_max=known.causes_max,
        own_folder=settings.store_folder,
    )
