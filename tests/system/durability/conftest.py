"""A broker that is killed and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import BrokerProcess
from tests.system.lasting import lasting_broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker that is up, on a store of its own."""
    with lasting_broker(tmp_path) as made:
        yield made
