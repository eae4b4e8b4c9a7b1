"""Whoever is in a folder of an installation finds its broker: programs, workers, the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import REPOSITORY, await_workers, wait_until
from tests.system.installation import ZMWS, Installation, environment, installation, run
from zmws import AsyncClient, Client, SettingsError
from zmws.testing import BrokerProcess

HELLO = """from zmws import WorkerBase


class Hello(WorkerBase):
    service_name = "HELLO"

    def work(self, job_id, params):
        return "hello"


if __name__ == "__main__":
    Hello.main()
"""


def python(program: str, cwd: Path, **more: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (ended.stdout + ended.stderr).strip()


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_client_worker_and_verbs_find_the_broker_from_a_folder_below(tmp_path: Path) -> None:
    ask = "from zmws import Client\nwith Client() as client: print(client.call('HELLO', timeout=20))"
    ask_async = (
        "import asyncio\nfrom zmws import AsyncClient\nasync def main():\n"
        "    async with AsyncClient() as client: print(await client.call('HELLO', timeout=20))\n"
        "asyncio.run(main())"
    )
    with BrokerProcess(tmp_path / "site") as broker:
        below = folder(broker.folder / "app" / "jobs")
        (below / "hello.py").write_text(HELLO)
        # As a worker's own file runs, and as `zmws worker` runs it.
        for command in ([sys.executable, "hello.py"], [*ZMWS, "worker", "hello.py"]):
            worker = subprocess.Popen(command, cwd=below, env=environment(), stderr=subprocess.DEVNULL)
            try:
                with broker.connect() as client:
                    await_workers(client, 1)
                assert python(ask, below) == "hello"
                assert python(ask_async, below) == "hello"
                assert run("call", "HELLO", cwd=below).out == "hello\n"
                assert "HELLO" in run("services", cwd=below).out
            finally:
                worker.terminate()
                worker.wait(20)
            with broker.connect() as client:
                wait_until(lambda client=client: not client.workers(), what="the worker to leave")  # type: ignore[misc]


def test_of_two_brokers_the_argument_the_environment_and_the_nearest_file_say_which(tmp_path: Path) -> None:
    pid = "print(client.stats()['pid'])"
    find = f"from zmws import Client\nwith Client() as client: {pid}"
    with BrokerProcess(tmp_path / "outer") as outer, BrokerProcess(tmp_path / "outer" / "inner") as inner:
        below = folder(inner.folder / "app")
        assert python(find, below) == str(inner.pid)
        assert python(find, folder(outer.folder / "beside")) == str(outer.pid)
        assert python(find, below, ZMWS_BROKER_CLIENT=outer.client) == str(outer.pid)
        given = find.replace("Client()", f"Client({inner.client!r})")
        assert python(given, below, ZMWS_BROKER_CLIENT=outer.client) == str(inner.pid)
        assert run("stats", "--json", cwd=below).json()["pid"] == inner.pid
        assert run("stats", "--json", cwd=below, ZMWS_BROKER_CLIENT=outer.client).json()["pid"] == outer.pid
        named = run("stats", "--json", "-c", str(outer.settings), cwd=below)
        assert named.json()["pid"] == outer.pid
        flag = run("stats", "--json", "--broker", inner.client, cwd=below, ZMWS_BROKER_CLIENT=outer.client)
        assert flag.json()["pid"] == inner.pid


def test_start_status_and_stop_act_on_the_installation_above_and_say_so(tmp_path: Path) -> None:
    def note(site: Installation) -> str:
        return f"zmws: the installation is {site.root}\n"

    with installation(tmp_path / "site", "") as zmws:
        below = folder(zmws.root / "app")
        started = run("start", cwd=below)
        assert started.code == 0 and started.err == note(zmws)
        assert set(zmws.pids()) == {"broker"} and not list(below.iterdir())
        status = run("status", "--json", cwd=below)
        assert status.code == 0 and status.err == note(zmws) and status.json()["root"] == str(zmws.root)
        assert zmws.run("status").err == ""
        assert run("logs", "broker", cwd=below).code == 0
        assert run("status", "-c", "../etc/zmws.toml", cwd=below).err == "", "who names it knows"
        stopped = run("stop", cwd=below)
        assert (stopped.out, stopped.err) == ("stopped: broker\n", note(zmws))


def test_a_broker_whose_port_nobody_can_know_is_not_started(tmp_path: Path) -> None:
    (folder(tmp_path / "etc") / "zmws.toml").write_text('[broker]\nclient = "tcp://127.0.0.1:*"\n')
    for verb in (["start"], ["stats"], ["status"]):
        told = run(*verb, cwd=tmp_path)
        assert told.code == 2 and "broker.client is tcp://127.0.0.1:*, which lets" in told.err, told
    assert not (tmp_path / "logs" / "broker.txt").exists(), "it was not tried"


def test_a_damaged_file_is_told_by_every_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder(tmp_path / "etc") / "zmws.toml").write_text('[broker]\nclinet = "tcp://127.0.0.1:7000"\n')
    below = folder(tmp_path / "app")
    monkeypatch.chdir(below)
    wrong = rf"{tmp_path}/etc/zmws\.toml:2: 'clinet' is no setting of \[broker\]"
    for made in (Client, AsyncClient):
        with pytest.raises(SettingsError, match=wrong):
            made()
    told = run("call", "HELLO", cwd=below)
    assert told.code == 2 and f"{tmp_path}/etc/zmws.toml:2: 'clinet'" in told.err
    told = run("worker", str(REPOSITORY / "workers" / "reverse.py"), cwd=below)
    assert told.code == 2 and f"{tmp_path}/etc/zmws.toml:2: 'clinet'" in told.err


def test_who_names_the_broker_loads_no_settings(tmp_path: Path) -> None:
    program = (
        "import sys, zmws\nassert 'zmws.client' not in sys.modules\n"
        "client = zmws.Client('tcp://127.0.0.1:5555')\n"
        "print([name for name in sys.modules if name.startswith('zmws.settings') or name == 'tomllib'])"
    )
    assert python(program, tmp_path) == "[]"
