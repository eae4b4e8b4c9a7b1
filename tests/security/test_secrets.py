"""Nothing of a job is readable on the wire, and no secret is where others look."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.keyed import keyed_broker, write_keys
from tests.peers import wait_until
from zmws import WorkerBase
from zmws.client import Client
from zmws.errors import ZmwsError
from zmws.ipc_files import listen
from zmws.key_file import KeyFile
from zmws.server.endpoints import StartFailed
from zmws.server.security import doorways
from zmws.settings import load
from zmws.settings.key_files import read
from zmws.testing import worker_in_thread

PARAMS, RESULT, IDENT = "params-in-plain-text", "result-in-plain-text", "id-in-plain-text"


class Secretive(WorkerBase):
    service_name = "IMG-A"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.progress(0.5, f"{RESULT} progress")
        return f"{RESULT} {params}"


class Wire:
    """A proxy that writes down all that passes, both ways."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._to = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.seen = bytearray()
        self._open: list[socket.socket] = [self._listening]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listening.accept()[0]
                far = socket.create_connection(self._to)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass, args=(one, other))
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                self.seen += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def wire(endpoint: str) -> Iterator[Wire]:
    made = Wire(endpoint)
    try:
        yield made
    finally:
        made.close()


def a_job_goes_through(broker: Any, client_key: KeyFile | None, worker_key: KeyFile | None) -> bytes:
    """All that was seen on the way of one job and its news: of the client's, the worker's, the news'."""
    with wire(broker.client) as first, wire(broker.worker) as second, wire(broker.news) as third:
        run = worker_in_thread(Secretive, _At(broker, second.endpoint), key=worker_key)
        with run, Client(first.endpoint, key=client_key) as client:
            from zmws.client.news import News

            with News(third.endpoint, None, client_key) as news:
                wait_until(lambda: broker.server.node.broker.turn.news_wanted)
                job = client.submit("IMG-A", {"text": PARAMS}, id=IDENT)
                assert RESULT in job.result(timeout=10)
                assert PARAMS in json.dumps(job.status())
                wait_until(lambda: any(IDENT in json.dumps(one.body) for one in news.read(0.1)))
        return bytes(first.seen + second.seen + third.seen)


class _At:
    """A broker, as its workers reach it."""

    def __init__(self, broker: Any, worker: str) -> None:
        self.worker, self.server = worker, broker.server


def test_no_word_of_a_job_is_readable_on_the_wire(tmp_path: Path) -> None:
    keys = {"all": {"role": "operator"}, "worker": {"role": "worker"}}
    with keyed_broker(tmp_path, keys) as keyed:
        seen = a_job_goes_through(keyed.broker, keyed.keys["all"], keyed.keys["worker"])
        for word in (PARAMS, RESULT, IDENT, "IMG-A", "complete", "MDP", "zmws."):
            assert word.encode() not in seen, word
        for key in keyed.keys.values():
            assert key.secret.encode() not in seen and key.public.encode() not in seen


def test_without_curve_all_of_it_is(tmp_path: Path) -> None:
    """Or the test above would see nothing whatever happened."""
    from zmws.core.options import service_options
    from zmws.testing.broker import broker_in_thread

    with broker_in_thread(services={"IMG-A": service_options({})}) as broker:
        seen = a_job_goes_through(broker, None, None)
    assert all(word.encode() in seen for word in (PARAMS, RESULT, IDENT, "IMG-A", "MDPC02"))


# ---------------------------------------------------------------- where others look


def test_no_secret_is_in_logs_answers_or_representations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with keyed_broker(tmp_path, {"all": {"role": "operator"}}) as keyed:
        new = keyed.new("shop", role="client")
        shown: list[Any] = [repr(key) for key in keyed.keys.values()]
        with keyed.connect("all") as client:
            shown += [repr(client), vars(client), repr(client.key), str(client.key)]
            for verb in ("stats", "keys", "audit", "workers", "warnings"):
                shown.append(client.ask(f"zmws.{verb}"))
            with pytest.raises(ZmwsError) as wrong:
                client.ask(
                    "zmws.key", {"do": "new", "name": "x", "proof": f"{new.secret}.", "role": "client"}
                )
            shown += [str(wrong.value), repr(wrong.value)]
        keyed.revoke("shop")
        told = caplog.text + str(shown)
        for key in keyed.keys.values():
            assert key.secret not in told
        assert "secret" not in told


def test_a_key_file_is_its_owners_alone_and_made_in_one_step(tmp_path: Path) -> None:
    folder = tmp_path / "etc" / "keys"
    _, made = write_keys(folder, {"shop": {"role": "client", "services": ('A"\\B',), "group": 'g "1"'}})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    assert read(folder / "shop.key") == made["shop"]
    assert {one.name for one in folder.iterdir()} == {"broker.key", "shop.key"}


