"""Tokens are keys of the broker's list: made there, known here within a second, each with rights for services
and for a group (zmws/gateway/tokens.py, rights.py)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import TOKENS, Gateway, Stream, gateway
from tests.gateway.test_api_jobs import problem
from tests.peers import wait_until
from zmws import WorkerBase
from zmws.client import Client
from zmws.core.key import Key
from zmws.core.options import service_options
from zmws.core.rows import KeyRow
from zmws.errors import BrokerUnreachable, JobTimeout, Refused, SettingsError, ZmwsError
from zmws.gateway.rights import check_question
from zmws.gateway.tokens import Tokens, Who, hash_of
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

API = "/api/v1"
INSIDE, OUTSIDE = "IMG-A", "EMAIL"


class Echo(WorkerBase):
    service_name = INSIDE

    def work(self, job_id: str, params: Any) -> Any:
        return params


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    services = {name: service_options({}) for name in (INSIDE, OUTSIDE)}
    with broker_in_thread(services=services) as running, worker_in_thread(Echo, running):
        with running.connect() as client:
            client.submit(OUTSIDE, id="outside", delay=3600)
            client.submit(INSIDE, id="inside", delay=3600)
            client.submit(INSIDE, id="of-g", delay=3600, group="g")
        yield running


@pytest.fixture(scope="module")
def http(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With a token of each role, for IMG-* alone; and one of a group."""
    with gateway(broker, tmp_path_factory.mktemp("tokens")) as running:
        for role, right in (("client", "submit"), ("worker", "work"), ("viewer", "look")):
            TOKENS[f"{role}-some"] = running.tokens.new(f"{role}-some", role=role, rights={right: ["IMG-*"]})
        four = {right: ["IMG-*"] for right in ("submit", "work", "look", "operate")}
        TOKENS["operator-some"] = running.tokens.new("operator-some", role="operator", rights=four)
        two = {"submit": ["*"], "look": ["*"]}
        TOKENS["tenant"] = running.tokens.new("tenant", rights=two, group="g")
        TOKENS["slow"] = running.tokens.new("slow", role="client", rate=1.0)
        yield running


CELLS: tuple[tuple[str, str, dict[str, Any] | None, frozenset[str]], ...] = (
    ("POST", "/jobs", {"service": "{S}", "delay": 3600}, frozenset({"client", "operator"})),
    ("POST", "/{S}", None, frozenset({"client", "operator"})),
    ("GET", "/jobs/{J}", None, frozenset({"client", "viewer", "operator"})),
    ("GET", "/jobs/{J}/result", None, frozenset({"client", "viewer", "operator"})),
    ("GET", "/jobs/{J}/why", None, frozenset({"client", "viewer", "operator"})),
    ("GET", "/services/{S}", None, frozenset({"client", "viewer", "operator"})),
    ("GET", "/services/{S}/peek", None, frozenset({"viewer", "operator"})),
    ("GET", "/services/{S}/series", None, frozenset({"viewer", "operator"})),
    ("GET", "/services/{S}/failures", None, frozenset({"viewer", "operator"})),
    ("PATCH", "/services/{S}", {"paused": False}, frozenset({"operator"})),
    ("POST", "/services/{S}/purge", {}, frozenset({"operator"})),
    ("POST", "/jobs/retry", {"service": "{S}", "dry_run": True}, frozenset({"operator"})),
    ("POST", "/jobs/{J}/copy", {"delay": 3600}, frozenset({"operator"})),
    ("POST", "/services/{S}/lease", {}, frozenset({"worker", "operator"})),
    ("POST", "/leases/extend", {"token": "{J}/1/x", "seconds": 1}, frozenset({"worker", "operator"})),
    ("POST", "/leases/report", {"token": "{J}/1/x", "kind": "release"}, frozenset({"worker", "operator"})),
    ("POST", "/batches", {"then": {"service": "{S}"}}, frozenset({"client", "operator"})),
    ("POST", "/chains", {"chain": [{"service": "{S}", "delay": 3600}]}, frozenset({"client", "operator"})),
)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]} {cell[1]}")
def test_a_door_about_one_service(http: Gateway, cell: Any) -> None:
    method, path, body, roles = cell
    for role in ("client", "worker", "viewer", "operator"):
        for service, job in ((INSIDE, "inside"), (OUTSIDE, "outside")):
            fill = lambda text: text.replace("{S}", service).replace("{J}", job)  # noqa: B023, E731
            where = fill(path) if path == "/{S}" else f"{API}{fill(path)}"
            sent = None if body is None else json.loads(fill(json.dumps(body)))
            with http.client(TOKENS[f"{role}-some"]) as ask:
                answer = ask.request(method, where, json=sent)
            allowed = role in roles and service == INSIDE
            assert (answer.status_code == 403) == (not allowed), (role, service, answer.text)
            if role in roles and not allowed:
                assert "no right" in answer.json()["detail"] and service in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        *("/jobs", "/stats", "/series", "/lanes", "/failures", "/warnings", "/batches", "/schedules"),
        *("/events", "/jobs/inside/family", "/events?service=EMAIL"),
    ],
)
def test_what_shows_all_services_is_not_for_who_may_look_at_some(http: Gateway, path: str) -> None:
    with http.client(TOKENS["viewer-some"]) as ask:
        assert problem(ask.get(f"{API}{path}")) == (403, "not_allowed")


