"""Each role, each verb, with the right for all services and for some: over real sockets allowed, or refused
with what is missing. What is expected stands here, and not in the program's own table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.keyed import Keyed, keyed_broker
from zmws.client import Client
from zmws.core.desk.permits import NEEDS
from zmws.core.desk.questions import QUESTIONS
from zmws.errors import Refused

ROLES = ("client", "worker", "viewer", "operator", "gateway")
ALL, SOME = "all", "some"  # whose right is for "*", and for "IMG-*"
INSIDE, OUTSIDE = "IMG-A", "EMAIL"
LOOKS = frozenset({"viewer", "operator", "gateway"})
FOLLOWS = LOOKS | {"client"}
SUBMITS = frozenset({"client", "operator", "gateway"})
WORKS = frozenset({"worker", "operator", "gateway"})
OPERATES = frozenset({"operator", "gateway"})
EVERYBODY = frozenset(ROLES)


class Cell(NamedTuple):
    """What is asked of one service; {S} stands for it, {J} for a job of it, {T} for a token of another."""

    verb: str
    asked: dict[str, Any]
    roles: frozenset[str]


OF_A_SERVICE = (
    Cell("zmws.job", {"id": "{J}"}, FOLLOWS),
    Cell("zmws.wait", {"id": "{J}", "timeout": 0}, FOLLOWS),
    Cell("zmws.events", {"id": "{J}"}, FOLLOWS),
    Cell("zmws.why", {"id": "{J}"}, FOLLOWS),
    Cell("zmws.service", {"service": "{S}"}, FOLLOWS),
    Cell("zmws.peek", {"service": "{S}"}, LOOKS),
    Cell("zmws.series", {"service": "{S}"}, LOOKS),
    Cell("zmws.failures", {"service": "{S}"}, LOOKS),
    Cell("zmws.retry", {"service": "{S}", "dry_run": True}, OPERATES),
    Cell("zmws.delete", {"service": "{S}", "dry_run": True}, OPERATES),
    Cell("zmws.cancel", {"id": "{J}", "dry_run": True}, OPERATES),
    Cell("zmws.retry", {"id": "{J}", "dry_run": True}, OPERATES),
    Cell("zmws.delete", {"id": "{J}", "dry_run": True}, OPERATES),
    Cell("zmws.stack", {"id": "{J}", "timeout": 0}, OPERATES),
    Cell("zmws.copy", {"id": "{J}", "delay": 1000}, OPERATES),
    Cell("zmws.pause", {"service": "{S}"}, OPERATES),
    Cell("zmws.resume", {"service": "{S}"}, OPERATES),
    Cell("zmws.purge", {"service": "{S}X"}, OPERATES),
    Cell("zmws.limit", {"service": "{S}", "max_running": 5}, OPERATES),
    Cell("zmws.forget", {"service": "{S}X"}, OPERATES),
    Cell("zmws.drain", {"service": "{S}"}, OPERATES),
    Cell("zmws.mark", {"service": "{S}", "text": "deploy"}, OPERATES),
    Cell("zmws.lease", {"service": "{S}X", "lease": "l"}, WORKS),
    Cell("zmws.extend", {"token": "{J}/1/x", "seconds": 1}, WORKS),
    Cell("zmws.report", {"token": "{J}/1/x", "kind": "release"}, WORKS),
)
OF_ALL = (
    Cell("zmws.batches", {}, LOOKS),
    Cell("zmws.schedules", {}, LOOKS),
    Cell("zmws.stats", {}, LOOKS),
    Cell("zmws.metrics", {}, LOOKS),
    Cell("zmws.warnings", {}, LOOKS),
    Cell("zmws.series", {}, LOOKS),
    Cell("zmws.failures", {}, LOOKS),
    Cell("zmws.lanes", {}, LOOKS),
    Cell("zmws.family", {"id": f"of-{INSIDE}"}, FOLLOWS),
    Cell("SERVER-JOBS", {}, LOOKS),
    Cell("SERVER-ACTIVE", {}, LOOKS),
    Cell("SERVER-HIST", {}, LOOKS),
    Cell("SERVER-WORKERS", {}, LOOKS),
    Cell("zmws.drain", {"worker": "nobody"}, OPERATES),
    Cell("zmws.mark", {"text": "deploy"}, OPERATES),
    Cell("zmws.schedule", {"do": "pause", "name": "none"}, OPERATES),
    Cell("zmws.acted", {"verb": "start", "on": "x", "by": "x"}, OPERATES),
    Cell("zmws.audit", {}, OPERATES),
    Cell("zmws.keys", {}, OPERATES),
    Cell("zmws.key", {"do": "revoke", "name": "nobody"}, OPERATES),
)
OF_NOTHING = (
    Cell("zmws.hello", {}, EVERYBODY),
    Cell("zmws.services", {}, FOLLOWS),
    Cell("zmws.workers", {}, LOOKS),
    Cell("zmws.batch", {"id": "none"}, FOLLOWS),
    Cell("zmws.open", {}, SUBMITS),
    Cell("zmws.close", {"id": "none"}, SUBMITS),
)
# For all, or for a service; and who may submit may do it with his own, of whatever service.
OR_OWN = (
    Cell("zmws.jobs", {}, LOOKS),
    Cell("zmws.jobs", {"service": "{S}"}, LOOKS),
    Cell("zmws.cancel", {"all": True, "dry_run": True}, OPERATES),
    Cell("zmws.cancel", {"service": "{S}", "dry_run": True}, OPERATES),
)
SUBMITTED = ("zmws.submit",)  # one by one, below


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """With a job of each service, and a key of each role for all services and for some."""
    keys: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        keys[f"{role}-{ALL}"] = {"role": role}
        keys[f"{role}-{SOME}"] = {"role": role, "services": ("IMG-*",)}
    with keyed_broker(tmp_path_factory.mktemp("rights"), keys) as running:
        with running.connect("operator") as client:
            for service in (INSIDE, OUTSIDE):
                client.submit(service, id=f"of-{service}", delay=3600)
        yield running


@pytest.fixture(scope="module")
def clients(keyed: Keyed) -> Iterator[dict[str, Client]]:
    made = {name: keyed.connect(name) for name in keyed.keys}
    yield made
    for client in made.values():
        client.close()


def filled(asked: dict[str, Any], service: str) -> dict[str, Any]:
    return {
        name: value.replace("{S}", service).replace("{J}", f"of-{service}")
        if isinstance(value, str)
        else value
        for name, value in asked.items()
    }


def refusal(client: Client, verb: str, asked: dict[str, Any]) -> str | None:
    """The text of a `not_allowed`; None for any other answer."""
    body = json.dumps(asked).encode()
    answer = client._connection.request(verb, True, {}, (body,), 10.0).result(10)
    frames = answer.body
    if frames and frames[0] == b"403":
        told = json.loads(frames[1])
        assert told["code"] == "not_allowed"
        return str(told["error"])
    assert frames[0] != b"500", frames
    return None


def test_every_verb_of_the_broker_is_in_the_tables_above() -> None:
    verbs = {cell.verb for cell in (*OF_A_SERVICE, *OF_ALL, *OF_NOTHING, *OR_OWN)} | {*SUBMITTED}
    assert verbs == {
        *QUESTIONS,
        "zmws.submit",
        "SERVER-JOBS",
        "SERVER-ACTIVE",
        "SERVER-HIST",
        "SERVER-WORKERS",
    }
    assert NEEDS.keys() == verbs


@pytest.mark.parametrize("cell", OF_A_SERVICE, ids=lambda cell: f"{cell.verb} {json.dumps(cell.asked)}")
def test_a_verb_about_one_service(clients: dict[str, Client], cell: Cell) -> None:
    for role, scope, service in itertools.product(ROLES, (ALL, SOME), (INSIDE, OUTSIDE)):
        name = f"{role}-{scope}"
        allowed = role in cell.roles and (scope == ALL or service == INSIDE)
        text = refusal(clients[name], cell.verb, filled(cell.asked, service))
        assert (text is None) == allowed, (name, service, text)
        if text is not None:
            assert name in text and "right" in text and service in text, text


@pytest.mark.parametrize("cell", OF_ALL, ids=lambda cell: f"{cell.verb} {json.dumps(cell.asked)}")
def test_a_verb_about_all_services(clients: dict[str, Client], cell: Cell) -> None:
    for role, scope in itertools.product(ROLES, (ALL, SOME)):
        name = f"{role}-{scope}"
        text = refusal(clients[name], cell.verb, cell.asked)
        assert (text is None) == (role in cell.roles and scope == ALL), (name, text)
        if text is not None:
            assert name in text and "for" in text and "right" in text, text


@pytest.mark.parametrize("cell", OF_NOTHING, ids=lambda cell: cell.verb)
def test_a_verb_about_no_certain_service(clients: dict[str, Client], cell: Cell) -> None:
    for role, scope in itertools.product(ROLES, (ALL, SOME)):
        name = f"{role}-{scope}"
        text = refusal(clients[name], cell.verb, cell.asked)
        assert (text is None) == (role in cell.roles), (name, text)


@pytest.mark.parametrize("cell", OR_OWN, ids=lambda cell: f"{cell.verb} {json.dumps(cell.asked)}")
def test_a_verb_about_many_jobs_is_about_ones_own_where_no_right_is_for_more(
    clients: dict[str, Client], cell: Cell
) -> None:
    for role, scope, service in itertools.product(ROLES, (ALL, SOME), (INSIDE, OUTSIDE)):
        name = f"{role}-{scope}"
        whole = role in cell.roles and (scope == ALL or ("service" in cell.asked and service == INSIDE))
        asked = filled(cell.asked, service)
        text = refusal(clients[name], cell.verb, asked)
        assert (text is None) == (whole or role in SUBMITS), (name, service, text)
        if text is None and cell.verb == "zmws.jobs" and not whole:
            rows = clients[name].ask("zmws.jobs", asked)["jobs"]
            assert all(clients["operator"].job(row["id"]).status()["submitter"] == name for row in rows)


@pytest.mark.parametrize("sync", [False, True])
def test_a_job_is_submitted_by_who_may(clients: dict[str, Client], sync: bool) -> None:
    for role, scope, service in itertools.product(ROLES, (ALL, SOME), (INSIDE, OUTSIDE)):
        client = clients[f"{role}-{scope}"]
        allowed = role in SUBMITS and (scope == ALL or service == INSIDE)
        try:
            if sync:
                client.call(service, timeout=0.01)
            else:
                client.submit(service, delay=3600)
            told = ""
        except Refused as wrong:
            told = f"{wrong.code} {wrong}"
        except Exception as wrong:
            told = "" if "within" in str(wrong) or "in time" in str(wrong) else repr(wrong)
        assert (told == "") == allowed, (role, scope, service, told)
        if told:
            assert told.startswith("not_allowed") and "'submit'" in told and service in told


def test_each_of_many_is_looked_at_and_each_service_that_it_names(clients: dict[str, Client]) -> None:
    client = clients[f"client-{SOME}"]
    one, two = {"service": INSIDE, "delay": 3600}, {"service": OUTSIDE, "delay": 3600}
    told = client.submit_many([one, two, {**one, "on_failed": OUTSIDE}, {**one, "on_complete": INSIDE}])
    assert [getattr(each, "code", None) for each in told] == [None, "not_allowed", "not_allowed", None]
    for items in ([{"chain": [one, {"service": OUTSIDE}]}], [{"chain": [two]}]):
        (verdict,) = client.submit_many(items)
        assert isinstance(verdict, Refused) and verdict.code == "not_allowed"
    (chain,) = client.submit_many([{"chain": [one, {"service": INSIDE}]}])
    assert not isinstance(chain, Refused)
    with pytest.raises(Refused, match="no right 'submit' for the service 'EMAIL'"):
        client.ask("zmws.open", {"then": {"service": OUTSIDE}})
    assert client.ask("zmws.open", {"then": {"service": INSIDE}})["id"]


def test_a_batch_is_of_who_has_opened_it_and_of_who_has_the_right_for_all_services(
    clients: dict[str, Client],
) -> None:
    for role, scope in itertools.product(ROLES, (ALL, SOME)):
        client = clients[f"{role}-{scope}"]
        batch = clients[f"client-{SOME}"].ask("zmws.open", {})["id"]
        whole = scope == ALL or client is clients[f"client-{SOME}"]
        added = client.submit_many([{"service": INSIDE, "batch": batch, "delay": 3600}])[0]
        assert isinstance(added, Refused) != (role in SUBMITS and whole), (role, scope)
        for verb, roles in (("zmws.batch", FOLLOWS), ("zmws.open", SUBMITS), ("zmws.close", SUBMITS)):
            text = refusal(client, verb, {"id": batch})
            assert (text is None) == (role in roles and whole), (role, scope, verb)
            assert text is None or ("right" in text and client is not clients["operator"]), text


def test_a_list_shows_what_a_key_may_see(clients: dict[str, Client]) -> None:
    for role in ("client", "viewer", "operator"):
        rows = clients[f"{role}-{SOME}"].services()
        assert [row["service"] for row in rows] == [INSIDE]
        assert {row["service"] for row in clients[f"{role}-{ALL}"].services()} == {INSIDE, OUTSIDE}


def test_who_submitted_a_job_may_cancel_it_and_no_other_client(clients: dict[str, Client]) -> None:
    job = clients[f"client-{SOME}"].submit(INSIDE, delay=3600)
    with pytest.raises(Refused, match="no right 'operate'"):
        clients[f"client-{ALL}"].job(job.id).cancel()
    job.cancel()
    assert job.status()["state"] == "cancelled"


def test_the_name_of_who_acts_is_that_of_his_key_and_nobody_speaks_for_another(
    clients: dict[str, Client],
) -> None:
    clients[f"operator-{SOME}"].ask("zmws.pause", {"service": INSIDE, "by": "somebody else"})
    clients[f"gateway-{ALL}"].ask("zmws.resume", {"service": INSIDE, "by": "ann (http)"})
    with pytest.raises(Refused):
        clients[f"viewer-{ALL}"].ask("zmws.pause", {"service": INSIDE, "by": "operator"})
    entries = clients["operator"].ask("zmws.audit", {"limit": 3})["entries"]
    told = [(one["by"], one["verb"], one["outcome"], one["detail"]["from"]) for one in entries]
    assert told == [
        (f"viewer-{ALL}", "pause", "not_allowed", f"viewer-{ALL} at 127.0.0.1"),
        ("ann (http)", "resume", "done", f"gateway-{ALL} at 127.0.0.1"),
        (f"operator-{SOME}", "pause", "done", f"operator-{SOME} at 127.0.0.1"),
    ]
    assert "somebody" not in json.dumps(entries)


def test_a_key_without_a_right_for_a_socket_does_not_come_in(keyed: Keyed, tmp_path: Path) -> None:
    from zmws.errors import BrokerUnreachable

    client = Client(keyed.broker.worker, key=keyed.keys[f"viewer-{ALL}"], connect_timeout=0.5)
    with client, pytest.raises(BrokerUnreachable, match=f"refuses the key 'viewer-{ALL}'"):
        client.stats()