# ---------------------------------------------------------------- ipc


def test_the_socket_of_an_ipc_address_has_the_mode_that_the_settings_say(tmp_path: Path) -> None:
    folder = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 80 else tmp_path
    for mode in (0o660, 0o600, 0o666):
        made = listen(folder / "s", 10, mode)
        try:
            assert stat.S_IMODE((folder / "s").stat().st_mode) == mode
        finally:
            made.close()
    if os.geteuid() == 0:
        made = listen(folder / "t", 10, 0o660, 12_345, 23_456)
        found = (folder / "t").stat()
        made.close()
        assert (found.st_uid, found.st_gid) == (12_345, 23_456)


def test_an_owner_that_cannot_be_is_refused_and_leaves_no_socket(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for setting in ("ipc_owner", "ipc_group"):
        (tmp_path / "etc" / "zmws.toml").write_text(f'[security]\n{setting} = "no-such-name"\n')
        with pytest.raises(StartFailed, match=f"{setting} is 'no-such-name'"):
            doorways(load(tmp_path / "etc" / "zmws.toml", environ={}))
    (tmp_path / "etc" / "zmws.toml").write_text('[security]\nipc_owner = "12345"\nipc_mode = "0600"\n')
    found = doorways(load(tmp_path / "etc" / "zmws.toml", environ={}))["client"]
    assert (found.ipc_owner, found.ipc_group, found.ipc_mode) == (12_345, -1, 0o600)


# ---------------------------------------------------------------- a program in C

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <zmq.h>
/* A worker and a client of RFC 18 with libzmq alone. argv: the endpoint, the public and the secret key, and
   the broker's. */
static void *peer(void *context, char **argv) {
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int linger = 0, patience = 8000;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, argv[2], 41);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, argv[3], 41);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, argv[4], 41);
    zmq_connect(socket, argv[1]);
    return socket;
}
int main(int argc, char **argv) {
    void *context = zmq_ctx_new(), *worker = peer(context, argv), *client = peer(context, argv);
    char frame[4][256];
    int size[4];
    (void) argc;
    zmq_send(worker, "MDPW02", 6, ZMQ_SNDMORE);
    zmq_send(worker, "\x01", 1, ZMQ_SNDMORE);
    zmq_send(worker, "IMG-A", 5, 0);
    zmq_send(client, "MDPC02", 6, ZMQ_SNDMORE);
    zmq_send(client, "\x01", 1, ZMQ_SNDMORE);
    zmq_send(client, "IMG-A", 5, ZMQ_SNDMORE);
    zmq_send(client, "hello", 5, 0);
    for (;;) { /* heartbeats have two frames, a request has five */
        int n = 0, more = 1;
        size_t length = sizeof more;
        while (more) {
            int at = n < 4 ? n : 3;
            size[at] = zmq_recv(worker, frame[at], sizeof frame[at], 0);
            if (size[at] < 0) return 1;
            zmq_getsockopt(worker, ZMQ_RCVMORE, &more, &length);
            n++;
        }
        if (n >= 5) break;
    }
    zmq_send(worker, "MDPW02", 6, ZMQ_SNDMORE);
    zmq_send(worker, "\x04", 1, ZMQ_SNDMORE);
    zmq_send(worker, frame[2], size[2], ZMQ_SNDMORE);
    zmq_send(worker, "", 0, ZMQ_SNDMORE);
    zmq_send(worker, "olleh", 5, 0);
    for (int more = 1; more;) {
        size_t length = sizeof more;
        int got = zmq_recv(client, frame[0], sizeof frame[0] - 1, 0);
        if (got < 0) return 2;
        frame[0][got] = 0;
        zmq_getsockopt(client, ZMQ_RCVMORE, &more, &length);
    }
    puts(frame[0]);
    zmq_close(worker);
    zmq_close(client);
    zmq_ctx_term(context);
    return 0;
}
"""


def test_a_program_in_c_that_knows_curve_works_with_it(tmp_path: Path) -> None:
    source, program = tmp_path / "peer.c", tmp_path / "peer"
    source.write_text(PROGRAM)
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/zmq.h").exists():
        pytest.skip("cc or the headers of libzmq are not installed, with which the program is made")
    subprocess.run([compiler, "-O1", str(source), "-o", str(program), "-lzmq"], check=True)
    with keyed_broker(tmp_path, {"all": {"role": "operator"}}) as keyed:
        key = keyed.keys["all"]
        arguments = [str(program), keyed.broker.mdp, key.public, key.secret, key.broker]
        told = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert (told.returncode, told.stdout) == (0, "olleh\n")
