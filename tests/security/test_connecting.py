"""Who comes in at a socket that asks for a key, who does not, and what each is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.keyed import Keyed, keyed_broker, pair, write_keys
from tests.peers import BrokerProcess, wait_until
from zmws import WorkerBase
from zmws.client import Client
from zmws.errors import BrokerUnreachable, Refused, SettingsError
from zmws.key_file import KeyFile
from zmws.server.callers import Callers, neighbours
from zmws.server.endpoints import StartFailed
from zmws.server.security import doorways, keys_in_files
from zmws.settings import key_files, load
from zmws.testing import worker_in_thread
from zmws.testing.broker import broker_in_thread
from zmws.wire import mdp


class Echo(WorkerBase):
    service_name = "IMG-A"

    def work(self, job_id: str, params: Any) -> Any:
        return params


class Sleeper(WorkerBase):
    """Holds its job until the test lets it go."""

    service_name = "IMG-A"
    begun = threading.Event()
    go_on = threading.Event()

    def work(self, job_id: str, params: Any) -> Any:
        self.begun.set()
        self.go_on.wait(20)
        return "late"


@pytest.fixture
def keyed(tmp_path: Path) -> Any:
    keys = {
        "client": {"role": "client"},
        "worker": {"role": "worker"},
        "viewer": {"role": "viewer"},
        "some": {"role": "viewer", "services": ("IMG-*",)},
    }
    with keyed_broker(tmp_path, keys, heartbeat_interval_s=0.5) as running:
        yield running


def counted(keyed: Keyed, name: str) -> int:
    return keyed.broker.server.counters[name]


# ---------------------------------------------------------------- coming in


def test_a_call_goes_through_and_news_come(keyed: Keyed) -> None:
    with (
        worker_in_thread(Echo, keyed.broker, key=keyed.keys["worker"]),
        keyed.connect("client") as client,
        keyed.connect("viewer") as viewer,
        viewer.news() as news,
    ):
        wait_until(lambda: keyed.broker.server.node.broker.turn.news_wanted)
        assert client.call("IMG-A", {"n": 1}, timeout=10) == {"n": 1}
        assert client.submit("IMG-A", [2]).result(timeout=10) == [2]
        seen = []
        wait_until(lambda: seen.extend(news.read(0.1)) or [one for one in seen if "complete" in one.topic])


def test_who_has_no_key_is_told_that_one_is_needed(keyed: Keyed) -> None:
    for endpoint in (keyed.broker.client, keyed.broker.worker, keyed.broker.mdp):
        with (
            Client(endpoint, connect_timeout=0.4) as client,
            pytest.raises(BrokerUnreachable, match="takes only peers with a key") as told,
        ):
            client.stats()
        assert told.value.reason and not told.value.maybe_accepted


def test_a_key_that_nobody_knows_is_refused_and_the_log_says_from_where(
    keyed: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = KeyFile("stranger", *pair(), keyed.public)
    with (
        Client(keyed.broker.client, key=stranger, connect_timeout=0.4) as client,
        pytest.raises(BrokerUnreachable, match="it refuses the key 'stranger'"),
    ):
        client.stats()
    assert "client: refused from 127.0.0.1: a key that is not known here" in caplog.text
    assert counted(keyed, "connections_refused") >= 1
    assert len([one for one in caplog.records if "refused from" in one.message]) == 1, "told once in a while"


def test_a_broker_that_is_another_is_not_talked_to(keyed: Keyed, tmp_path: Path) -> None:
    known = keyed.keys["client"]
    other = KeyFile("client", known.public, known.secret, pair()[0])
    with (
        Client(keyed.broker.client, key=other, connect_timeout=0.6) as client,
        pytest.raises(BrokerUnreachable, match="is not the one whose public key stands"),
    ):
        client.stats()


def test_a_key_is_not_shown_to_a_broker_that_asks_for_none(tmp_path: Path) -> None:
    key = KeyFile("client", *pair(), pair()[0])
    with (
        broker_in_thread() as plain,
        plain.connect(key=key, connect_timeout=0.4) as client,
        pytest.raises(BrokerUnreachable, match="asks nobody for a key"),
    ):
        client.stats()


def test_each_socket_takes_those_it_is_for(keyed: Keyed) -> None:
    """`news` tells of all services: a right for some is too little."""
    for name, endpoint, comes in (
        ("viewer", keyed.broker.news, True),
        ("some", keyed.broker.news, False),
        ("client", keyed.broker.news, False),
        ("client", keyed.broker.worker, False),
        ("worker", keyed.broker.worker, True),
        ("client", keyed.broker.mdp, True),
        ("worker", keyed.broker.mdp, True),
        ("viewer", keyed.broker.mdp, False),
    ):
        kind = zmq.SUB if endpoint == keyed.broker.news else zmq.DEALER
        assert handshake(endpoint, keyed.keys[name], kind) == comes, (name, endpoint)


def handshake(endpoint: str, key: KeyFile, kind: int) -> bool:
    """Whether a peer with this key comes in."""
    with zmq.Context() as context, context.socket(kind) as peer:
        peer.setsockopt(zmq.LINGER, 0)
        peer.setsockopt(zmq.RECONNECT_IVL, -1)
        secure(peer, key)
        with watched(peer) as monitor:
            peer.connect(endpoint)
            while monitor.poll(5_000):
                event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
                if event in (zmq.Event.HANDSHAKE_SUCCEEDED, zmq.Event.HANDSHAKE_FAILED_AUTH):
                    return event == zmq.Event.HANDSHAKE_SUCCEEDED
    raise AssertionError("no end of the handshake")


def seen(monitor: zmq.Socket[bytes], event: zmq.Event, most_ms: int) -> bool:
    """Whether that happens to a connection in time."""
    while monitor.poll(most_ms):
        if int.from_bytes(monitor.recv_multipart()[0][:2], "little") == event:
            return True
    return False


@contextlib.contextmanager
def watched(peer: zmq.Socket[bytes]) -> Iterator[zmq.Socket[bytes]]:
    """What becomes of its connections."""
    monitor = peer.get_monitor_socket()
    try:
        yield monitor
    finally:
        peer.disable_monitor()
        monitor.close(0)


def secure(peer: zmq.Socket[bytes], key: KeyFile) -> None:
    """As a program of anybody's would, with pyzmq alone."""
    peer.curve_publickey, peer.curve_secretkey = key.public.encode(), key.secret.encode()
    peer.curve_serverkey = key.broker.encode()