@pytest.mark.parametrize("path", ["/ui/", "/ui/jobs", "/ui/system", "/metrics", "/SERVER-JOBS"])
def test_the_pages_are_for_who_may_look_at_all(http: Gateway, path: str) -> None:
    with http.client(TOKENS["operator-some"]) as ask:
        assert ask.get(path).status_code == 403


def test_a_list_shows_what_a_token_may_see(http: Gateway) -> None:
    for role in ("client", "viewer"):
        with http.client(TOKENS[f"{role}-some"]) as ask:
            assert [row["service"] for row in ask.get(f"{API}/services").json()] == [INSIDE]


def test_a_stream_of_a_job_is_for_who_may_follow_it(http: Gateway) -> None:
    with http.client(TOKENS["client-some"]) as ask:
        assert problem(ask.get(f"{API}/jobs/outside/events")) == (403, "not_allowed")
        with ask.stream("GET", f"{API}/jobs/inside/events") as answer:
            assert answer.status_code == 200


def test_of_many_each_is_looked_at(http: Gateway) -> None:
    with http.client(TOKENS["client-some"]) as ask:
        jobs = [
            {"service": INSIDE, "delay": 9},
            {"service": OUTSIDE},
            {"service": INSIDE, "on_failed": OUTSIDE},
        ]
        told = ask.post(f"{API}/jobs/many", json=jobs).json()
    assert [one.get("code") for one in told] == [None, "not_allowed", "not_allowed"]


def test_a_tenant_makes_and_sees_jobs_of_its_group_alone(http: Gateway, broker: RunningBroker) -> None:
    with http.client(TOKENS["tenant"]) as ask, broker.connect() as client:
        made = ask.post(f"{API}/jobs", json={"service": INSIDE, "delay": 3600}).json()["id"]
        assert client.job(made).status()["group"] == "g"
        for body in ({"service": INSIDE, "group": "h"},):
            assert problem(ask.post(f"{API}/jobs", json=body)) == (403, "not_allowed")
        shown = {job["id"] for job in ask.get(f"{API}/jobs").json()["jobs"]}
        assert {made, "of-g"} <= shown and "inside" not in shown
        assert ask.get(f"{API}/jobs/of-g").status_code == 200
        assert problem(ask.get(f"{API}/jobs/inside")) == (403, "not_allowed")
        assert problem(ask.get(f"{API}/jobs?group=h")) == (403, "not_allowed")


