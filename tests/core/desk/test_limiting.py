"""What an operator sets at run time: zmws.limit; and what would be done, without doing it: dry_run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene


def options(scene: Scene) -> dict[str, Any]:
    """The limits of E, each with where it is from."""
    row = scene.ask("zmws.service", service="E")[1]
    return {
        name: (one["value"], one["from"])
        for name, one in row["options"].items()
        if name in ("max_running", "rate", "max_waiting")
    }


def test_a_limit_goes_before_the_configuration_and_survives_a_restart() -> None:
    scene = Scene(max_running=4)
    status, row = scene.ask("zmws.limit", service="E", max_running=2, rate=5)
    assert status == 200 and row["options"]["max_running"] == {"value": 2, "from": "operator"}
    expected = {"max_running": (2, "operator"), "rate": (5.0, "operator"), "max_waiting": (None, "default")}
    assert options(scene) == expected
    scene.restart()
    assert options(scene) == expected


def test_null_is_as_configured_and_what_is_not_named_stays() -> None:
    scene = Scene(max_running=4)
    scene.ask("zmws.limit", service="E", max_running=2, max_waiting=7)
    scene.ask("zmws.limit", service="E", max_running=None)
    assert options(scene)["max_running"] == (4, "configuration")
    assert options(scene)["max_waiting"] == (7, "operator")
    scene.restart()
    assert options(scene)["max_running"] == (4, "configuration")


def test_what_a_worker_tells_leaves_the_limits_alone() -> None:
    scene = Scene()
    scene.ask("zmws.limit", service="E", max_running=1)
    scene.ready("W", services={"E": {"defaults": {"ttr": 5}}})
    row = scene.ask("zmws.service", service="E")[1]
    assert row["options"]["max_running"]["value"] == 1 and row["options"]["ttr"]["value"] == 5


def test_a_raised_limit_lets_what_waits_start_at_once() -> None:
    scene = Scene(max_running=1)
    scene.ready("V")
    scene.ready("W")
    scene.submit("a")
    scene.submit("b")
    assert [scene.state("a"), scene.state("b")] == ["running", "waiting"]
    scene.ask("zmws.limit", service="E", max_running=2)
    assert scene.state("b") == "running"


def test_a_lowered_limit_refuses_new_jobs_and_stops_no_running_one() -> None:
    scene = Scene()
    scene.ready("V")
    scene.submit("a")
    scene.ask("zmws.limit", service="E", max_waiting=1, max_running=1)
    scene.submit("b")
    assert b"queue_full" in scene.submit("c")[-1]
    assert [scene.state("a"), scene.state("b")] == ["running", "waiting"]


def test_paused_is_set_in_the_same_question() -> None:
    scene = Scene()
    scene.ask("zmws.limit", service="E", paused=True, rate=1)
    assert scene.row()["paused"] is True
    scene.restart()
    assert scene.row()["paused"] is True and options(scene)["rate"] == (1.0, "operator")


def test_with_a_version_only_what_nobody_has_changed_since() -> None:
    scene = Scene()
    version = scene.ask("zmws.service", service="E")[1]["version"]
    status, row = scene.ask("zmws.limit", service="E", version=version, rate=1)
    assert status == 200 and row["version"] != version
    status, error = scene.ask("zmws.limit", service="E", version=version, rate=2)
    assert (status, error["code"]) == (409, "changed") and options(scene)["rate"] == (1.0, "operator")
    scene.ask("zmws.pause", service="E")
    assert scene.ask("zmws.limit", service="E", version=row["version"], rate=2)[0] == 409
    row = scene.ask("zmws.service", service="E")[1]
    scene.restart()
    assert scene.ask("zmws.limit", service="E", version=row["version"], rate=2)[0] == 409, "another life"


def test_a_forgotten_service_has_its_limits_no_more() -> None:
    scene = Scene()
    scene.ready("W", "F")
    scene.work("W", b"\x06")
    scene.ask("zmws.limit", service="F", max_running=1)
    assert scene.ask("zmws.forget", service="F")[0] == 200
    scene.ready("W", "F")
    assert scene.ask("zmws.service", service="F")[1]["options"]["max_running"]["from"] == "default"
    scene.restart()
    assert scene.service("F").limited == {}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"service": "NOPE"}, 404),
        ({"service": "E", "max_running": 0}, 400),
        ({"service": "E", "rate": "1"}, 400),
        ({"service": "E", "retries": 1}, 400),
        ({"max_running": 1}, 400),
    ],
)
def test_what_is_wrong_changes_nothing(asked: dict[str, Any], status: int) -> None:
    scene = Scene()
    assert scene.ask("zmws.limit", **asked)[0] == status
    assert scene.service().changes == 0 and scene.service().limited == {}


def test_limits_that_a_later_program_does_not_know_are_left_out_and_told() -> None:
    scene = Scene()
    scene.ask("zmws.limit", service="E", max_running=3, rate=2)
    known = scene.store.services["E"]
    scene.store.services["E"] = known._replace(limits='{"max_running": -1, "gone": 1, "rate": 2}')
    scene.restart()
    assert scene.service().limited == {"rate": 2.0}


# ---------------------------------------------------------------- dry_run


@pytest.mark.parametrize("verb", ["cancel", "retry", "delete"])
@pytest.mark.parametrize("by", ["id", "filter"])
def test_a_dry_run_counts_what_would_be_done_and_does_nothing(verb: str, by: str) -> None:
    scene = Scene()
    scene.submit("a")
    if verb != "cancel":
        scene.ask("zmws.cancel", id="a")
    before, written = scene.record("a"), len(scene.written)
    asked = {"id": "a"} if by == "id" else {"service": "E", "state": before["state"]}
    for _ in range(2):
        status, told = scene.ask(f"zmws.{verb}", dry_run=True, **asked)
        assert status == 200 and told["count"] == 1
    assert scene.record("a") == before and len(scene.written) == written
    assert scene.ask(f"zmws.{verb}", **asked)[1]["count"] == 1


def test_a_dry_run_of_what_is_not_possible_says_so() -> None:
    scene = Scene()
    scene.submit("a")
    assert scene.ask("zmws.delete", id="a", dry_run=True)[0] == 409