# ---------------------------------------------------------------- foreign peers


@pytest.mark.parametrize("which", ["mdp", "worker"])
def test_a_majordomo_program_that_knows_curve_works_with_it(keyed: Keyed, which: str) -> None:
    """Plain pyzmq, by the letter of RFC 18."""
    with zmq.Context() as context:
        worker, client = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        with worker, client:
            for peer, name, at in ((worker, "worker", which), (client, "client", "mdp")):
                peer.setsockopt(zmq.LINGER, 0)
                secure(peer, keyed.keys[name])
                peer.connect(getattr(keyed.broker, at))
            worker.send_multipart([mdp.MDPW02, b"\x01", b"IMG-A"])
            client.send_multipart([mdp.MDPC02, b"\x01", b"IMG-A", b"hello"])
            request = receive(worker, b"\x02")
            worker.send_multipart([mdp.MDPW02, b"\x04", request[2], b"", b"olleh"])
            assert client.poll(5_000) and client.recv_multipart()[-1] == b"olleh"


def receive(peer: zmq.Socket[bytes], command: bytes) -> list[bytes]:
    """The next message with this command; heartbeats are passed over."""
    while peer.poll(5_000):
        frames = peer.recv_multipart()
        if frames[1] == command:
            return frames
    raise AssertionError("nothing came")


def test_a_worker_of_a_service_that_is_not_its_own_is_sent_away(keyed: Keyed) -> None:
    keyed.new("imgs", role="worker", services=["IMG-*"])
    with zmq.Context() as context, context.socket(zmq.DEALER) as worker:
        worker.setsockopt(zmq.LINGER, 0)
        secure(worker, keyed.keys["imgs"])
        worker.connect(keyed.broker.worker)
        worker.send_multipart([mdp.MDPW02, b"\x01", b"EMAIL"])
        wait_until(lambda: counted(keyed, "ready_not_allowed") == 1)
        assert receive(worker, b"\x06")
        worker.send_multipart([mdp.MDPW02, b"\x01", b"IMG-A"])
        wait_until(lambda: len(keyed.broker.server.node.broker.roster.sessions.by_peer) == 1)


