"""A broker whose store does not sync its commits: `python -m tests.system.lax_broker -c FILE`.

With it a test of power cuts shows that it can fail; zmws itself has no such setting.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zmws import settings
from zmws.server import BrokerServer
from zmws.store.sqlite.disk import SqliteStore
from zmws.worker.command import set_up_log


def main() -> int:
    known = settings.load(Path(sys.argv[-1]))
    set_up_log(known.broker.log_level)
    assert known.store_path is not None, known.store
    store = SqliteStore(
        known.store_path,
        reserve_bytes=known.store.reserve_bytes,
        free_bytes_min=known.store.free_bytes_min,
        synchronous="NORMAL",
        own_folder=known.store_folder,
    )
    server = BrokerServer(known, store)
    server.handle_signals()
    server.bind()
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
