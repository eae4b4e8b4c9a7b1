"""The gateway as a process: it starts and stops with the rest, and its death costs nobody anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Stream
from tests.peers import wait_until
from tests.system.installation import Installation, installation, worker_table

JOBS = "/api/v1/jobs"
HOLD = """
import time
from zmws import WorkerBase

class Hold(WorkerBase):
    service_name = "HOLD"

    def work(self, job_id, params):
        for n in range(params.get("parts", 1)):
            self.job.partial(n)
            self.job.log(f"line {n}")
        while not self.job.cancelled:
            time.sleep(0.02)
            if self.job.saved or params.get("until") and __import__("pathlib").Path(params["until"]).exists():
                return "done"
"""


@pytest.fixture
def zmws(tmp_path: Path) -> Iterator[Installation]:
    workers = worker_table("reverse", "workers/reverse.py") + worker_table("hold", "hold.py")
    more = "[services.LEASED]\nretries = 3\n"
    with installation(tmp_path, workers, has_http=True, more=more) as made:
        (tmp_path / "hold.py").write_text(HOLD)
        started = made.run("start")
        assert started.code == 0, started.err
        yield made


@pytest.fixture
def ask(zmws: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=zmws.http, timeout=30, trust_env=False) as client:
        yield client


def made(ask: httpx.Client, service: str, **params: Any) -> str:
    answer = ask.post(JOBS, json={"service": service, "params": params})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def again(zmws: Installation, before: int) -> None:
    """Wait until another gateway answers."""
    wait_until(lambda: zmws.pids().get("gateway") not in (None, before), 20, "another gateway")
    wait_until(lambda: _answers(zmws), 20, "it to answer")


def _answers(zmws: Installation) -> bool:
    try:
        return httpx.get(f"{zmws.http}/healthz", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_first_commands_of_the_readme(zmws: Installation, ask: httpx.Client) -> None:
    assert ask.get("/SYNC-STR-REV?str=Hello,+world").text == '"dlrow ,olleH"'
    assert {row["service"] for row in ask.get("/SERVER-WORKERS").json()} == {"STR-REV", "HOLD"}
    status = zmws.run("status")
    assert status.code == 0 and "gateway" in status.out
    told = zmws.run("start")
    assert "already running: broker, gateway" in told.out


def test_killed_it_comes_back_and_no_job_and_no_lease_is_lost(zmws: Installation, ask: httpx.Client) -> None:
    job_id = made(ask, "LEASED", n=1)
    lease = ask.post("/api/v1/services/LEASED/lease?wait=5", json={"ttr": 60}).json()
    assert lease["id"] == job_id
    waiting = made(ask, "LEASED", n=2)
    before = zmws.pids()["gateway"]
    os.kill(before, signal.SIGKILL)
    again(zmws, before)
    token = {"token": lease["token"]}
    assert ask.post("/api/v1/leases/extend", json={**token, "seconds": 60}).json() == {}
    assert ask.post("/api/v1/leases/report", json={**token, "kind": "complete", "result": 7}).json() == {}
    assert ask.get(f"{JOBS}/{job_id}/result?wait=5").json() == 7
    assert ask.get(f"{JOBS}/{waiting}").json()["state"] == "waiting"


def test_a_stream_goes_on_behind_its_last_id_at_another_gateway(
    zmws: Installation, ask: httpx.Client
) -> None:
    until = zmws.root / "until"
    job_id = made(ask, "HOLD", parts=50, until=str(until))
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    found = [stream.next() for _ in range(20)]
    before = zmws.pids()["gateway"]
    os.kill(before, signal.SIGKILL)
    with pytest.raises(httpx.HTTPError):
        stream.all()
    last = f"{stream.last_id}".partition(".")[0] + f".{found[-1][1]['n']}"
    again(zmws, before)
    until.touch()
    stream = Stream(ask, f"{JOBS}/{job_id}/events", last)
    found += stream.all()
    numbers = [data["n"] for _, data in found]
    assert numbers == list(range(1, len(numbers) + 1)), "without a gap or a repeat"
    partials = [data["value"] for kind, data in found if kind == "partial"]
    assert partials == list(range(50)) and found[-1][1]["state"] == "complete"


def test_when_the_broker_crashes_a_stream_says_reset_and_each_comes_once(
    zmws: Installation, ask: httpx.Client
) -> None:
    until = zmws.root / "until"
    job_id = made(ask, "HOLD", parts=5, until=str(until))
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    first = [stream.next() for _ in range(12)]
    os.kill(zmws.pids()["broker"], signal.SIGKILL)
    begun = time.monotonic()
    refused = ask.get("/SYNC-STR-REV?str=a")
    assert refused.status_code in (200, 503) and time.monotonic() - begun < 17
    assert stream.next() == ("reset", {})
    until.touch()
    rest = stream.all()
    numbers = [data["n"] for _, data in rest]
    assert numbers == sorted(set(numbers)) and rest[-1][1]["state"] == "complete"
    assert [data["value"] for kind, data in rest if kind == "partial"] == list(range(5))
    assert len(first) == 12


def test_while_the_broker_is_away_new_requests_are_503_within_two_seconds(
    zmws: Installation, ask: httpx.Client
) -> None:
    assert ask.get("/SYNC-STR-REV?str=ab").text == '"ba"'
    assert zmws.run("stop", "broker").code == 0
    for path in ("/SYNC-STR-REV?str=a", "/STR-REV?str=a", "/api/v1/services"):
        begun = time.monotonic()
        answer = ask.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_broker")
        assert time.monotonic() - begun < 2
    assert ask.get("/readyz").status_code == 503 and ask.get("/healthz").status_code == 200
    assert zmws.run("start", "broker").code == 0
    wait_until(lambda: ask.get("/readyz").status_code == 200, 10)
    wait_until(lambda: ask.get("/SYNC-STR-REV?str=ab").text == '"ba"', 10)


def test_one_that_stood_still_goes_on(zmws: Installation, ask: httpx.Client) -> None:
    job_id = made(ask, "LEASED")
    lease = ask.post("/api/v1/services/LEASED/lease?wait=5", json={"ttr": 60}).json()
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    assert stream.next()[1]["state"] == "waiting"
    pid = zmws.pids()["gateway"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n", "nobody else is held up"
    finally:
        os.kill(pid, signal.SIGCONT)
    said = {"token": lease["token"], "kind": "complete"}
    assert ask.post("/api/v1/leases/report", json=said).json() == {}
    assert [data["state"] for _, data in stream.all()] == ["running", "complete"]


def test_sigterm_under_many_streams_ends_it_within_four_seconds(
    zmws: Installation, ask: httpx.Client
) -> None:
    job_id = made(ask, "LEASED")
    host, port = "127.0.0.1", zmws.ports[4]
    streams = []
    for _ in range(400):
        stream = socket.create_connection((host, port), 30)
        stream.sendall(f"GET {JOBS}/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        streams.append(stream)
    for stream in streams:
        assert stream.recv(1000)
    begun = time.monotonic()
    assert zmws.run("stop", "gateway").code == 0
    assert time.monotonic() - begun < 4
    for stream in streams:
        stream.close()


def test_servers_are_the_broker_and_the_gateway(zmws: Installation) -> None:
    assert set(zmws.run("stop", "--servers").out.split()) >= {"broker", "gateway"}
    assert zmws.pids().keys() == {"reverse", "hold"}
    started = zmws.run("start", "--servers")
    assert started.code == 0 and "started: broker, gateway" in started.out


def test_a_reload_says_that_its_settings_have_changed(zmws: Installation) -> None:
    file = zmws.root / "etc" / "zmws.toml"
    file.write_text(file.read_text().replace("[gateway]\n", "[gateway]\nwait_max = 5\n"))
    told = zmws.run("reload")
    assert told.code == 0 and "the gateway's settings have changed: a restart" in told.out + told.err


# ---------------------------------------------------------------- what is wrong with a start


def test_off_the_loopback_it_starts_only_with_a_token(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("reverse", "workers/reverse.py"), has_http=True) as zmws:
        file = zmws.root / "etc" / "zmws.toml"
        file.write_text(
            file.read_text().replace(f'http = "127.0.0.1:{zmws.ports[4]}', f'http = "0.0.0.0:{zmws.ports[4]}')
        )
        started = zmws.run("start")
        assert started.code != 0 and "gateway" in started.err and "no token" in started.err
        assert {"broker", "reverse"} <= zmws.pids().keys(), "the others run all the same"
        refused = zmws.run("gateway")
        assert refused.code == 2 and "there is no token: anybody could run jobs" in refused.err
        made = zmws.run("gateway", "token", "new", "ops", "--role", "operator")
        assert made.code == 0 and made.out.startswith("zmws_")
        assert zmws.run("start").code == 0
        with httpx.Client(base_url=zmws.http, trust_env=False) as client:
            assert client.get("/SYNC-STR-REV?str=ab").status_code == 401
            headers = {"authorization": f"Bearer {made.out.strip()}"}
            assert client.get("/SYNC-STR-REV?str=ab", headers=headers).text == '"ba"'


def test_a_port_that_another_program_has_is_told(tmp_path: Path) -> None:
    with installation(tmp_path, has_http=True) as zmws, socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", zmws.ports[4]))
        taken.listen()
        refused = zmws.run("gateway")
        assert refused.code == 2 and "another program has it" in refused.err


def test_turned_off_it_is_no_process_of_the_installation(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("reverse", "workers/reverse.py")) as zmws:
        assert zmws.run("start").code == 0 and "gateway" not in zmws.pids()
        refused = zmws.run("start", "gateway")
        assert refused.code == 2 and 'gateway.http is ""' in refused.err


def test_without_its_extra_the_rest_starts_and_says_what_is_missing(tmp_path: Path) -> None:
    hide = tmp_path / "hidden"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import importlib.util as u, sys\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'starlette' else found(name, *a)\n"
        "sys.modules['starlette'] = None\n"
    )
    root = tmp_path / "installation"
    with installation(root, worker_table("reverse", "workers/reverse.py"), has_http=True) as zmws:
        started = zmws.run("start", PYTHONPATH=str(hide))
        assert started.code == 0 and "pip install 'zmws[gateway]'" in started.err, started
        assert "gateway" not in zmws.pids()
        refused = zmws.run("gateway", PYTHONPATH=str(hide))
        assert refused.code == 2 and "zmws[gateway]" in refused.err
        assert zmws.run("call", "STR-REV", "str=ab", PYTHONPATH=str(hide)).out == "ba\n"


def test_a_command_that_needs_no_http_imports_none() -> None:
    code = "import sys, zmws.cli.calls, zmws.cli.control, zmws.supervisor.supervise\n"
    code += "print([name for name in ('starlette', 'uvicorn', 'anyio', 'h11') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# ---------------------------------------------------------------- tokens on the command line


def test_tokens_are_made_listed_and_deleted(tmp_path: Path) -> None:
    with installation(tmp_path, has_http=True) as zmws:
        early = zmws.run("gateway", "token", "new", "early", "--role", "viewer")
        assert early.code == 0 and early.out.startswith("zmws_"), "no broker runs: it will take it in"
        assert zmws.run("start", "--servers").code == 0
        made = zmws.run("gateway", "token", "new", "shop", "--role", "client", "--json").json()
        assert made["name"] == "shop" and made["token"].startswith("zmws_")
        assert zmws.run("gateway", "token", "new", "shop", "--role", "client").code != 0
        assert zmws.run("gateway", "token", "new", "x", "--role", "king").code == 2
        rows = zmws.run("gateway", "token", "list", "--json").json()
        assert [(row["name"], row["role"]) for row in rows] == [("early", "viewer"), ("shop", "client")]
        assert "shop" in zmws.run("gateway", "token", "list").out
        with httpx.Client(base_url=zmws.http, trust_env=False) as client:
            wait_until(lambda: client.get("/api/v1/stats").status_code == 401)
            headers = {"authorization": f"Bearer {early.out.strip()}"}
            assert client.get("/api/v1/stats", headers=headers).status_code == 200
        assert zmws.run("gateway", "token", "delete", "shop").code == 0
        assert zmws.run("gateway", "token", "delete", "shop").code != 0
        assert zmws.run("gateway", "token", "new", "shop", "--role", "worker").code == 0, "the name is free"
        for name in ("shop", "early"):
            assert zmws.run("gateway", "token", "delete", name).code == 0
        assert "there is no token any more" in zmws.run("gateway", "token", "list").out
