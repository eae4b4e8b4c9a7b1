"""What one key tried with what is another's: each of these once worked."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.core.test_keys import CLIENT, OPERATOR, TENANT, Keyed
from zmws.wire import mdp

OTHER = {"rights": {"submit": ("F",)}}


def request(name: str, **options: Any) -> list[bytes]:
    return [mdp.MDPC02, b"\x01", name.encode(), b"OPTS-JSON: " + json.dumps(options).encode()]


@pytest.mark.parametrize("verb", ["cancel", "job", "wait", "events", "why", "family"])
def test_a_job_that_is_made_while_it_is_looked_up_is_not_the_one_that_was_asked_for(verb: str) -> None:
    scene = Keyed({"A": OTHER, "B": CLIENT})
    assert scene.node.recovered
    scene.hold = True
    scene.receive("client", "A", [mdp.MDPC02, b"\x01", f"zmws.{verb}".encode(), b'{"id": "x"}'])
    scene.receive("client", "B", request("E", id="x", delay=1000))
    scene.hold = False
    scene.settle()
    assert scene.answer("A")[0] == 404
    assert scene.job("x").state == "scheduled"
    assert scene.ask(f"zmws.{verb}", "A", id="x")[0] == 403


def ended(scene: Keyed, name: str, job_id: str, result: bytes = b"genuine") -> None:
    scene.submits(name, id=job_id)
    scene.ready("W")
    scene.final("W", scene.token("W"), b"COMPLETE", result)


def test_no_memory_job_stands_before_anothers_record() -> None:
    scene = Keyed({"A": CLIENT, "B": CLIENT, "F": OTHER})
    ended(scene, "B", "order-7")
    assert scene.submits("A", id="order-7", durability="memory")["code"] == "id_conflict"
    assert scene.submits("F", "F", id="order-7", durability="memory")["code"] == "id_conflict"
    scene.receive("client", "A", [*request("SYNC-E", id="order-7"), b"x"])
    assert scene.told("A")["code"] == "id_conflict"
    result = scene.ask("zmws.job", "B", id="order-7")[1]["result"]
    assert base64.b64decode(result["base64"]) == b"genuine"
    assert scene.submits("A", id="free", durability="memory")["durability"] == "memory"
    millis = f"{int(scene.core.turn.wall * 1000):012x}"
    drawn = f"{millis[:8]}-{millis[8:]}-7abc-8def-0123456789ab"
    scene.receive("client", "A", [*request("SYNC-E", id=drawn), b"x"])
    assert drawn in scene.core.held.memory, "an id that a client has just drawn is not looked up"


def test_of_a_memory_job_that_has_ended_nothing_is_told_where_a_stored_one_has_its_id() -> None:
    scene = Keyed({"A": TENANT | {"group": "evil"}, "B": TENANT, "O": OPERATOR})
    scene.submits("A", id="x", durability="memory", delay=9)
    scene.ask("zmws.cancel", "A", id="x")
    assert not scene.submits("B", id="x", delay=9)["existing"]
    assert scene.ask("zmws.job", "B", id="x")[1]["state"] == "scheduled"
    assert scene.ask("zmws.cancel", "B", id="x")[0] == 200


FEW = CLIENT | {"waiting_max": 2}


def test_what_is_under_way_is_unfinished_too() -> None:
    many: list[list[Any]] = [[{"service": "E"}] * 50, [{"chain": [{"service": "E"}]}] * 50]
    for items in many:
        scene = Keyed({"C": FEW})
        told = scene.asked("zmws.submit", items, "C")[1]
        assert sum("code" not in one for one in told) == 2 == scene.core.keys.unfinished_of("C")
    scene = Keyed({"C": FEW, "O": OPERATOR})
    assert scene.node.recovered
    scene.hold = True
    for _ in range(50):
        scene.receive("client", "C", request("E", delay=9))
    scene.hold = False
    scene.settle()
    assert scene.core.keys.unfinished_of("C") == 2
    scene.ask("zmws.cancel", "O", all=True)
    assert scene.core.keys.unfinished_of("C") == 0


def test_batches_count_for_who_has_opened_them() -> None:
    scene = Keyed({"C": FEW})
    for n in range(9):
        scene.ask("zmws.open", "C", id=f"b{n}", then={"service": "E", "delay": 9})
    assert len(scene.core.held.open_batches) == 2
    for n in range(9):
        scene.ask("zmws.close", "C", id=f"b{n}")
        scene.ask("zmws.open", "C", id=f"c{n}", then={"service": "E", "delay": 9})
    assert scene.core.keys.unfinished_of("C") + len(scene.core.held.open_batches) == 2


def test_strict_peers_are_bound_by_limits_though_their_requests_are_kept() -> None:
    for limit in ({"waiting_max": 2}, {"rate": 2.0}):
        scene = Keyed({"A": CLIENT | limit, "B": CLIENT}, max_waiting=1)
        scene.receive("client", "B", [mdp.MDPC02, b"\x01", b"SYNC-E", b"x"])
        for _ in range(20):
            scene.receive("mdp", "A", [mdp.MDPC02, b"\x01", b"E", b"x"])
        scene.ready("W", slots=30)
        assert len(scene.requests("W")) == 1 + 2, limit


def test_nobody_makes_what_is_for_schedules() -> None:
    scene = Keyed({"A": CLIENT, "O": OPERATOR})
    for options in ({"id": "cron:n:1"}, {"unique": "cron:n"}):
        told = scene.submits("A", **options)
        assert told["code"] == "bad_option" and "schedules" in told["error"]
    scene.ask("zmws.schedule", "O", do="add", name="n", service="E", every=60, overlap="skip")
    scene.pass_time(61)
    assert scene.core.schedules.rows["n"].fired == 1


def test_a_refusal_is_for_who_was_refused_alone() -> None:
    scene = Keyed({"A": CLIENT | {"rate": 1.0}, "B": CLIENT})
    scene.submits("A")
    scene.hold = True
    for name in ("A", "B"):
        scene.receive("client", name, request("E", id="order-7", delay=9))
    scene.hold = False
    scene.settle()
    assert scene.told("A")["code"] == "rate_limited"
    assert not scene.told("B")["existing"] and scene.job("order-7").submitter == "B"


def test_a_repeat_is_no_new_job_and_uses_no_rate() -> None:
    for limit in ({"waiting_max": 1}, {"rate": 0.01}):
        scene = Keyed({"C": CLIENT | limit})
        assert not scene.submits("C", unique="u", delay=99)["existing"]
        assert scene.submits("C", unique="u", delay=99)["existing"], limit
    scene = Keyed({"C": CLIENT | {"rate": 5.0}, "O": OPERATOR})
    scene.submits("C", id="a", delay=99)
    scene.ask("zmws.cancel", "O", id="a")
    scene.pass_time(5)
    for _ in range(5):
        assert scene.submits("C", id="a")["existing"]
    assert "code" not in scene.submits("C")


def test_what_follows_a_tenants_job_is_its_own() -> None:
    tenant = TENANT | {"rights": {"submit": ("*",), "look": ("*",)}}
    scene = Keyed({"A": tenant})
    scene.submits("A", id="a", on_complete="E")
    scene.ready("W")
    more = b'JOBS-JSON: [{"service": "E", "group": "other"}]'
    frames = [mdp.MDPW02, mdp.W_FINAL, scene.token("W"), b"", b"COMPLETE", more]
    scene.receive("worker", "W", frames)
    follow = [job for job in scene.core.held.stored.values() if job.parent == "a"]
    assert [(job.group, job.submitter) for job in follow] == [("acme", "A")] * 2
    assert all(scene.ask("zmws.job", "A", id=job.id)[0] == 200 for job in follow)


def test_lanes_are_for_who_may_look_at_all() -> None:
    scene = Keyed({"V": {"rights": {"look": ("E",)}}, "O": OPERATOR})
    scene.ready("W", "E", services={"E": {}, "F": {}})
    assert scene.ask("zmws.lanes", "V", service="E")[0] == 403
    assert scene.ask("zmws.lanes", "O", service="E")[0] == 200


def test_unfinished_jobs_are_counted_as_the_store_would_count_them() -> None:
    """Whatever happens to them: refused, there already, revived, followed."""
    scene = Keyed({"C": CLIENT | {"waiting_max": 6, "rate": 50.0}, "O": OPERATOR, "WORKER-W": OPERATOR})
    scene.ready("WORKER-W")
    for n in range(60):
        name = f"j{n % 7}"
        if n % 5 == 0:
            scene.ask("zmws.cancel", "O", id=name)
        elif n % 5 == 1:
            scene.ask("zmws.retry", "O", id=name)
        elif n % 5 == 2:
            scene.ask("zmws.delete", "O", id=name)
        elif n % 5 == 3:
            scene.submits("C", id=name, delay=5, unique=f"u{n % 3}", on_failed="F")
        else:
            scene.submits("C", id=name, delay=n % 4, retries=0)
        scene.pass_time(n % 3)
        counted = scene.core.keys.unfinished_of("C")
        scene.restart()
        assert scene.core.keys.unfinished_of("C") == counted, n
        scene.ready("WORKER-W")


@pytest.mark.parametrize("asker", ["G", "L"])
def test_nobody_speaks_for_a_token_that_is_revoked(asker: str) -> None:
    """The gateway learns of it a second later; and it may do more than the token might."""
    gateway = {"rights": dict.fromkeys(("submit", "operate", "look", "speak_for"), ("*",))}
    scene = Keyed({"G": gateway, "O": OPERATOR, "t": CLIENT | {"kind": "token"}})
    scene.ask("zmws.open", "O", id="b")
    assert "code" not in scene.submits(asker, by="t")
    scene.ask("zmws.key", "O", do="revoke", name="t")
    for options in ({}, {"batch": "b"}):
        assert scene.submits(asker, by="t", **options)["code"] == "not_allowed"
    for by in ("t", "t (http)"):
        assert scene.ask("zmws.open", asker, by=by)[0] == 403
        chain = [{"chain": [{"service": "E"}], "by": by}]
        assert scene.asked("zmws.submit", chain, asker)[1][0]["code"] == "not_allowed"
    assert not scene.core.held.stored.keys() - {job.id for job in scene.core.held.waiting()}


def test_nothing_is_kept_of_who_has_opened_a_batch() -> None:
    scene = Keyed({"O": OPERATOR})
    for n in range(5):
        scene.ask("zmws.open", "L", by=f"somebody {n}")
    assert not scene.core.desk._batching._openers


def test_who_may_submit_to_all_services_lists_what_he_can_name_and_others_their_own() -> None:
    scene = Keyed({"C": CLIENT, "ALL": {"rights": {"submit": ("*",)}}, "SOME": CLIENT})
    scene.asked("zmws.submit", [{"chain": [{"service": "E", "delay": 9}], "id": "c"}], "C")
    seen = {name: len(scene.ask("zmws.jobs", name, chain="c")[1]["jobs"]) for name in ("C", "ALL", "SOME")}
    assert seen == {"C": 1, "ALL": 1, "SOME": 0}
    assert scene.ask("zmws.jobs", "ALL")[1]["jobs"] == [], "without a name his own, of which there is none"