def test_another_key_under_a_sessions_routing_id_ends_that_session(keyed: Keyed) -> None:
    keyed.new("other", role="worker")
    roster = keyed.broker.server.node.broker.roster
    with zmq.Context() as context:
        first, second = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        with first, second:
            for peer, name in ((first, "worker"), (second, "other")):
                peer.setsockopt(zmq.LINGER, 0)
                peer.setsockopt(zmq.ROUTING_ID, b"\0ab12")
                secure(peer, keyed.keys[name])
            first.connect(keyed.broker.worker)
            first.send_multipart([mdp.MDPW02, b"\x01", b"IMG-A"])
            wait_until(lambda: len(roster.sessions.by_peer) == 1)
            second.connect(keyed.broker.worker)
            second.send_multipart([mdp.MDPW02, b"\x05"])
            wait_until(lambda: not roster.sessions.by_peer)


def test_who_has_a_key_and_chooses_a_routing_id_is_refused_and_told_so(keyed: Keyed) -> None:
    with zmq.Context() as context:
        worker, client = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        with worker, client:
            for peer, name in ((worker, "worker"), (client, "operator")):
                peer.setsockopt(zmq.LINGER, 0)
                peer.setsockopt(zmq.ROUTING_ID, b"a-long-routing-id")
                secure(peer, keyed.keys[name])
            worker.connect(keyed.broker.worker)
            worker.send_multipart([mdp.MDPW02, b"\x01", b"IMG-A"])
            wait_until(lambda: counted(keyed, "ready_not_allowed") == 1)
            client.connect(keyed.broker.client)
            for service in (b"IMG-A", b"zmws.hello"):
                client.send_multipart([mdp.MDPC02, b"\x01", service, b"x"])
                assert client.poll(5_000)
                assert b"ZMQ_ROUTING_ID" in b"".join(client.recv_multipart())


def test_nobody_says_that_he_is_a_worker_who_came_with_another_key(keyed: Keyed) -> None:
    keyed.new("other", role="worker")
    roster = keyed.broker.server.node.broker.roster
    with worker_in_thread(Echo, keyed.broker, key=keyed.keys["worker"]):
        wait_until(lambda: len(roster.sessions.by_peer) == 1)
        (session,) = roster.sessions.by_peer.values()
        info = b'{"zmws": 1, "id": "%s"}' % session.id.encode()
        with zmq.Context() as context, context.socket(zmq.DEALER) as thief:
            thief.setsockopt(zmq.LINGER, 0)
            secure(thief, keyed.keys["other"])
            thief.connect(keyed.broker.worker)
            thief.send_multipart([mdp.MDPW02, b"\x01", b"IMG-A", info])
            wait_until(lambda: counted(keyed, "ready_not_allowed") == 1)
            assert [*roster.sessions.by_peer.values()] == [session]


# ---------------------------------------------------------------- revoking


def test_a_revoked_key_is_cut_within_a_second_and_its_jobs_stay(keyed: Keyed) -> None:
    keyed.new("gone", role="client")
    with keyed.connect("gone", connect_timeout=0.3, reconnect_timeout=0.5) as client:
        job = client.submit("IMG-A", delay=3600)
        begun = time.monotonic()
        keyed.revoke("gone")
        wait_until(lambda: not keyed.broker.server.doorkeeper.callers.by_key[keyed.keys["gone"].public], 1.0)
        assert time.monotonic() - begun < 1.0
        with pytest.raises(BrokerUnreachable, match="it refuses the key 'gone'"):
            client.stats()
    with keyed.connect("operator") as client:
        assert client.job(job.id).status()["state"] == "scheduled"


def test_the_job_of_a_worker_whose_key_is_revoked_runs_elsewhere(keyed: Keyed) -> None:
    keyed.new("gone", role="worker")
    Sleeper.begun.clear()
    Sleeper.go_on.clear()
    with worker_in_thread(Sleeper, keyed.broker, key=keyed.keys["gone"]), keyed.connect("client") as client:
        job = client.submit("IMG-A", "x")
        assert Sleeper.begun.wait(10)
        keyed.revoke("gone")
        with worker_in_thread(Echo, keyed.broker, key=keyed.keys["worker"]):
            assert job.result(timeout=10) == "x"
        Sleeper.go_on.set()


