"""The OpenAPI document: it names every door, it is valid, and the gateway keeps to it (schemathesis)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from tests.gateway.stand import TOKENS, Gateway, gateway
from zmws import WorkerBase
from zmws.core.options import JOB_OPTIONS
from zmws.gateway import doors
from zmws.gateway.openapi import document
from zmws.gateway.openapi_schemas import SCHEMAS
from zmws.testing import RunningBroker, broker_in_thread, worker_in_thread

WHERE = "/api/v1/openapi.json"
TOLD = {
    "type": "object",
    "properties": {"to": {"$ref": "#/$defs/Address"}, "next": {"$ref": "#"}},
    "$defs": {"Address": {"type": "string", "title": "Where to"}},
}


class Typed(WorkerBase):
    service_name = "TYPED"

    def work(self, job_id: str, params: dict[str, int]) -> Any:
        return params


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


def operations(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The operations by path and method."""
    return {
        (path, method.upper()): operation
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    }


def expected() -> dict[tuple[str, str], Any]:
    """The roles of each door by path and method, as doors.py has them."""
    found = {}
    for door in (*doors.FIXED.values(), *doors.BY_PATTERN, doors.OLD):
        paths = ["/{service}", "/SYNC-{service}"] if door is doors.OLD else [door.path]
        for path in paths:
            for method, (_, roles) in door.methods.items():
                found[path, method] = None if roles is None else [*roles, "operator"]
    return {at: roles for at, roles in found.items() if not at[0].startswith("/ui")}


# ---------------------------------------------------------------- the document


def test_it_names_every_door_and_every_method_and_no_other() -> None:
    told = operations(document("", True, {}, "zmws-0"))
    assert set(told) == set(expected())


def test_it_names_the_roles_that_a_door_is_for() -> None:
    told = operations(document("", True, {}, "zmws-0"))
    assert {at: operation.get("x-roles") for at, operation in told.items()} == expected()
    for operation in told.values():
        assert ("x-roles" in operation) != (operation.get("security") == [])
        assert all(role in operation["description"] for role in operation.get("x-roles", []))


