"""An installation whose store is a PostgreSQL server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.peers import wait_until
from tests.system.installation import Installation, installation, worker_table

REVERSE = worker_table("reverse", "workers/reverse.py")


@pytest.fixture
def zmws(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    cluster.drop("zmws")
    with installation(tmp_path, f'{REVERSE}\n[store]\nurl = "{cluster.url}"\n') as made:
        yield made


def state_of(zmws: Installation, job: str) -> str:
    ran = zmws.run("job", "show", job, "--json")
    return str(ran.json()["state"]) if ran.code == 0 else ran.err


def test_jobs_outlive_the_broker_and_the_server(zmws: Installation, cluster: Cluster) -> None:
    assert zmws.run("start").code == 0
    assert zmws.run("submit", "STR-REV", "str=ab", "--wait").out == "ba\n"
    assert zmws.run("pause", "STR-REV").code == 0
    jobs = [zmws.run("submit", "STR-REV", f"str=x{n}").out.strip() for n in range(3)]
    os.kill(zmws.pids()["broker"], signal.SIGKILL)
    wait_until(lambda: state_of(zmws, jobs[0]) == "waiting", 30.0)
    cluster.stop()
    cluster.start()
    wait_until(lambda: zmws.run("resume", "STR-REV").code == 0, 60.0)
    for n, job in enumerate(jobs):
        record = zmws.run("job", "wait", job, "--json").json()
        assert (record["state"], record["result"], record["attempt"]) == ("complete", f"{n}x", 1)
    assert zmws.run("check").out.endswith("nothing wrong\n")
    assert zmws.run("stop").code == 0


def test_one_broker_has_it_and_the_other_is_told(
    zmws: Installation, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert zmws.run("start").code == 0
    with installation(tmp_path_factory.mktemp("other"), f'[store]\nurl = "{cluster.url}"\n') as other:
        refused = other.run("broker")
    assert refused.code != 0 and "another broker has this store" in refused.err
    assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n"


def test_what_is_the_servers_business_is_said_and_no_password_is_shown(zmws: Installation) -> None:
    for verb in ("backup", "restore"):
        refused = zmws.run(verb, "x.db")
        assert refused.code == 2 and "pg_dump" in refused.err
    secret = "postgresql://me:hush@127.0.0.1:1/none?sslpassword=hush"
    for words in (["config", "check"], ["config", "check", "--json"]):
        told = zmws.run(*words, ZMWS_STORE_URL=secret)
        assert told.code == 0 and "hush" not in told.out + told.err, told
    refused = zmws.run("broker", ZMWS_STORE_URL=secret, ZMWS_STORE_OPEN_PATIENCE="0.1")
    assert refused.code != 0 and "127.0.0.1:1/none: cannot be used" in refused.err
    assert "hush" not in refused.err
