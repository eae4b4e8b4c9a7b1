"""One installation with a gateway that its supervisor keeps, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.system.installation import Installation, installation
from tests.system.pages.browser import Watched, chromium, watched
from zmws import Client

WORKERS = """
[[workers]]
name = "shop"
file = "workers/shop.py"
count = 2

[[workers]]
name = "reverse"
file = "workers/reverse.py"
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module alone: while it is there, a loop of asyncio runs in this thread, which other tests need."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("shop")
    with installation(root, WORKERS, has_http=True) as made:
        source = Path(__file__).with_name("shop.py")
        (root / "workers" / "shop.py").write_text(source.read_text())
        started = made.run("start")
        assert started.code == 0, started.err
        yield made
        made.run("stop")


@pytest.fixture
def seen(browser: Browser, shop: Installation) -> Iterator[Watched]:
    """A page of the installation; what goes wrong on it fails the test."""
    with watched(browser, shop.http) as page:
        yield page


@pytest.fixture
def client(shop: Installation) -> Iterator[Client]:
    with Client(shop.client) as found:
        yield found


def let(shop: Installation, name: str) -> None:
    """What a worker of shop.py waits for."""
    (shop.root / "run" / name).touch()