def test_who_has_said_nothing_yet_is_cut_with_a_revoked_key_and_comes_back(keyed: Keyed) -> None:
    """Whose connection it is, nothing tells before its first message."""
    keyed.new("gone", role="client")
    server = keyed.broker.server
    with zmq.Context() as context, context.socket(zmq.DEALER) as silent, keyed.connect("client") as other:
        assert other.ask("zmws.hello")
        silent.setsockopt(zmq.LINGER, 0)
        secure(silent, keyed.keys["gone"])
        with watched(silent) as monitor:
            silent.connect(keyed.broker.client)
            assert seen(monitor, zmq.Event.HANDSHAKE_SUCCEEDED, 5_000)
            keyed.revoke("gone")
            assert seen(monitor, zmq.Event.DISCONNECTED, 1_000), "it was not cut"
        assert other.ask("zmws.hello") and counted(keyed, "connections_cut_for_keys") >= 1
    wait_until(lambda: len(server.doorkeeper.callers) == 0)


def test_a_change_of_rights_holds_at_once(keyed: Keyed) -> None:
    keyed.new("shop", role="client")
    with keyed.connect("shop") as client, keyed.connect("operator") as operator:
        client.submit("EMAIL", delay=3600)
        operator.ask("zmws.key", {"do": "change", "name": "shop", "role": "client", "services": ["IMG-*"]})
        with pytest.raises(Exception, match="no right 'submit' for the service 'EMAIL'"):
            client.submit("EMAIL", delay=3600)
        assert client.submit("IMG-A", delay=3600)


def test_keys_outlast_the_broker_and_no_file_brings_a_revoked_one_back(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'jobs.db'}"
    with keyed_broker(tmp_path, {"filed": {"role": "client"}}, store=store) as first:
        first.new("told", role="viewer", group="g", rate=2.5)
        first.revoke("filed")
        keys = first.keys
    public = key_files.read(tmp_path / "etc" / "keys" / "broker.key").public
    file = tmp_path / "etc" / "zmws.toml"
    with broker_in_thread(file=file, store=store) as broker:
        again = Keyed(broker, tmp_path, keys, public)
        with again.connect("operator") as client:
            rows = {row["name"]: row for row in client.ask("zmws.keys")["keys"]}
        assert rows["filed"]["revoked_at"] and not rows["operator"]["revoked_at"]
        assert (rows["told"]["role"], rows["told"]["group"], rows["told"]["rate"]) == ("viewer", "g", 2.5)
        with again.connect("filed", connect_timeout=0.3) as client, pytest.raises(BrokerUnreachable):
            client.stats()


def test_a_broker_process_that_asks_for_keys_is_seen_to_be_ready(tmp_path: Path) -> None:
    """Its log says of each address that it does."""
    broker = BrokerProcess(tmp_path, toml='[security]\ncurve = "on"\n')
    _, keys = write_keys(tmp_path / "etc" / "keys", {"operator": {"role": "operator"}})
    with broker, broker.connect(key=keys["operator"]) as client:
        assert client.stats()


# ---------------------------------------------------------------- bounds


def test_of_one_address_there_are_so_many_connections(tmp_path: Path) -> None:
    with keyed_broker(tmp_path, text="connections_per_address = 5") as keyed:
        host, _, port = keyed.broker.client.removeprefix("tcp://").rpartition(":")
        held = [socket.create_connection((host, int(port))) for _ in range(12)]
        wait_until(lambda: counted(keyed, "connections_cut_for_their_address") == 7)
        assert len(keyed.broker.server.doorkeeper.callers) == 5
        for one in held:
            one.close()
        wait_until(lambda: len(keyed.broker.server.doorkeeper.callers) == 0)
        with keyed.connect("operator") as client:
            assert client.stats()


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_a_machine_with_many_addresses_counts_as_one(address: str, counts_as: str) -> None:
    assert neighbours(address) == counts_as


def test_a_number_that_is_told_late_by_another_socket_means_another_connection_by_now() -> None:
    """Each socket tells of its connections by itself, and the system gives a number again at once."""
    callers = Callers(10, lambda user: user)
    held, other = socket.socketpair()
    with held, other:
        assert callers.accepted("news", held.fileno()) and len(callers) == 1
        callers.closed(held.fileno(), "worker")
        assert len(callers) == 1
        callers.closed(held.fileno(), "news")
        assert len(callers) == 0


def test_who_does_not_say_who_he_is_is_cut(tmp_path: Path) -> None:
    with keyed_broker(tmp_path, text="handshake_timeout = 0.2") as keyed:
        host, _, port = keyed.broker.client.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as silent:
            while silent.recv(1024):
                pass  # libzmq's greeting, and then the end


