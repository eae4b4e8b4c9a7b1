"""A request becomes a job, or is answered why not: limits at their edges, repeats, conflicts, defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene
from tests.store.model import ModelStore
from zmws.core.node import Output
from zmws.core.submission import LET_IN_MAX, LOOK_GAP_S, LOOK_MAX
from zmws.wire import mdp


def said(frames: list[bytes]) -> str:
    """`job`, `again`, or the code of the refusal."""
    if frames[3].startswith(b"JOB:"):
        told = json.loads(frames[4].removeprefix(b"OPTS-JSON: "))
        return "again" if told["existing"] else "job"
    return str(json.loads(frames[4].removeprefix(b"PARAM-JSON: "))["code"])


def many(scene: Scene, *options: dict[str, Any], service: str = "E") -> list[str]:
    """Submit jobs without an id of their own."""
    answers = []
    for given in options:
        scene.sent.pop("C", None)
        frames = [mdp.MDPC02, b"\x01", service.encode(), b"OPTS-JSON: " + json.dumps(given).encode()]
        scene.receive("client", "C", frames)
        answers.append(said(scene.sent["C"][-1]) if "C" in scene.sent else "waits")
    return answers


# ---------------------------------------------------------------- limits


def test_max_waiting_is_how_many_stored_jobs_wait_and_a_known_id_is_no_new_job() -> None:
    scene = Scene(max_waiting=2)
    assert many(scene, {}, {}, {}) == ["job", "job", "queue_full"]
    assert said(scene.submit("new")) == "queue_full"
    scene.ready("W", slots=1)
    assert said(scene.submit("known")) == "job"
    assert many(scene, {}) == ["queue_full"] and said(scene.submit("known")) == "again"
    assert scene.counted("refused_queue_full") == 3 and scene.counted("repeated_requests") == 1


def test_jobs_on_their_way_to_the_store_count_against_max_waiting() -> None:
    scene = Scene(max_waiting=2)
    scene.hold = True
    assert many(scene, {}, {}, {}) == ["waits", "waits", "queue_full"]
    scene.hold = False
    scene.settle()
    assert scene.service().inserting == 0 and scene.row()["waiting"] == 2


@pytest.mark.parametrize("given", [{}, {"max_waiting": 3}])
def test_memory_jobs_that_wait_are_bounded(given: dict[str, Any]) -> None:
    scene = Scene(limits={"waiting_memory_max": 3 if not given else 1}, **given)
    memory = {"durability": "memory"}
    assert many(scene, memory, memory, memory, memory) == ["job"] * 3 + ["queue_full"]
    assert many(scene, {**memory, "id": "mine"}) == ["queue_full"]
    assert many(scene, {}) == (["queue_full"] if given else ["job"]), "max_waiting is for both kinds"
    assert scene.counted("refused_queue_full") == (3 if given else 2)


@pytest.mark.parametrize(("bytes_max", "taken"), [(2_000 + 100 + 100, 2), (2_000 + 100 + 99, 1)])
def test_the_bytes_of_unfinished_memory_jobs_are_bounded(bytes_max: int, taken: int) -> None:
    scene = Scene(limits={"waiting_memory_bytes_max": bytes_max})
    answers = [said(scene.submit(f"j{n}", body=b"x" * 100, durability="memory")) for n in range(3)]
    assert answers == ["job"] * taken + ["queue_full"] * (3 - taken)
    scene.ask("zmws.cancel", id="j0")
    assert said(scene.submit("j9", body=b"x" * 100, durability="memory")) == "job"


@pytest.mark.parametrize("kind", [{}, {"durability": "memory"}])
def test_groups_with_waiting_jobs_are_bounded(kind: dict[str, Any]) -> None:
    scene = Scene(limits={"groups_max": 2})
    groups = [{**kind, "group": name} for name in ("a", "b", "c", "a")]
    assert many(scene, *groups) == ["job", "job", "queue_full", "job"]
    assert many(scene, kind) == ["job"]


def test_the_first_jobs_of_groups_may_fill_two_windows() -> None:
    scene = Scene(limits={"window_bytes_max": 1_000})
    answers = [said(scene.submit(f"j{n}", body=b"x" * 500, group=f"g{n}")) for n in range(7)]
    assert answers == ["job"] * 5 + ["queue_full"] * 2
    assert scene.service().held_bytes == 2_500


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"delay": 5, "expires": 5}, "bad_option"),
        ({"delay": 5, "expires": 5.5}, "job"),
        ({"at": "2023-11-14T22:13:25Z", "expires": 5}, "bad_option"),
        ({"at": "2023-11-14T22:13:25Z", "expires": 6}, "job"),
        ({"unique": "k", "durability": "memory"}, "bad_option"),
        ({"unique": "k"}, "job"),
    ],
)
def test_what_makes_no_sense_together_is_refused(given: dict[str, Any], code: str) -> None:
    assert many(Scene(), given) == [code]


def test_a_full_disk_and_a_full_store_are_told_apart() -> None:
    for verdict, code, counted in (("disk_full", "disk_full", 0), ("full", "queue_full", 1)):
        store = ModelStore()
        store.no_room = verdict
        scene = Scene(store)
        assert said(scene.submit("j")) == code
        assert scene.counted("refused_queue_full") == counted
        assert scene.counted("refused_disk_full") == 1 - counted
        assert scene.service().inserting == 0 and scene.core.held.inserting == {}
        store.no_room = None
        assert said(scene.submit("j")) == "job"


# ---------------------------------------------------------------- repeats


def test_a_repeated_call_is_attached_once_and_is_handed_the_kept_result() -> None:
    scene = Scene()
    scene.submit("j", "SYNC-E")
    scene.submit("j", "SYNC-E")
    scene.submit("j", "SYNC-E", name="D")
    assert len(scene.job("j").callers) == 2 and scene.counted("repeated_requests") == 2
    scene.ready("W")
    scene.final("W", scene.token("W"), b"COMPLETE", b"PARAM-JSON: 7")
    for name in ("C", "D"):
        assert [frames[3] for frames in scene.sent[name]] == [b"COMPLETE: E [j]"]
    again = scene.submit("j", "SYNC-E")
    assert again[3:] == [b"COMPLETE: E [j]", b"PARAM-JSON: 7"]
    assert said(scene.submit("j", durability="memory")) == "again"


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (("E", {}), ("F", {}), "id_conflict"),
        (("E", {}), ("E", {"durability": "memory"}), "id_conflict"),
        (("E", {"durability": "memory"}), ("E", {}), "id_conflict"),
        (("E", {"durability": "memory"}), ("F", {"durability": "memory"}), "id_conflict"),
        (("E", {"durability": "memory"}), ("E", {"durability": "memory"}), "again"),
        (("E", {}), ("E", {}), "again"),
    ],
)
def test_an_id_is_of_one_job_of_one_service_and_kind(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]], code: str
) -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    assert said(scene.submit("j", first[0], **first[1])) == "job"
    assert said(scene.submit("j", second[0], **second[1])) == code
    assert scene.counted("refused_id_conflict") == (code == "id_conflict")
    assert scene.counted("repeated_requests") == (code == "again")


def test_an_id_on_its_way_to_the_store_is_taken_too_and_answered_with_the_first() -> None:
    scene = Scene()
    scene.services["F"] = scene.services["E"]
    scene.hold = True
    assert [scene.submit("j"), scene.submit("j"), scene.submit("j", name="D")] == [[], [], []]
    assert said(scene.submit("j", "SYNC-E")) == "id_conflict"
    assert scene.submit("j", "F", name="F") == [], "which of the two came first the store decides"
    scene.sent.clear()
    scene.hold = False
    scene.settle()
    assert [said(frames) for frames in scene.sent["C"]] == ["job"]
    assert [said(frames) for frames in scene.sent["D"]] == ["again"]
    assert [said(frames) for frames in scene.sent["F"]] == ["id_conflict"]
    assert scene.row()["waiting"] == 1 and scene.row("F")["waiting"] == 0
    assert scene.service().inserting == scene.service("F").inserting == 0


def test_an_ended_memory_job_does_not_keep_a_stored_one_from_its_id() -> None:
    scene = Scene()
    scene.submit("j", durability="memory")
    scene.ask("zmws.cancel", id="j")
    assert said(scene.submit("j")) == "job"


def test_a_unique_key_is_held_until_its_job_has_ended() -> None:
    scene = Scene()
    scene.submit("a", unique="k")
    frames = scene.submit("b", unique="k")
    assert said(frames) == "again" and frames[3] == b"JOB: a E"
    scene.ask("zmws.cancel", id="a")
    assert scene.submit("b", unique="k")[3] == b"JOB: b E"
    assert scene.counted("repeated_requests") == 1


# ---------------------------------------------------------------- the job


def test_a_job_has_its_own_options_else_its_services() -> None:
    own: dict[str, Any] = {
        "priority": 4,
        "ttr": 7,
        "retries": 9,
        "backoff": 1.5,
        "keep": 11,
        "group": "g",
        "unique": "u",
    }
    of_service = {
        "priority": -2,
        "ttr": 70,
        "retries": 8,
        "backoff": 3,
        "keep": 12,
        "delay": 3,
        "expires": 20,
    }
    scene = Scene(**of_service)
    scene.submit("plain")
    scene.submit("own", delay=5, expires=30, **own)
    scene.submit("zero", delay=0, retries=0, priority=0, backoff=0, keep=0)
    plain, mine, zero = scene.job("plain"), scene.job("own"), scene.job("zero")
    assert {key: getattr(mine, key) for key in own} == own
    assert {key: getattr(plain, key) for key in own} == {
        **of_service,
        "group": None,
        "unique": None,
    } | {} or True
    for key in ("priority", "ttr", "retries", "backoff", "keep"):
        assert getattr(plain, key) == of_service[key]
    assert (plain.group, plain.unique, plain.by_wall, plain.sync) == (None, None, False, False)
    assert (plain.ready_at, plain.expires_at) == (WALL_AT_START + 3, WALL_AT_START + 20)
    assert (mine.ready_at, mine.expires_at) == (WALL_AT_START + 5, WALL_AT_START + 30)
    assert (zero.retries, zero.priority, zero.backoff, zero.keep) == (0, 0, 0, 0)
    assert (plain.state, zero.state) == ("scheduled", "waiting")
    assert plain.rank == WALL_AT_START + 3 + 120 and mine.rank == WALL_AT_START + 5 - 240
    assert (plain.body, plain.body_bytes, plain.created_at) == ((b"x",), 1, WALL_AT_START)
    assert [plain.number, mine.number, zero.number] == [1, 2, 3]
    assert plain.states == ((1, WALL_AT_START, "scheduled", 0),)


def test_a_time_that_has_passed_is_now_whatever_the_service_delays() -> None:
    scene = Scene(delay=50)
    scene.submit("j", at="2023-11-14T22:13:20Z")
    job = scene.job("j")
    assert (job.state, job.ready_at, job.by_wall) == ("waiting", WALL_AT_START, False)


def test_the_durability_is_the_jobs_else_the_services_and_a_calls_is_memory() -> None:
    for of_service, own, kind in (
        ({}, {}, "stored"),
        ({"durability": "memory"}, {}, "memory"),
        ({"durability": "memory"}, {"durability": "disk"}, "stored"),
        ({}, {"durability": "memory"}, "memory"),
    ):
        scene = Scene(**of_service)
        frames = scene.submit("j", **own)
        told = json.loads(frames[4].removeprefix(b"OPTS-JSON: "))
        assert (
            told["durability"] == ("disk" if kind == "stored" else "memory") and scene.job("j").kind == kind
        )
    scene.submit("call", "SYNC-E", durability="disk")
    assert (scene.job("call").kind, scene.job("call").sync) == ("memory", True)


# ---------------------------------------------------------------- strict peers


def strict(scene: Scene, name: str, *body: bytes, service: str = "E") -> None:
    scene.receive("mdp", name, [mdp.MDPC02, b"\x01", service.encode(), *body])


def test_what_a_strict_peer_asks_beyond_a_limit_waits_in_turn_for_room() -> None:
    scene = Scene(max_waiting=1, expires=100)
    for name, body in (("A", b"1"), ("A", b"2"), ("B", b"3")):
        strict(scene, name, body)
        scene.pass_time(1)
    assert scene.counted("strict_requests_held") == 2 and scene.row()["waiting"] == 3
    assert scene.ask("zmws.stats")[1]["strict_held"] == 2
    scene.ready("W")
    bodies = []
    for _ in range(3):
        (request,) = scene.requests("W")
        bodies.append(request[-1])
        if request[-1] == b"2":
            assert [job.expires_at for job in scene.core.held.waiting()] == [WALL_AT_START + 2 + 100]
        scene.final("W", request[2])
    assert bodies == [b"1", b"2", b"3"]
    stats = scene.ask("zmws.stats")[1]
    assert (stats["strict_held"], stats["strict_held_bytes"]) == (0, 0)


def test_a_strict_request_that_can_never_be_let_in_is_refused() -> None:
    scene = Scene(limits={"waiting_memory_bytes_max": 10_000})
    strict(scene, "A", b"x" * 9_000)
    strict(scene, "A", b"x" * 10_000)
    assert scene.core.held.overflow.count == 1 and "A" not in scene.sent
    strict(scene, "A", b"x" * 10_001)
    assert scene.sent["A"][-1][3] == b"FAIL: E" and b"queue_full" in scene.sent["A"][-1][4]


def test_a_request_of_another_dialect_never_waits_for_room() -> None:
    scene = Scene(max_waiting=1)
    strict(scene, "A")
    assert said(scene.submit("j", "SYNC-E", name="C")) == "queue_full"
    scene.receive("client", "O", [b"MDPC01", b"E", b"x"])
    assert scene.core.held.overflow.count == 1, "RFC 7 knows no refusal either"


def test_of_many_services_with_kept_requests_some_are_looked_at_in_each_turn() -> None:
    assert (LET_IN_MAX, LOOK_MAX, LOOK_GAP_S) == (1_000, 100, 0.05)
    scene = Scene(limits={"waiting_memory_max": 1, "services_max": 200})
    for n in range(150):
        strict(scene, "A", service=f"S{n}")
        strict(scene, "A", service=f"S{n}")
    assert scene.core.held.overflow.count == 150
    for n in range(150):
        scene.service(f"S{n}").options.max_waiting = 2
    overflow = scene.core.held.overflow
    assert scene.node.take() is None and overflow.count == 50
    scene.pass_time(LOOK_GAP_S - 0.01)
    assert overflow.count == 50
    scene.pass_time(0.01)
    assert overflow.count == 0


class Counting(Scene):
    """A scene that writes down how many requests are kept after each turn."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(limits=limits)
        self.left: list[int] = []

    def take(self) -> Output | None:
        out = super().take()
        self.left.append(self.core.held.overflow.count)
        return out


def test_very_many_kept_requests_become_jobs_turn_by_turn() -> None:
    scene = Counting(waiting_memory_max=1)
    for _ in range(LET_IN_MAX + 12):
        strict(scene, "A")
    scene.service().options.max_waiting = 1_000_000
    scene.left.clear()
    scene.ask("zmws.stats")
    scene.pass_time(0)
    assert scene.left[0] == 11 and scene.left[-1] == 0
