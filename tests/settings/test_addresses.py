"""Endpoints, HOST:PORT and the url of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.site import loaded, problem
from zmws.settings.addresses import is_loopback, parse_http, without_password


def test_an_ipc_path_is_relative_to_the_installation(site: Path) -> None:
    text = '[broker]\nclient = "ipc://run/c"\nworker = "ipc://@abstract"\nnews = "ipc://*"\nmdp = "ipc://*"'
    broker = loaded(site, text).broker
    assert broker.client == f"ipc://{site}/run/c"
    assert (broker.worker, broker.news, broker.mdp) == ("ipc://@abstract", "ipc://*", "ipc://*")


def test_the_path_of_the_store_is_relative_to_the_installation(site: Path) -> None:
    assert loaded(site, '[store]\nurl = "sqlite:a b/x.db"').store_path == site / "a b" / "x.db"
    assert loaded(site, '[store]\nurl = "sqlite:/srv/x.db"').store_path == Path("/srv/x.db")
    for url in ("memory:", "postgresql://x/y", "postgres:///y?host=/run"):
        assert loaded(site, f'[store]\nurl = "{url}"').store_path is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a/b@x/y", "postgresql://me:a/b@x/y"),
        ("postgresql://me:hush@x:1/y", "postgresql://me:***@x:1/y"),
        ("postgresql://me@x/y?password=hush&a=b", "postgresql://me@x/y?password=***&a=b"),
        ("postgresql://x/y?sslpassword=hush", "postgresql://x/y?sslpassword=***"),
        ("sqlite:a:b@c.db", "sqlite:a:b@c.db"),
    ],
)
def test_no_password_of_a_store_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_store_that_is_not_built_is_refused_by_naming_those_that_are(site: Path) -> None:
    expected = "sqlite:PATH, such as sqlite:var/zmws.db, postgresql://HOST/DATABASE, or memory:"
    others = ("postgresql:x", "mysql://x", "memory", "", "memory:x")
    for url in (*others, "sqlite", "sqlite:", "sqlite:var/", "sqlite:.."):
        assert (
            problem(site, f'[store]\nurl = "{url}"')
            == f"FILE:2: store.url is '{url}', but must be {expected}"
        )
    assert "without slashes" in problem(site, '[store]\nurl = "sqlite:///var/zmws.db"')
    assert "store.url is 1, but must be sqlite:PATH" in problem(site, "[store]\nurl = 1")


@pytest.mark.parametrize(
    "http", ["127.0.0.1", "127.0.0.1:99999", "*:80", ":80", "localhost:*", "http://x:80", "::1:80"]
)
def test_an_http_address_that_is_none_is_refused(site: Path, http: str) -> None:
    assert "must be HOST:PORT" in problem(site, f'[gateway]\nhttp = "{http}"')


def test_an_http_address_is_host_and_port() -> None:
    assert parse_http("127.0.0.1:5580") == ("127.0.0.1", 5580)
    assert parse_http("[::1]:80") == ("::1", 80)
    assert parse_http("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.8.9.10:5555", True),
        ("tcp://localhost:5555", True),
        ("tcp://[::1]:5555", True),
        ("ipc:///run/x", True),
        ("ipc://0.0.0.0:80", True),
        ("127.0.0.1:5580", True),
        ("[::1]:5580", True),
        ("", True),
        ("tcp://*:5555", False),
        ("tcp://0.0.0.0:5555", False),
        ("tcp://[::]:5555", False),
        ("tcp://10.0.0.1:5555", False),
        ("tcp://eth0:5555", False),
        ("tcp://127.0.0.1.example.org:5555", False),
        ("0.0.0.0:5580", False),
        ("example.org:80", False),
    ],
)
def test_loopback_is_told_from_the_rest(endpoint: str, loopback: bool) -> None:
    assert is_loopback(endpoint) is loopback