def test_it_is_valid_openapi_3_1_with_the_schemas_of_workers_too() -> None:
    told = document("/jobs", True, {"MAIL": TOLD, "é{a}": {"type": "integer"}, "e__a_": {}}, "zmws-0")
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(told)))
    schema.validate()
    assert all(hasattr(found, "ok") for found in schema.get_all_operations())
    ids = [operation["operationId"] for operation in operations(told).values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere() -> None:
    told = document("", False, {"MAIL": TOLD}, "zmws-0")

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for one in value.values():
                yield from references(one)
        elif isinstance(value, list):
            for one in value:
                yield from references(one)

    for at in set(references(told)):
        found = told
        for name in at.removeprefix("#/").split("/"):
            found = found[name]
    assert told["components"]["schemas"]["params.MAIL"]["properties"]["to"] == {
        "$ref": "#/components/schemas/params.MAIL/$defs/Address"
    }


def test_a_service_of_the_name_of_a_door_changes_no_door() -> None:
    told = document("", True, {"healthz": TOLD}, "zmws-0")
    assert told["paths"]["/healthz"] == document("", True, {}, "zmws-0")["paths"]["/healthz"]
    assert "/SYNC-healthz" in told["paths"]


def test_the_options_of_a_job_are_those_of_the_table() -> None:
    for name in ("JobOptions", "NewJob", "JobChanges"):
        fields = SCHEMAS[name]["properties"]
        assert set(JOB_OPTIONS) <= set(fields)
        for option, row in JOB_OPTIONS.items():
            assert row.help in fields[option]["description"]
    priority, ttr = (SCHEMAS["JobOptions"]["properties"][name] for name in ("priority", "ttr"))
    assert (priority["minimum"], priority["maximum"]) == (-1000, 1000) and ttr["exclusiveMinimum"] == 0


# ---------------------------------------------------------------- over HTTP


@contextlib.contextmanager
def running(
    folder: Path, *kinds: type[WorkerBase], **changes: Any
) -> Iterator[tuple[RunningBroker, Gateway]]:
    """A broker and a gateway for one test alone."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_in_thread(store=f"sqlite:{folder / 'zmws.db'}"))
        for kind in kinds:
            stack.enter_context(worker_in_thread(kind, broker))
        yield broker, stack.enter_context(gateway(broker, folder, **changes))


def test_what_a_worker_told_of_its_parameters_is_in_it(tmp_path: Path) -> None:
    with running(tmp_path, Typed) as (_, http), http.client() as ask:
        shown = ask.get("/api/v1/services/TYPED").json()["params"]
        told = ask.get(WHERE).json()
        schema = told["components"]["schemas"]["params.TYPED"]
        assert shown == {name: value for name, value in schema.items() if name != "title"}
        assert schema["additionalProperties"] == {"type": "integer"}
        for path in ("/TYPED", "/SYNC-TYPED"):
            body = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            assert body == {"schema": {"$ref": "#/components/schemas/params.TYPED"}}
        assert told["security"][0] == {}, "there is no token"


def test_without_a_broker_what_the_gateway_knows_is_told_all_the_same(tmp_path: Path) -> None:
    with gateway("tcp://127.0.0.1:9", tmp_path) as http, http.client() as ask:
        answer = ask.get(WHERE)
        assert answer.status_code == 200 and answer.json() == document("", False, {}, "zmws-0")


def test_its_server_is_where_the_visitor_asks_and_a_token_is_needed_if_there_is_one(tmp_path: Path) -> None:
    roles = {"her": "viewer"}
    with gateway("tcp://127.0.0.1:9", tmp_path, roles, root_path="/jobs") as http:
        with http.client(TOKENS["her"]) as ask:
            told = ask.get(WHERE).json()
        with http.client() as ask:
            assert ask.get(WHERE).status_code == 401
    assert told["servers"] == [{"url": "/jobs"}]
    assert told["security"] == [{"token": []}, {"cookie": []}]


def test_lists_and_records_have_the_fields_that_it_names(tmp_path: Path) -> None:
    with running(tmp_path, Echo) as (_, http), http.client() as ask:
        made = ask.post("/api/v1/jobs", json={"service": "ECHO"}, headers={"prefer": "wait=10"}).json()
        schedule = {"name": "s", "service": "ECHO", "every": 3600}
        opened = ask.post("/api/v1/batches", json={"jobs": [{"service": "ECHO"}]}).json()
        answers = {
            "OpenedBatch": opened,
            "Batch": ask.get(f"/api/v1/batches/{opened['id']}").json(),
            "AcceptedChain": ask.post("/api/v1/chains", json={"chain": [{"service": "ECHO"}]}).json(),
            "Schedule": ask.post("/api/v1/schedules", json=schedule).json(),
            "Job": made,
            "JobRow": ask.get("/api/v1/jobs").json()["jobs"][0],
            "ServiceRow": ask.get("/api/v1/services").json()[0],
            "Service": ask.get("/api/v1/services/ECHO").json(),
            "Worker": ask.get("/api/v1/workers").json()[0],
            "Home": ask.get("/").json(),
        }
        for name, answer in answers.items():
            assert set(answer) == set(SCHEMAS[name]["properties"]), name


# ---------------------------------------------------------------- schemathesis

# 501, 503 and 504 are told in the document; 500 is never right here, where no job fails. What is accepted
# depends on what there is. Of many jobs each has its own verdict: a wrong one is no wrong request.
RULES = """
[checks]
positive_data_acceptance.enabled = false
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "501", "503", "504"]

[[operations]]
include-path = "/api/v1/jobs/many"
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/api/v1/batches/{id}/jobs"
checks.negative_data_rejection.enabled = false