def test_a_key_has_so_many_connections(keyed: Keyed) -> None:
    keyed.new("few", role="client", connections_max=2)
    with keyed.connect("few") as one, keyed.connect("few") as two:
        assert one.ask("zmws.hello") and two.ask("zmws.hello")
        with keyed.connect("few", connect_timeout=0.4) as three, pytest.raises(BrokerUnreachable):
            three.ask("zmws.hello")
        assert one.ask("zmws.hello") and two.ask("zmws.hello")


def test_who_subscribes_without_end_is_cut_and_what_it_held_is_given_back(keyed: Keyed) -> None:
    """Libzmq needs eighty bytes for each of a topic, so a viewer could fill the broker's memory."""
    server = keyed.broker.server
    with keyed.connect("viewer") as viewer, zmq.Context() as context, context.socket(zmq.XSUB) as greedy:
        greedy.setsockopt(zmq.LINGER, 0)
        secure(greedy, keyed.keys["viewer"])
        with watched(greedy) as monitor:
            greedy.connect(keyed.broker.news)
            assert seen(monitor, zmq.Event.HANDSHAKE_SUCCEEDED, 5_000)
            for n in range(600):
                greedy.send(b"\x01%d" % n + b"x" * 900)
            assert seen(monitor, zmq.Event.DISCONNECTED, 5_000), "it was not cut"
        wait_until(lambda: counted(keyed, "connections_cut_for_their_topics") == 1)
        greedy.disconnect(keyed.broker.news)
        wait_until(lambda: len(server.doorkeeper.subscriptions) == 0)
        assert not server.node.broker.turn.news_wanted and viewer.stats()


def test_whoever_sends_a_message_of_which_nothing_says_who_sent_it_may_nothing(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a user is whoever comes to a socket that asks for no key, and he may everything."""
    with keyed.connect("client", connect_timeout=0.4, reconnect_timeout=0.5) as client:
        assert client.ask("zmws.hello")
        monkeypatch.setattr("zmws.sockets.user_of", lambda frame: "")
        with pytest.raises((Refused, BrokerUnreachable)):
            client.ask("zmws.purge", {"service": "IMG-A"})


# ---------------------------------------------------------------- the start


def settings_of(folder: Path, text: str) -> Any:
    file = folder / "etc" / "zmws.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return load(file, environ={})


OPEN = '[broker]\nclient = "tcp://0.0.0.0:7000"\n'


def test_an_address_that_others_reach_needs_a_key_or_the_word_insecure(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="'zmws keys init' makes one"):
        doorways(settings_of(tmp_path, OPEN))
    with pytest.raises(StartFailed, match=r"security\.curve is off"):
        doorways(settings_of(tmp_path, f'{OPEN}[security]\ncurve = "off"\n'))
    found = doorways(settings_of(tmp_path, f"{OPEN}[security]\ninsecure = true\n"))
    assert found["client"].key is None
    write_keys(tmp_path / "etc" / "keys", {})
    found = doorways(settings_of(tmp_path, OPEN))
    assert found["client"].key is not None and found["worker"].key is None, "that one is on the loopback"
    assert doorways(settings_of(tmp_path, '[security]\ncurve = "on"\n'))["worker"].key is not None
    assert doorways(settings_of(tmp_path, ""))["client"].key is None


def test_a_socket_that_asks_nobody_and_is_open_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "zmws.toml"
    file.parent.mkdir()
    file.write_text("[security]\ninsecure = true\n")
    with broker_in_thread(file=file) as broker:
        broker.server._host.insecure = ("client",)
        with broker.connect() as client:
            (warning,) = client.ask("zmws.warnings")
    assert warning["code"] == "insecure" and "zmws keys init" in warning["next"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_is_refused_at_each_start(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "etc" / "keys"
    write_keys(folder, {"shop": {"role": "client"}})
    known = settings_of(tmp_path, OPEN)
    for name in ("broker", "shop"):
        (folder / f"{name}.key").chmod(mode)
        with pytest.raises((SettingsError, StartFailed), match=f"chmod 600 .*{name}.key"):
            keys_in_files(known)
            doorways(known)
        (folder / f"{name}.key").chmod(0o600)
    folder.chmod(0o750)
    with pytest.raises(SettingsError, match="chmod 700"):
        keys_in_files(known)
    folder.chmod(0o700)
    assert [row.name for row in keys_in_files(known)] == ["shop"]