def test_a_copy_is_of_the_tokens_group_and_needs_the_right_to_submit(
    http: Gateway, broker: RunningBroker
) -> None:
    operate = {right: ["*"] for right in ("look", "operate")}
    TOKENS["boss"] = http.tokens.new("boss", rights=operate)
    TOKENS["boss-g"] = http.tokens.new("boss-g", rights={**operate, "submit": ["*"]}, group="g")
    with http.client(TOKENS["boss"]) as ask:
        assert problem(ask.post(f"{API}/jobs/inside/copy", json={"delay": 9})) == (403, "not_allowed")
    with http.client(TOKENS["boss-g"]) as ask, broker.connect() as client:
        assert problem(ask.post(f"{API}/jobs/of-g/copy", json={"group": "h"})) == (403, "not_allowed")
        assert problem(ask.post(f"{API}/jobs/inside/copy", json={"delay": 9})) == (403, "not_allowed")
        made = ask.post(f"{API}/jobs/of-g/copy", json={"delay": 3600}).json()["id"]
        assert client.job(made).status()["group"] == "g"


def test_a_question_does_not_leave_while_nobody_can_tell_of_which_service_its_job_is() -> None:
    """What is not known is not allowed."""

    class Deaf:
        def __init__(self, fault: Exception) -> None:
            self.fault = fault

        async def ask(self, service: str, question: Any) -> Any:
            raise self.fault

    who = Who("some", Key(KeyRow(name="some", kind="token", proof="", role=None, rights={"operate": ("A",)})))
    for fault in (BrokerUnreachable("away"), Refused("too_many_waits", "full"), JobTimeout("late")):
        with pytest.raises(type(fault)):
            asyncio.run(check_question(Deaf(fault), who, "zmws.cancel", {"id": "j"}))  # type: ignore[arg-type]
    gone = Deaf(Refused("unknown_job", "there is none"))
    with pytest.raises(Refused, match="there is no job"):  # or it is asked for once it is another's
        asyncio.run(check_question(gone, who, "zmws.cancel", {"id": "j"}))  # type: ignore[arg-type]
    asyncio.run(check_question(gone, who, "zmws.report", {"token": "j/1/x"}))  # type: ignore[arg-type]


# ---------------------------------------------------------------- from the broker


def new_token(client: Client, name: str, **given: Any) -> str:
    token = f"zmws_{name}"
    asked = {"do": "new", "name": name, "kind": "token", "proof": hash_of(token), **given}
    client.ask("zmws.key", asked)
    return token


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Gateway, Client]]:
    """A gateway that has its tokens from its broker, and a client of that."""
    with (
        broker_in_thread(services={INSIDE: service_options({})}) as broker,
        broker.connect() as client,
        gateway(broker, tmp_path, tokens=Tokens) as running,
    ):
        yield running, client


