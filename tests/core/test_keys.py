"""Keys in the broker: who may do what with which jobs, of which group, and how much (zmws/core/keys.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.options import service_options
from zmws.core.rows import KeyRow
from zmws.core.user import address_of, public_of, user_of
from zmws.wire import mdp

CURVE = "k" * 39


def public(n: int) -> str:
    return f"{CURVE}{n}"


class Keyed(Scene):
    """A scene with keys: the peer of a name is the user of the key of that name."""

    def __init__(self, keys: dict[str, dict[str, Any]], **given: Any) -> None:
        super().__init__(**given)
        self.services["F"] = service_options({})
        self.keys = [self.row(name, n, **key) for n, (name, key) in enumerate(keys.items())]

    def row(self, name: str, n: int, **given: Any) -> KeyRow:
        self.users[name] = user_of(public(n), f"10.0.0.{n}")
        blank: dict[str, Any] = {"kind": "curve", "role": None, "rights": {}, "made_at": 1.0}
        return KeyRow(name=name, proof=public(n), **blank | given)

    def told(self, name: str) -> dict[str, Any]:
        """What a submit of that peer was answered."""
        (frames,) = self.sent.pop(name)
        if frames[-2].startswith(b"FAIL"):
            return dict(json.loads(frames[-1].removeprefix(b"PARAM-JSON: ")))
        return dict(json.loads(frames[-1].removeprefix(b"OPTS-JSON: ")))

    def submits(self, name: str, service: str = "E", **options: Any) -> dict[str, Any]:
        frames = [mdp.MDPC02, b"\x01", service.encode(), b"OPTS-JSON: " + json.dumps(options).encode()]
        self.receive("client", name, frames)
        return self.told(name)


CLIENT = {"rights": {"submit": ("E",)}}
OPERATOR = {"rights": dict.fromkeys(("submit", "work", "look", "operate"), ("*",))}


def test_a_user_is_a_key_and_an_address() -> None:
    user = user_of(public(1), "fe80::1")
    assert (public_of(user), address_of(user)) == (public(1), "fe80::1")


def test_a_job_knows_by_whose_key_it_was_submitted_and_so_does_what_follows() -> None:
    scene = Keyed({"C": CLIENT, "O": OPERATOR, "WORKER-W": {"rights": {"work": ("*",)}}})
    assert not scene.submits("C", id="a")["existing"]
    assert scene.job("a").submitter == "C"
    scene.ready("WORKER-W")
    token = scene.token("WORKER-W")
    scene.receive(
        "worker",
        "WORKER-W",
        [mdp.MDPW02, mdp.W_FINAL, token, b"", b"COMPLETE", b'JOBS-JSON: [{"service": "E"}]'],
    )
    assert scene.ask("zmws.job", "O", id="a")[1]["state"] == "complete"
    (child,) = [job for job in scene.core.held.stored.values() if job.parent == "a"]
    assert child.submitter == "C"


def test_what_is_not_allowed_makes_no_job_and_no_service() -> None:
    scene = Keyed({"C": CLIENT})
    assert scene.submits("C", "F")["code"] == "not_allowed"
    assert scene.submits("C", "NEW")["code"] == "not_allowed"
    scene.receive("mdp", "C", [mdp.MDPC02, b"\x01", b"NEW", b"x"])
    assert b"not_allowed" in scene.sent.pop("C")[0][-1] and "NEW" not in scene.core.held.services
    assert not scene.core.held.stored and not scene.core.held.memory


def test_a_repeat_is_answered_whatever_the_limits_say() -> None:
    scene = Keyed({"C": {**CLIENT, "rate": 1.0, "waiting_max": 5}})
    assert not scene.submits("C", id="a")["existing"]
    assert scene.submits("C", id="b")["code"] == "rate_limited"
    assert scene.submits("C", id="a")["existing"], "it was accepted before"
    scene.pass_time(1.0)
    assert not scene.submits("C", id="b")["existing"]


def test_unfinished_jobs_are_counted_as_they_move() -> None:
    scene = Keyed({"C": {**CLIENT, "waiting_max": 2}, "O": OPERATOR})
    count = scene.core.keys.unfinished_of
    scene.submits("C", id="a", retries=0)
    scene.submits("C", id="b", durability="memory", retries=0)
    assert count("C") == 2 and scene.submits("C", id="c")["code"] == "queue_full"
    scene.ready("W", slots=2)  # (It has no key: on the stage a socket may ask some for one.)
    for job_id in ("a", "b"):
        scene.final("W", scene.core.held.find(job_id).token, b"FAIL")  # type: ignore[union-attr, arg-type]
    assert count("C") == 0
    assert scene.ask("zmws.retry", "O", id="a")[0] == 200 and count("C") == 1
    assert scene.ask("zmws.cancel", "O", id="a")[0] == 200 and count("C") == 0
    scene.submits("C", id="c", expires=1.0, delay=0.5)
    assert count("C") == 1


def test_unfinished_jobs_are_counted_again_after_a_restart() -> None:
    scene = Keyed({"C": {**CLIENT, "waiting_max": 2}, "O": OPERATOR})
    for job_id in ("a", "b"):
        scene.submits("C", id=job_id, delay=3600)
    scene.restart()
    assert scene.core.keys.unfinished_of("C") == 2 and scene.submits("C")["code"] == "queue_full"
    scene.ask("zmws.cancel", "O", id="a")
    assert "code" not in scene.submits("C")


def test_the_jobs_of_a_name_are_its_own_though_its_key_is_another_by_now() -> None:
    scene = Keyed({"C": {**CLIENT, "waiting_max": 2}, "O": OPERATOR})
    for job_id in ("a", "b"):
        scene.submits("C", id=job_id, delay=3600)
    scene.ask("zmws.key", "O", do="revoke", name="C")
    new = {"do": "new", "name": "C", "proof": public(9), "role": "client", "waiting_max": 2}
    assert scene.ask("zmws.key", "O", **new)[1]["unfinished"] == 2
    scene.users["C"] = user_of(public(9), "10.0.0.9")
    assert scene.submits("C")["code"] == "queue_full"
    for job_id in ("a", "b"):
        scene.ask("zmws.cancel", "O", id=job_id)
    assert scene.core.keys.unfinished_of("C") == 0


def test_bytes_count_for_what_was_accepted() -> None:
    scene = Keyed({"C": {**CLIENT, "bytes_rate": 10.0}})
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", b"E", b"x" * 100])
    assert "code" not in scene.told("C")
    assert scene.submits("C")["code"] == "rate_limited"
    scene.pass_time(10.0)
    assert "code" not in scene.submits("C")


# ---------------------------------------------------------------- a group


@pytest.fixture
def tenants() -> Keyed:
    everything = dict.fromkeys(("submit", "look", "operate"), ("*",))
    scene = Keyed(
        {"A": {"rights": everything, "group": "a"}, "B": {"rights": everything, "group": "b"}, "O": OPERATOR}
    )
    scene.submits("A", id="ja", delay=3600)
    scene.submits("B", id="jb", delay=3600)
    return scene


def test_jobs_of_a_tenant_are_of_its_group_whatever_it_says(tenants: Keyed) -> None:
    assert tenants.job("ja").group == "a"
    assert tenants.submits("A", group="b")["code"] == "not_allowed"
    assert "code" not in tenants.submits("A", group="a", delay=3600)
    status, told = tenants.asked("zmws.submit", [{"service": "E"}, {"service": "E", "group": "b"}], "A")
    assert status == 200 and [one.get("code") for one in told] == [None, "not_allowed"]
    chain = {"chain": [{"service": "E", "delay": 9}, {"service": "E"}], "id": "c"}
    _, (told,) = tenants.asked("zmws.submit", [chain], "A")
    job = tenants.job(told["id"])
    assert job.group == "a" and json.loads(job.rest or "")[0]["group"] == "a"
    chain["chain"][1]["group"] = "b"  # type: ignore[index]
    _, (told,) = tenants.asked("zmws.submit", [{**chain, "id": "d"}], "A")
    assert told["code"] == "not_allowed"


def test_a_tenant_sees_its_own_jobs_and_nothing_that_is_about_others_too(tenants: Keyed) -> None:
    assert [job["id"] for job in tenants.ask("zmws.jobs", "A")[1]["jobs"]] == ["ja"]
    assert tenants.ask("zmws.jobs", "A", group="b")[0] == 403
    assert tenants.ask("zmws.job", "A", id="ja")[0] == 200
    for verb in ("job", "events", "cancel", "retry", "delete", "copy", "why"):
        status, told = tenants.ask(f"zmws.{verb}", "A", id="jb")
        assert (status, told["code"]) == (403, "not_allowed"), verb
    told = tenants.ask("zmws.why", "A", id="ja")[1]
    assert (told["ahead"], told["usual"]) == (None, None), "they count others' jobs, too"
    assert tenants.ask("zmws.why", "O", id="ja")[1]["usual"] is not None
    for verb in ("services", "workers", "stats", "metrics", "failures", "series", "audit", "batches", "keys"):
        assert tenants.ask(f"zmws.{verb}", "A")[0] == 403, verb
    for verb in ("pause", "purge", "peek", "series", "failures", "drain", "service"):
        assert tenants.ask(f"zmws.{verb}", "A", service="E")[0] == 403, verb
    status, told = tenants.ask("zmws.cancel", "A", all=True)
    assert status == 200 and told["count"] == 1
    assert tenants.ask("zmws.job", "O", id="jb")[1]["state"] == "scheduled"


def test_a_tenant_is_not_attached_to_anothers_call_of_the_same_id(tenants: Keyed) -> None:
    call = [mdp.MDPC02, b"\x01", b"SYNC-E", b'OPTS-JSON: {"id": "same"}', b"x"]
    for name in ("A", "B"):
        tenants.receive("client", name, call)
    assert tenants.told("B")["code"] == "id_conflict" and not tenants.sent.get("A")
    assert len(tenants.core.held.memory["same"].callers) == 1


def test_a_question_is_repeated_by_who_has_asked_it_and_nobody_else() -> None:
    scene = Keyed({"O": OPERATOR, "P": OPERATOR, "C": CLIENT})
    asked = {"service": "E", "ask": "7"}
    assert scene.ask("zmws.pause", "O", **asked)[0] == 200
    assert scene.ask("zmws.pause", "C", **asked)[0] == 403
    assert scene.ask("zmws.pause", "P", **asked)[0] == 200
    assert [one["by"] for one in scene.ask("zmws.audit", "O")[1]["entries"]] == ["P", "C", "O"]
    assert scene.ask("zmws.pause", "O", **asked)[0] == 200
    assert len(scene.ask("zmws.audit", "O")[1]["entries"]) == 3, "that was a repeat"


def test_the_service_of_a_job_is_looked_up_where_memory_has_it_no_more() -> None:
    scene = Keyed({"C": CLIENT, "O": OPERATOR})
    scene.submits("O", "F", id="f")
    scene.ask("zmws.cancel", "O", id="f")
    assert "f" not in scene.core.held.stored
    status, told = scene.ask("zmws.job", "C", id="f")
    assert status == 403 and "no right 'look' for the service 'F'" in told["error"]
    assert scene.ask("zmws.job", "C", id="none")[0] == 404


# ---------------------------------------------------------------- zmws.key


def test_a_key_is_made_once_and_its_name_is_free_when_it_is_revoked() -> None:
    scene = Keyed({"O": OPERATOR}, limits={"keys_max": 3})
    new = {"do": "new", "name": "shop", "proof": public(7), "role": "client", "services": ["E"]}
    status, row = scene.ask("zmws.key", "O", **new)
    assert (
        status == 200
        and row["rights"] == {"submit": ["E"]}
        and row["by"] == "O"
        and row["public"] == public(7)
    )
    assert scene.ask("zmws.key", "O", **new)[0] == 409
    assert scene.ask("zmws.key", "O", **{**new, "name": "other"})[1]["error"].startswith(
        "this key is the key 'shop'"
    )
    assert scene.ask("zmws.key", "O", do="revoke", name="shop")[1]["revoked_at"]
    assert scene.ask("zmws.key", "O", do="revoke", name="shop")[0] == 404
    assert "was revoked as" in scene.ask("zmws.key", "O", **new)[1]["error"]
    assert scene.ask("zmws.key", "O", **{**new, "proof": public(8)})[0] == 200
    scene.restart()
    assert [row["name"] for row in scene.ask("zmws.keys", "O")[1]["keys"]] == ["O", "shop", "shop~1"]
    assert "was revoked as the key 'shop~1'" in scene.ask("zmws.key", "O", **{**new, "name": "x"})[1]["error"]
    full = scene.ask("zmws.key", "O", **{**new, "name": "third", "proof": public(9)})
    assert (full[0], full[1]["code"]) == (429, "too_many_keys")


def test_a_file_takes_the_place_of_a_key_but_none_of_before_does() -> None:
    scene = Keyed({"O": OPERATOR, "C": CLIENT})
    assert scene.ask("zmws.key", "O", do="revoke", name="C")[0] == 200
    old = scene.keys[1]
    scene.keys = [scene.keys[0], scene.row("C", 5, rights={"submit": ("F",)})]
    scene.restart()
    told = {row["name"]: row for row in scene.ask("zmws.keys", "O")[1]["keys"]}
    assert (
        told["C"]["public"] == public(5) and told["C~1"]["public"] == old.proof and told["C~1"]["revoked_at"]
    )
    assert scene.submits("C", "F", delay=9) and scene.submits("C", "E")["code"] == "not_allowed"
    scene.keys = [scene.keys[0], old]
    scene.restart()
    assert {row["name"]: row["public"] for row in scene.ask("zmws.keys", "O")[1]["keys"]}["C"] == public(5)


def test_the_last_key_that_may_operate_on_everything_is_not_revoked() -> None:
    scene = Keyed({"O": OPERATOR, "P": OPERATOR, "C": CLIENT})
    status, row = scene.ask("zmws.key", "O", do="revoke", name="O")
    assert status == 200 and row["revoked_at"], "it is answered before it is cut"
    assert not scene.cut_keys
    scene.pass_time(0.6)
    assert scene.cut_keys == [public(0)]
    status, told = scene.ask("zmws.key", "P", do="revoke", name="P")
    assert (status, told["code"]) == (409, "not_possible")
    assert scene.ask("zmws.key", "P", do="revoke", name="C")[0] == 200


def test_where_no_key_may_operate_any_of_them_can_be_revoked() -> None:
    scene = Keyed({"C": CLIENT})
    assert scene.ask("zmws.key", "L", do="revoke", name="C")[0] == 200, "somebody on the loopback asks"


def test_a_lease_is_of_its_key_and_of_its_service_and_ends_with_the_key() -> None:
    works = {"rights": {"work": ("*",), "submit": ("*",)}}
    scene = Keyed({"O": OPERATOR, "A": works, "B": works})
    scene.submits("O", id="a")
    status, told = scene.ask("zmws.lease", "A", service="E", lease="l")
    assert status == 200 and told["id"] == "a"
    for name, service in (("B", "E"), ("A", "F"), ("B", "F")):
        assert scene.ask("zmws.lease", name, service=service, lease="l")[1]["code"] == "id_conflict"
    assert scene.ask("zmws.lease", "A", service="F", lease="m", wait=60) is None
    assert scene.ask("zmws.lease", "B", service="E", lease="m")[1]["code"] == "id_conflict"
    scene.ask("zmws.key", "O", do="revoke", name="A")
    assert scene.job("a").state == "waiting" and scene.job("a").failures == 0
    assert scene.ask("zmws.lease", "B", service="E", lease="n")[1]["id"] == "a"


TOKEN = {"do": "new", "name": "t", "kind": "token", "proof": "0" * 64, "role": "viewer"}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"do": "new", "name": "a b", "proof": "x"}, "must be 1 to 64 characters"),
        ({"do": "new", "name": "a", "proof": "x", "role": "client"}, "must be a public key"),
        ({"do": "new", "name": "a", "kind": "token", "proof": public(1), "role": "client"}, "the SHA-256"),
        ({"do": "new", "name": "a", "proof": public(9)}, "needs a 'role'"),
        ({"do": "new", "name": "a", "proof": public(9), "role": "client", "services": [1]}, "no pattern"),
        (
            {
                "do": "new",
                "name": "a",
                "kind": "token",
                "proof": "0" * 64,
                "role": "client",
                "connections_max": 1,
            },
            "is for keys",
        ),
        ({"do": "new", "name": "a", "proof": public(9), "role": "worker", "group": "g"}, "no right 'work'"),
        ({"do": "change", "name": "O", "group": "g"}, "no right 'work'"),
        ({"do": "change", "name": "O"}, "say what to change"),
        ({"do": "change", "name": "O", "proof": public(9)}, "are for 'new'"),
        ({"do": "new", "name": "a", "proof": public(9), "role": "client", "rate": 0}, "a number above 0"),
    ],
)
def test_a_key_that_cannot_be_is_refused(asked: dict[str, Any], text: str) -> None:
    status, told = Keyed({"O": OPERATOR}).ask("zmws.key", "O", **asked)
    assert status == 400 and text in told["error"], told


def test_no_hash_of_a_token_is_told_but_to_who_speaks_for_its_bearer() -> None:
    rights = dict.fromkeys(("submit", "look", "operate", "speak_for"), ("*",))
    scene = Keyed({"O": OPERATOR, "G": {"rights": rights}})
    scene.ask("zmws.key", "O", **TOKEN)
    hashes = {name: scene.ask("zmws.keys", name)[1]["keys"][-1]["hash"] for name in ("O", "G")}
    assert hashes == {"O": None, "G": "0" * 64}
    assert "0" * 64 not in json.dumps(scene.log) and "0" * 64 not in json.dumps(
        scene.ask("zmws.audit", "O")[1]
    )
    version = scene.ask("zmws.keys", "G")[1]["version"]
    assert scene.ask("zmws.keys", "G", unless=version)[1] == {"version": version}
    scene.ask("zmws.key", "O", do="change", name="t", role="operator")
    assert scene.ask("zmws.keys", "G", unless=version)[1]["version"] != version


def test_what_a_revoked_key_still_sends_is_dropped() -> None:
    scene = Keyed({"C": CLIENT, "O": OPERATOR})
    scene.ask("zmws.key", "O", do="revoke", name="C")
    scene.receive("client", "C", [mdp.MDPC02, b"\x01", b"E"])
    assert not scene.sent.get("C") and scene.counted("messages_of_revoked_keys") == 1


def test_a_worker_has_no_follow_up_where_it_may_not_submit() -> None:
    scene = Keyed({"O": OPERATOR, "WORKER-W": {"rights": {"work": ("E",)}}})
    scene.submits("O", id="a", retries=0)
    scene.ready("WORKER-W")
    body = (b"COMPLETE", b'JOBS-JSON: [{"service": "F"}]')
    scene.final("WORKER-W", scene.token("WORKER-W"), *body)
    told = scene.ask("zmws.job", "O", id="a")[1]
    assert told["state"] == "failed" and "no right 'submit' for the service 'F'" in told["error"]["error"]


def test_a_result_is_taken_from_who_may_work_for_its_service_alone() -> None:
    scene = Keyed(
        {"O": OPERATOR, "WORKER-W": {"rights": {"work": ("E",)}}, "WORKER-V": {"rights": {"work": ("F",)}}}
    )
    scene.submits("O", id="a")
    scene.ready("WORKER-W")
    token = scene.token("WORKER-W")
    scene.receive("worker", "WORKER-V", [mdp.MDPW02, mdp.W_FINAL, token, b"", b"x"])
    assert scene.counted("results_not_allowed") == 1 and scene.job("a").state == "running"
    assert scene.ask("zmws.report", "O", token=token.decode(), kind="progress", done=0.5)[0] == 200


# ------------------------------------------------------------ batches


TENANT = {"rights": {"submit": ("*",)}, "group": "acme"}


def opened(scene: Keyed, name: str, batch: str, **more: Any) -> None:
    assert scene.ask("zmws.open", name, id=batch, **more)[0] == 200


def test_a_batch_is_its_openers_and_of_who_may_submit_to_all_services() -> None:
    scene = Keyed({"C": CLIENT, "OTHER": CLIENT, "ALL": {"rights": {"submit": ("*",)}}})
    opened(scene, "C", "b")
    for verb, more in (("batch", {}), ("close", {}), ("open", {})):
        status, told = scene.ask(f"zmws.{verb}", "OTHER", id="b", **more)
        assert (status, told["code"]) == (403, "not_allowed"), verb
    assert scene.submits("OTHER", batch="b")["code"] == "not_allowed"
    assert "'submit' for all services" in scene.ask("zmws.batch", "OTHER", id="b")[1]["error"]
    for name in ("C", "ALL"):
        assert scene.submits(name, batch="b")["durability"]
        assert scene.ask("zmws.batch", name, id="b")[1]["by"] == "C"
    assert scene.ask("zmws.close", "C", id="b")[1]["closed"]
    assert scene.ask("zmws.close", "OTHER", id="b")[0] == 403, "closed it is no other's, either"


def test_a_batch_of_a_tenant_is_of_all_its_keys_and_of_no_others() -> None:
    other = TENANT | {"group": "evil"}
    scene = Keyed({"C": TENANT, "TWIN": TENANT, "OTHER": other})
    opened(scene, "C", "b")
    assert scene.ask("zmws.batch", "TWIN", id="b")[1]["group"] == "acme"
    assert scene.submits("TWIN", batch="b")["durability"]
    assert scene.ask("zmws.batch", "OTHER", id="b")[0] == 403
    assert scene.submits("OTHER", batch="b")["code"] == "not_allowed"
    items = [{"chain": [{"service": "E"}], "batch": "b"}, {"service": "E", "batch": "b"}]
    told = scene.asked("zmws.submit", items, "OTHER")[1]
    assert [one["code"] for one in told] == ["not_allowed", "not_allowed"]
    status, told = scene.ask("zmws.open", "OTHER", group="acme")
    assert (status, told["code"]) == (403, "not_allowed")


def test_whose_a_batch_is_survives_a_restart() -> None:
    scene = Keyed({"C": CLIENT, "OTHER": CLIENT})
    opened(scene, "C", "b")
    scene.restart()
    assert scene.submits("OTHER", batch="b")["code"] == "not_allowed"
    assert scene.submits("C", batch="b")["durability"]


def test_what_follows_a_batch_counts_for_who_has_opened_it() -> None:
    scene = Keyed({"C": CLIENT | {"waiting_max": 1, "rate": 1.0}, "O": OPERATOR})
    opened(scene, "C", "b", then={"service": "E"})
    for _ in range(2):
        status, told = scene.ask("zmws.open", "C", id="c")
        assert (status, told["code"]) == (429, "queue_full"), "those that are open count"
        assert scene.ask("zmws.open", "C", id="b", then={"service": "E"})[1]["existing"]
        scene.restart()
    scene.ask("zmws.close", "C", id="b")
    (follows,) = scene.core.held.stored.values()
    assert (follows.id, follows.submitter) == ("b:then", "C")
    scene.pass_time(10.0)
    assert scene.submits("C")["code"] == "queue_full"


def test_a_worker_of_some_services_adds_to_no_others_batch() -> None:
    worker = {"rights": {"work": ("E",), "submit": ("E",)}}
    for name, fits in ((worker, False), ({"rights": {"work": ("*",)}}, True)):
        scene = Keyed({"C": CLIENT, "WORKER-W": name, "O": OPERATOR})
        opened(scene, "C", "b")
        scene.submits("C", id="a", retries=0)
        scene.ready("WORKER-W")
        end = [scene.token("WORKER-W"), b"", b"COMPLETE", b'JOBS-JSON: [{"service": "E", "batch": "b"}]']
        scene.receive("worker", "WORKER-W", [mdp.MDPW02, mdp.W_FINAL, *end])
        assert (scene.ask("zmws.job", "O", id="a")[1]["state"] == "complete") == fits
        assert scene.ask("zmws.batch", "C", id="b")[1]["total"] == int(fits)


# ------------------------------------------------------------ tenants


def test_unique_keys_of_tenants_are_their_own() -> None:
    scene = Keyed({"C": TENANT, "TWIN": TENANT, "OTHER": TENANT | {"group": "a/b"}})
    assert not scene.submits("C", unique="x")["existing"]
    assert scene.submits("TWIN", unique="x")["existing"]
    assert scene.submits("TWIN", unique="acme/x")["existing"]
    assert not scene.submits("OTHER", unique="x", id="other")["existing"]
    assert scene.job("other").unique == "a%2Fb/x"


def test_of_an_id_that_another_tenant_has_nothing_more_is_told_than_that() -> None:
    scene = Keyed({"C": TENANT, "OTHER": TENANT | {"group": "evil"}, "O": OPERATOR})
    scene.submits("C", id="a")
    scene.ask("zmws.cancel", "O", id="a")
    for options in ({"id": "a"}, {"id": "a", "service": "F"}):
        told = scene.submits("OTHER", **options)
        assert told["code"] == "id_conflict" and "E" not in told["error"].split(), options
    scene.submits("O", unique="evil/x")
    assert scene.submits("OTHER", unique="x")["code"] == "id_conflict"


# ------------------------------------------------------------ on whose behalf


GATEWAY = {"rights": dict.fromkeys(("submit", "work", "look", "operate", "speak_for"), ("*",))}
OF_TENANT = {"kind": "token", "rights": {"submit": ("E",)}, "waiting_max": 1, "group": "acme"}


def test_what_is_submitted_for_a_token_counts_for_that() -> None:
    scene = Keyed({"G": GATEWAY, "tok": OF_TENANT, "C": CLIENT})
    scene.submits("G", id="a", by="tok", group="acme")
    assert scene.job("a").submitter == "tok"
    assert scene.submits("G", by="tok")["code"] == "queue_full"
    for n, more in (("b", {}), ("c", {"by": "nobody"})):
        scene.submits("G", id=n, **more)
        assert scene.job(n).submitter == "G"
    told = scene.submits("C", by="tok")
    assert told["code"] == "not_allowed" and "'speak_for'" in told["error"]
    scene.submits("C", id="d", by="C")
    assert scene.job("d").submitter == "C"
    chain = [{"chain": [{"service": "E"}], "by": "tok"}]
    assert scene.asked("zmws.submit", chain, "G")[1][0]["code"] == "queue_full"
    assert scene.asked("zmws.submit", chain, "C")[1][0]["code"] == "not_allowed"


def test_of_a_job_of_another_group_no_token_is_told() -> None:
    scene = Keyed({"G": GATEWAY, "tok": OF_TENANT | {"waiting_max": None}})
    scene.submits("G", id="a", group="evil")
    assert scene.submits("G", id="a", by="tok", group="acme")["code"] == "id_conflict"


# ------------------------------------------------------------ what is refused


def test_what_a_key_is_refused_does_not_fill_the_audit() -> None:
    scene = Keyed({"V": {"rights": {"look": ("*",)}}, "W": {"rights": {"look": ("*",)}}, "O": OPERATOR})
    scene.limits = replace(scene.limits, audit_refused_max=2)
    scene.restart()

    def refused(times: int) -> list[str]:
        for name in ("V", "W"):
            for _ in range(times):
                assert scene.ask("zmws.pause", name, service="E")[0] == 403
        return [one["by"] for one in scene.ask("zmws.audit", "O")[1]["entries"]]

    assert refused(5) == ["W", "W", "V", "V"]
    assert scene.ask("zmws.stats", "O")[1]["counters"]["refused_acts_not_kept"] == 6
    for _ in range(3):
        assert scene.ask("zmws.pause", "O", service="none")[0] == 404
    scene.pass_time(60.0)
    assert len(refused(1)) == 8, "a new minute; and of the operator there are two"


def test_the_last_operator_cannot_be_made_less_either() -> None:
    for changes in ({"role": "viewer"}, {"rights": {"operate": ["E"]}}):
        scene = Keyed({"O": OPERATOR, "C": CLIENT, "G": GATEWAY})
        status, told = scene.ask("zmws.key", "O", do="change", name="O", **changes)
        assert (status, told["code"]) == (409, "not_possible"), changes
        assert scene.ask("zmws.key", "O", do="change", name="O", rate=5.0)[0] == 200
        assert scene.ask("zmws.key", "O", do="change", name="C", role="operator")[0] == 200
        assert scene.ask("zmws.key", "O", do="change", name="O", **changes)[0] == 200


def test_limits_and_the_group_of_a_key_can_be_taken_away() -> None:
    scene = Keyed({"C": CLIENT | {"rate": 1.0, "group": "g", "waiting_max": 1}, "O": OPERATOR})
    lifted = dict.fromkeys(("rate", "group"))
    row = scene.ask("zmws.key", "O", do="change", name="C", **lifted)[1]
    assert (row["rate"], row["group"], row["waiting_max"]) == (None, None, 1)


def test_who_may_not_look_at_all_is_told_that_no_news_are_for_him() -> None:
    scene = Keyed({"C": CLIENT, "O": OPERATOR})
    assert "'C', which may not look at all services" in scene.ask("zmws.hello", "C")[1]["news_refused"]
    assert scene.ask("zmws.hello", "O")[1]["news_refused"] is None
    assert "news_refused" not in scene.ask("zmws.hello", "L")[1], "nobody was asked"
