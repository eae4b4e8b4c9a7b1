"""An installation that runs, with a worker that does odd things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.installation import Installation, installation, worker_table
from tests.system.output.odd import ODD


@pytest.fixture(scope="package")
def zmws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("installation")
    (root / "odd.py").write_text(ODD)
    more = "[services.NOBODY]\n[services.PAUSED]\npaused = true\n"
    workers = worker_table("odd", "odd.py") + worker_table("sleep", "workers/sleep.py")
    with installation(root, workers, more=more) as made:
        started = made.run("start")
        assert started.code == 0, started.err
        yield made
        assert made.run("stop").code == 0