def test_a_token_is_known_within_a_second_and_none_when_it_is_revoked(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    with http.client() as nobody:
        assert nobody.get(f"{API}/services").status_code == 200, "there is none: everybody may everything"
        token, other = (new_token(client, name, role="viewer") for name in ("a", "b"))
        begun = time.monotonic()
        wait_until(lambda: nobody.get(f"{API}/services").status_code == 401)
        assert time.monotonic() - begun < 3.0
    with http.client(token) as ask, http.client(other) as still:
        assert ask.get(f"{API}/services").status_code == 200
        client.ask("zmws.key", {"do": "revoke", "name": "a"})
        wait_until(lambda: ask.get(f"{API}/services").status_code == 401)
        assert still.get(f"{API}/services").status_code == 200
        client.ask("zmws.key", {"do": "change", "name": "b", "role": "worker"})
        wait_until(lambda: still.get(f"{API}/services").status_code == 403)


def test_who_revokes_the_last_token_opens_nothing(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    token = new_token(client, "only", role="viewer")
    with http.client(token) as ask, http.client() as nobody:
        wait_until(lambda: nobody.get(f"{API}/services").status_code == 401)
        client.ask("zmws.key", {"do": "revoke", "name": "only"})
        wait_until(lambda: ask.get(f"{API}/services").status_code == 401)
        assert nobody.get(f"{API}/services").status_code == 401


def test_a_stream_and_a_wait_end_with_their_token(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    job = client.submit(INSIDE, delay=3600)
    with http.client() as nobody:
        open_to_all = Stream(nobody, f"{API}/jobs/{job.id}/events")
        assert open_to_all.next()[0] == "state"
        token, _ = (new_token(client, name, role="operator") for name in ("a", "b"))
        assert ends_soon(open_to_all), "there is a token now, and it came in without one"
    with http.client(token) as ask:
        stream = Stream(ask, f"{API}/jobs/{job.id}/events")
        assert stream.next()[0] == "state"
        client.ask("zmws.key", {"do": "revoke", "name": "a"})
        assert ends_soon(stream)
    wait_until(lambda: not http.desk.serving and not http.desk.revoked and not http.desk.streams)


def test_limits_of_a_token_are_the_brokers_and_429_beyond_them(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    slow = new_token(client, "slow", role="client", rate=1)
    few = new_token(client, "few", role="client", waiting_max=1)
    with http.client(slow) as ask, http.client(few) as other:
        known_to(http, ask, other)
        answers = [ask.post(f"/{INSIDE}") for _ in range(3)]
        assert answers[0].status_code == 202 and problem(answers[-1]) == (429, "rate_limited")
        assert answers[-1].headers["retry-after"] == "1"
        assert other.post(f"{API}/jobs", json={"service": INSIDE}).status_code == 202
        item = {"service": INSIDE}
        assert problem(other.post(f"{API}/jobs", json=item)) == (429, "queue_full")
        assert problem(other.post(f"{API}/chains", json={"chain": [item]})) == (429, "queue_full")
        told = other.post(f"{API}/jobs/many", json=[item]).json()
        assert [one["code"] for one in told] == ["queue_full"]
        assert problem(other.post(f"{API}/batches", json={"then": item})) == (429, "queue_full")
    by_name = {row["name"]: row["unfinished"] for row in client.ask("zmws.keys")["keys"]}
    assert (by_name["slow"], by_name["few"]) == (1, 1)


def test_a_token_cancels_the_jobs_that_it_has_submitted_and_no_others(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    mine, other = (new_token(client, name, role="client") for name in ("mine", "other"))
    with http.client(mine) as ask, http.client(other) as nosy:
        known_to(http, ask, nosy)
        job = ask.post(f"{API}/jobs", json={"service": INSIDE, "delay": 3600}).json()["id"]
        assert problem(nosy.post(f"{API}/jobs/{job}/cancel")) == (403, "not_allowed")
        assert ask.get(f"{API}/jobs/{job}").json()["submitter"] == "mine"
        assert ask.post(f"{API}/jobs/{job}/cancel").status_code == 200
        theirs = client.submit(INSIDE, delay=3600).id
        assert problem(ask.post(f"{API}/jobs/{theirs}/cancel")) == (403, "not_allowed")
        assert problem(ask.post(f"{API}/jobs/{job}/retry"))[0] == 403
        job = ask.post(f"{API}/jobs", json={"service": INSIDE, "delay": 3600}).json()["id"]
        assert [one["id"] for one in nosy.get(f"{API}/jobs").json()["jobs"]] == []
        assert job in [one["id"] for one in ask.get(f"{API}/jobs?service={INSIDE}").json()["jobs"]]
        assert problem(nosy.get(f"{API}/jobs?submitter=mine"))[0] == 403
        assert nosy.post(f"{API}/jobs/cancel", json={"service": INSIDE}).json()["count"] == 0
        assert ask.post(f"{API}/jobs/cancel", json={"all": True}).json()["count"] == 1
        assert client.job(theirs).status()["state"] == "scheduled"


def test_a_client_waits_for_its_chain_and_batch_and_cancels_them(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    mine, other = (
        new_token(client, name, role="client", services=[INSIDE, OUTSIDE]) for name in ("mine", "other")
    )
    with http.client(mine) as ask, http.client(other) as nosy:
        known_to(http, ask, nosy)
        step = {"service": INSIDE, "delay": 3600}
        ask.post(f"{API}/chains", json={"id": "c", "chain": [step, step]})
        ask.post(f"{API}/batches", json={"id": "b", "jobs": [step, step]})
        for kin, count in (("chain", 1), ("batch", 2)):
            assert len(ask.get(f"{API}/jobs?{kin}={kin[0]}").json()["jobs"]) == count
            assert nosy.get(f"{API}/jobs?{kin}={kin[0]}").json()["jobs"] == []
        assert len(ask.get(f"{API}/jobs/c:1/family").json()["jobs"]) == 1
        assert problem(nosy.get(f"{API}/jobs/c:1/family"))[0] == 403
        assert problem(nosy.post(f"{API}/batches/b/cancel"))[0] == 403
        assert problem(nosy.post(f"{API}/chains/c/cancel"))[0] == 404
        assert ask.post(f"{API}/chains/c/cancel").json()["count"] == 1
        assert ask.post(f"{API}/batches/b/cancel").json()["count"] == 2


def test_a_batch_is_of_the_token_that_has_opened_it_or_of_its_tenant(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    some = {"role": "client", "services": [INSIDE]}
    tenant = {"rights": {"submit": ["*"], "look": ["*"]}, "group": "acme"}
    names = {"a": some, "b": some, "all": {"role": "client"}, "t1": tenant, "t2": tenant}
    names["t3"] = tenant | {"group": "evil"}
    asks = {name: http.client(new_token(client, name, **given)) for name, given in names.items()}
    known_to(http, *asks.values())
    for opener, allowed in (("a", {"a", "all"}), ("t1", {"t1", "t2", "all"})):
        batch = asks[opener].post(f"{API}/batches", json={}).json()
        assert batch["group"] == ("acme" if opener == "t1" else None)
        for name, ask in asks.items():
            door = f"{API}/batches/{batch['id']}"
            fits = name in allowed
            assert (ask.get(door).status_code == 200) == fits, (opener, name)
            again = ask.post(f"{API}/batches", json={"id": batch["id"]})
            assert (again.status_code in (200, 201)) == fits, (opener, name, again.text)
            job = {"service": INSIDE, "delay": 3600}
            one = ask.post(f"{API}/jobs", json=job | {"batch": batch["id"]})
            assert (one.status_code == 202) == fits, (opener, name, one.text)
            assert (ask.post(f"{door}/jobs", json=[job]).status_code == 200) == fits, (opener, name)
        for name in sorted(asks, key=lambda name: name in allowed):
            closed = asks[name].post(f"{API}/batches/{batch['id']}/close")
            assert (closed.status_code == 200) == (name in allowed), (opener, name)
    for ask in asks.values():
        ask.close()


def test_unique_keys_of_a_tenant_are_its_own(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    tenant = {"rights": {"submit": ["*"], "look": ["*"]}}
    asks = [http.client(new_token(client, name, **tenant, group=name)) for name in ("acme", "evil")]
    known_to(http, *asks)
    job = {"service": INSIDE, "delay": 3600, "unique": "x"}
    answers = [ask.post(f"{API}/jobs", json=job) for ask in (*asks, *asks)]
    assert [one.status_code for one in answers] == [202, 202, 200, 200]
    assert asks[0].get(f"{API}/jobs/{answers[0].json()['id']}").json()["unique"] == "acme/x"
    told = asks[1].post(f"{API}/jobs", json={"service": INSIDE, "id": answers[0].json()["id"]})
    assert problem(told) == (409, "id_conflict")
    for ask in asks:
        ask.close()


def known_to(http: Gateway, *tokens: httpx.Client) -> None:
    """Wait until the gateway asks for a token, and knows these."""
    with http.client() as nobody:
        wait_until(lambda: nobody.get(f"{API}/services").status_code == 401)
    for ask in tokens:
        wait_until(lambda ask=ask: ask.get(f"{API}/services").status_code != 401)  # type: ignore[misc]


def test_what_is_one_tokens_is_not_anothers(alone: tuple[Gateway, Client]) -> None:
    """Leases, asks, follow-ups, Idempotency-Keys: for the broker they all come from the gateway."""
    http, client = alone
    some = {"rights": {"work": [INSIDE], "submit": [INSIDE]}}
    names = {"own": {"role": "client"}, "w1": some, "w2": some}
    asks = {name: http.client(new_token(client, name, **given)) for name, given in names.items()}
    own, w1, w2 = asks.values()
    known_to(http, *asks.values())

    def lease(ask: httpx.Client, **given: Any) -> httpx.Response:
        return ask.post(f"{API}/services/{INSIDE}/lease", json=given)

    def report(worker: httpx.Client, token: str, **given: Any) -> httpx.Response:
        return worker.post(f"{API}/leases/report", json={"token": token, **given})

    own.post(f"{API}/batches", json={"id": "nightly"})
    assert problem(w1.post(f"{API}/jobs", json={"service": INSIDE, "batch": "nightly"})) == (
        403,
        "not_allowed",
    )
    client.submit(INSIDE, id="j1", retries=0)
    enqueue = [{"service": INSIDE, "batch": "nightly"}]
    report(w1, lease(w1).json()["token"], kind="complete", enqueue=enqueue)
    assert client.job("j1").status()["error"]["code"] == "bad_follow_up"
    assert own.get(f"{API}/batches/nightly").json()["total"] == 0

    client.submit(INSIDE, id="j2")
    mine = lease(w1, lease="mine").json()
    assert problem(lease(w2, lease="mine")) == (409, "id_conflict")
    assert lease(w1, lease="mine").json()["token"] == mine["token"]
    client.submit(INSIDE, id="j3")
    other = lease(w2).json()
    for ask, token in ((w1, mine["token"]), (w2, other["token"])):
        assert report(ask, token, kind="progress", done=0.1, ask="1").status_code == 200

    job = {"service": INSIDE, "delay": 99}
    hashed = "ik-" + "0" * 64
    assert problem(w1.post(f"{API}/jobs", json=job | {"id": hashed})) == (403, "not_allowed")
    with_key = {"idempotency-key": "order"}
    assert own.post(f"{API}/jobs", json=job, headers=with_key).status_code == 202
    client.submit_many([job | {"id": "w1:order", "by": "own"}])
    assert problem(w1.post(f"{API}/jobs", json=job, headers=with_key)) == (409, "id_conflict")

    client.ask("zmws.key", {"do": "revoke", "name": "w1"})
    wait_until(lambda: client.job("j2").status()["state"] == "waiting")
    assert client.job("j3").status()["state"] == "running"
    for ask in asks.values():
        ask.close()


def test_a_gateway_that_is_told_of_no_tokens_is_not_ready(alone: tuple[Gateway, Client]) -> None:
    http, _ = alone
    with http.client() as ask:
        assert ask.get("/readyz").status_code == 200

        def refuses() -> Any:
            raise Refused("not_allowed", "its key has no right")

        http.desk.learn_tokens = refuses
        wait_until(lambda: ask.get("/readyz").status_code == 503)
        assert problem(ask.get("/readyz")) == (503, "no_tokens")


def test_a_refusal_by_the_gateway_is_in_the_audit_and_so_many_of_them(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    with http.client(new_token(client, "v", role="operator", services=[INSIDE])) as ask:
        known_to(http, ask)
        for _ in range(65):
            assert problem(ask.post(f"{API}/services/{OUTSIDE}/purge"))[0] == 403
    entries = client.ask("zmws.audit", {"limit": 100})["entries"]
    refused = [(one["by"], one["verb"], one["on"]) for one in entries if one["outcome"] == "not_allowed"]
    assert refused == [("v (http)", "purge", OUTSIDE)] * 60


def ends_soon(stream: Stream) -> bool:
    begun = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        stream.all()
    return time.monotonic() - begun < 3.0


def test_a_login_ends_with_its_token_and_outlasts_the_gateway(tmp_path: Path) -> None:
    with broker_in_thread(services={INSIDE: service_options({})}) as broker, broker.connect() as client:
        token, _ = (new_token(client, name, role="viewer") for name in ("a", "b"))
        with gateway(broker, tmp_path, tokens=Tokens) as http, http.client() as ask:
            name = http.desk.guard.cookie
            assert ask.post("/login", data={"token": token}).status_code == 303
            cookie = ask.cookies[name]
        with gateway(broker, tmp_path, tokens=Tokens) as http, http.client() as ask:
            ask.headers["cookie"] = f"{http.desk.guard.cookie}={cookie}"
            assert ask.get(f"{API}/services").status_code == 200
            client.ask("zmws.key", {"do": "revoke", "name": "a"})
            wait_until(lambda: ask.get(f"{API}/services").status_code == 401)


def test_as_long_as_the_broker_has_told_nothing_nobody_comes_in(tmp_path: Path) -> None:
    with gateway("tcp://127.0.0.1:1", tmp_path, tokens=Tokens) as http, http.client() as ask:
        assert ask.get("/healthz").status_code == 200
        assert problem(ask.get(f"{API}/services")) == (503, "no_broker")
        assert problem(ask.post(f"/{INSIDE}")) == (503, "no_broker")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_of_logins_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    Tokens(tmp_path / "t")
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    Tokens(tmp_path / "t")
    (tmp_path / "t").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        Tokens(tmp_path / "t")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tokens": {}}', '{"key": "x"}', '{"key": "aa"}'])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    (tmp_path / "t").chmod(0o600)
    with pytest.raises(SettingsError, match="holds no secret of logins"):
        Tokens(tmp_path / "t")


def test_tokens_of_a_file_of_before_are_taken_in(tmp_path: Path) -> None:
    known = {"shop": {"role": "client", "hash": hash_of("zmws_x"), "made_at": "2026-01-01T00:00:00Z"}}
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "tokens.json").write_text(json.dumps({"key": "00" * 32, "tokens": known}))
    (tmp_path / "var" / "tokens.json").chmod(0o600)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "zmws.toml").write_text("")
    with broker_in_thread(file=tmp_path / "etc" / "zmws.toml") as broker, broker.connect() as client:
        (row,) = client.ask("zmws.keys")["keys"]
        assert (row["name"], row["kind"], row["role"]) == ("shop", "token", "client")
        with gateway(broker, tmp_path, tokens=Tokens) as http, http.client("zmws_x") as ask:
            assert ask.get(f"{API}/services").status_code == 200


def test_a_gateway_that_may_not_speak_for_others_lets_nobody_in(tmp_path: Path) -> None:
    """It is not told by what tokens are known, and must not think that there is none."""
    tokens = Tokens(tmp_path / "t")
    row = {"name": "a", "kind": "token", "hash": None, "role": "viewer", "rights": {"look": ["*"]}}
    blank = dict.fromkeys(("group", "rate", "bytes_rate", "revoked_at"))
    tokens.take({"keys": [], "version": "1"})
    assert tokens.is_known and not tokens
    with pytest.raises(ZmwsError, match="no right 'speak_for'"):
        tokens.take({"keys": [{**row, **blank}], "version": "2"})
    assert not tokens.is_known and tokens.version == "1"


def test_a_wait_whose_token_ends_is_answered_401(alone: tuple[Gateway, Client]) -> None:
    http, client = alone
    token, _ = (new_token(client, name, role="operator") for name in ("a", "b"))
    job = client.submit(INSIDE, delay=3600)
    with http.client() as nobody:
        wait_until(lambda: nobody.get(f"{API}/services").status_code == 401)
    with http.client(token) as ask, ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(ask.get, f"{API}/jobs/{job.id}/result?wait=30")
        wait_until(lambda: http.desk.serving)
        client.ask("zmws.key", {"do": "revoke", "name": "a"})
        assert problem(waiting.result(10)) == (401, "no_token")