[[operations]]
include-path = "/api/v1/batches"
checks.negative_data_rejection.enabled = false
"""


def schemathesis_says(http: Gateway, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run it against a gateway; not the events, which are streams without end."""
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(rules), "run", http.url + WHERE]
    command += ["--header", f"Authorization: Bearer {TOKENS['all']}", "--exclude-path-regex", "/events$"]
    command += [
        "--seed",
        "1",
        "--generation-deterministic",
        "--max-examples",
        "8",
        "--no-shrink",
        "--no-color",
    ]
    command += ["--request-timeout", "10", "--workers", "1", *more]
    environment = {**os.environ, "NO_PROXY": "*", "COLUMNS": "100"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.timeout(180)
def test_the_gateway_keeps_to_it_whatever_is_asked(tmp_path: Path) -> None:
    bounds = {"sync_timeout": 0.3, "wait_max": 0.02}
    with running(tmp_path, Echo, roles={"all": "operator"}, **bounds) as (_, http):
        run = schemathesis_says(http, tmp_path)
        assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
        with http.client(TOKENS["all"]) as ask:
            assert ask.get("/readyz").status_code == 200


# ---------------------------------------------------------------- what came out so


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that needs a token, with ECHO behind it."""
    folder = tmp_path_factory.mktemp("closed")
    with running(folder, Echo, roles={"all": "operator"}) as (_, http):
        yield http


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/jobs", {"service": "ECHO", "id": ""}),
        ("/jobs", {"service": "ECHO", "id": []}),
        ("/jobs/kept/copy", {"id": ""}),
        ("/jobs/kept/copy", {"service": ""}),
        ("/jobs/delete", {"state": "complete", "before": ""}),
        ("/jobs/cancel", {"state": ""}),
        ("/services/ECHO/lease", {"lease": ""}),
        ("/services/ECHO/lease", {"lease": []}),
    ],
)
def test_what_is_empty_is_not_taken_for_what_is_not_given(closed: Gateway, path: str, sent: Any) -> None:
    with closed.client(TOKENS["all"]) as ask:
        ask.post("/api/v1/jobs", json={"service": "ECHO", "id": "kept"})
        answer = ask.post(f"/api/v1{path}", json=sent)
        assert answer.status_code == 400, answer.text
        assert isinstance(answer.json().get("id", ""), str)


def test_an_empty_service_names_no_job_and_not_all(closed: Gateway) -> None:
    with closed.client(TOKENS["all"]) as ask:
        ask.post("/api/v1/jobs", json={"service": "ECHO"}, headers={"prefer": "wait=10"})
        filtered = {"service": "", "state": "complete", "dry_run": True}
        assert ask.post("/api/v1/jobs/delete", json=filtered).json()["count"] == 0


def test_a_null_service_of_a_copy_is_not_given(closed: Gateway) -> None:
    with closed.client(TOKENS["all"]) as ask:
        ask.post("/api/v1/jobs", json={"service": "ECHO", "id": "again"})
        answer = ask.post("/api/v1/jobs/again/copy", json={"service": None})
        assert answer.status_code == 202 and answer.json()["service"] == "ECHO"


def test_an_empty_key_is_refused_also_where_the_lease_has_an_id_of_its_own(closed: Gateway) -> None:
    with closed.client(TOKENS["all"]) as ask:
        headers = {"idempotency-key": ""}
        answer = ask.post("/api/v1/services/ECHO/lease", json={"lease": "mine"}, headers=headers)
        assert answer.status_code == 400


def test_among_many_a_job_that_json_cannot_hold_is_the_askers_fault(closed: Gateway) -> None:
    sent = {"content": b'[{"service":"ECHO","params":NaN}]', "headers": {"content-type": "application/json"}}
    with closed.client(TOKENS["all"]) as ask:
        (verdict,) = ask.post("/api/v1/jobs/many", **sent).json()
        assert (verdict["status"], verdict["code"]) == (400, "bad_params")


@pytest.mark.parametrize("token", ["\\ud800", "x"])
def test_a_login_with_no_token_is_401_and_says_how_to_come_in(closed: Gateway, token: str) -> None:
    body = f'{{"token": "{token}"}}'.encode()
    with closed.client() as ask:
        answer = ask.post("/login", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 401 and "Bearer" in answer.headers["www-authenticate"]


def test_a_token_in_the_address_is_not_taken(closed: Gateway) -> None:
    with closed.client() as ask:
        answer = ask.post("/login", params={"token": TOKENS["all"]})
        assert answer.status_code == 400 and "set-cookie" not in answer.headers


@pytest.mark.parametrize("until", [b"\xb2", b"9" * 5_000])
def test_a_cookie_whose_time_is_no_number_is_none(closed: Gateway, until: bytes) -> None:
    with closed.client() as ask:
        answer = ask.get("/api/v1/jobs", headers={"cookie": b"zmws-0=all." + until + b".x"})
        assert answer.status_code == 401


def test_a_job_that_was_accepted_is_told_so_though_nobody_more_may_wait(tmp_path: Path) -> None:
    with running(tmp_path, Echo, streams_max=0) as (_, http), http.client() as ask:
        answer = ask.post("/api/v1/jobs", json={"service": "ECHO"}, headers={"prefer": "wait=10"})
        assert answer.status_code == 202 and "preference-applied" not in answer.headers
        assert ask.get(f"{answer.headers['location']}").json()["id"] == answer.json()["id"]


def test_one_connection_too_many_is_told_of_as_all_problems_are(tmp_path: Path) -> None:
    with gateway("tcp://127.0.0.1:9", tmp_path, connections_max=1) as http, http.client() as ask:
        assert ask.get("/healthz").status_code == 200  # and the connection is kept
        head, _, body = http.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503") and b"retry-after" in head
        assert set(SCHEMAS["Problem"]["required"]) <= set(json.loads(body))
