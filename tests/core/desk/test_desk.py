"""The doors of the desk: which names it answers for, and how."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.reads import Read, ReadJob, ReadJobs, ReadMatching
from zmws.wire import mdp


def said(scene: Scene, name: str, *body: bytes, socket: str = "client") -> list[bytes]:
    scene.receive(socket, "P", [mdp.MDPC02, b"\x01", name.encode(), *body])
    return scene.sent.pop("P")[0][3:]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ((b"E",), b"404"),
        ((b"W1",), b"200"),
        ((b"LEASED",), b"200"),
        ((b"NOPE",), b"404"),
        ((b"mmi.service",), b"200"),
        ((b"mmi.other",), b"404"),
        ((b"zmws.job",), b"200"),
        ((b"zmws.nope",), b"404"),
        ((b"SERVER-JOBS",), b"200"),
        ((b"x", b"W1"), b"200"),
        ((b"PARAM-RAW: W1",), b"200"),
        ((b"\xff",), b"404"),
        ((), b"404"),
    ],
)
def test_mmi_service_tells_whether_somebody_serves_it(asked: tuple[bytes, ...], status: bytes) -> None:
    scene = Scene()
    scene.services["LEASED"] = scene.services["E"]
    scene.ready("W", "W1")
    scene.ask("zmws.lease", "L", service="LEASED", lease="l", wait=9)
    assert said(scene, "mmi.service", *asked) == [status]
    assert said(scene, "mmi.nope", *asked) == [b"501"]


def test_hello_tells_whom_one_talks_to() -> None:
    scene = Scene(limits={"message_bytes_max": 5_000_000, "submit_many_max": 7})
    scene.core.desk.host.version = "9.9"
    scene.core.desk.host.news = "tcp://n:1"
    for socket in ("client", "mdp"):
        status, body = said(scene, "zmws.hello", socket=socket)
        assert status == b"200" and json.loads(body) == {
            "zmws": 1,
            "version": "9.9",
            "socket": socket,
            "message_bytes_max": 5_000_000,
            "submit_many_max": 7,
            "life": scene.core.host.life,
            "news": "tcp://n:1",
        }


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("zmws.nope", b"", b"501", "unknown_service"),
        ("zmws.job", b"", b"400", "bad_request"),
        ("zmws.job", b"[", b"400", "bad_request"),
        ("zmws.job", b'{"id": "j"}', b"404", "unknown_job"),
        ("zmws.wait", b'{"id": "j"}', b"404", "unknown_job"),
        ("zmws.events", b'{"id": "j"}', b"404", "unknown_job"),
        ("zmws.submit", b"{}", b"400", "bad_request"),
    ],
)
def test_what_cannot_be_answered_is_told_with_a_code(
    name: str, body: bytes, status: bytes, code: str
) -> None:
    found, error = said(Scene(), name, body)
    assert found == status and json.loads(error)["code"] == code


def test_who_acts_is_in_the_log() -> None:
    scene = Scene()
    scene.ask("zmws.pause", service="E", by="me")
    assert any(text.startswith("zmws.pause by me: ") and "'E'" in text for _, text in scene.log)


@pytest.mark.parametrize(
    ("verb", "given", "kind"),
    [
        ("zmws.job", {"id": "j"}, ReadJob),
        ("zmws.events", {"id": "j"}, ReadJob),
        ("zmws.jobs", {}, ReadJobs),
        ("zmws.cancel", {"service": "E"}, ReadMatching),
        ("zmws.delete", {"id": "j"}, ReadJob),
        ("zmws.report", {"token": "j/1/x", "kind": "complete"}, ReadJob),
    ],
)
def test_a_read_that_could_not_be_made_is_the_askers_500(
    verb: str, given: dict[str, Any], kind: type[Read]
) -> None:
    scene = Scene(limits={"waits_max": 1, "lists_max": 1})
    scene.unreadable = (kind,)
    for _ in range(3):
        status, error = scene.ask(verb, **given)
        assert status == 500 and error["code"] == "broker_fault" and "bad disk" in error["error"]
    assert [text for level, text in scene.log if level == "error"] == [
        f"a read for {verb} failed: bad disk"
    ] * 3
    scene.unreadable = ()
    assert scene.ask(verb, **given)[0] != 429, "it is counted no more"


@pytest.mark.parametrize("verb", ["zmws.wait", "zmws.events"])
def test_who_waits_is_told_of_a_read_that_could_not_be_made(verb: str) -> None:
    scene = Scene()
    scene.ready("W")
    scene.submit("j")
    token = scene.token("W")
    scene.partial("W", token, b"LOG", b"x")
    assert scene.ask(verb, "A", id="j", timeout=9, **({"after": 3} if verb == "zmws.events" else {})) is None
    scene.unreadable = (ReadJob,)
    scene.final("W", token)
    assert scene.answer("A")[0] == 500


def test_a_broken_invariant_in_what_looks_on_is_a_500_and_in_what_changes_something_the_end() -> None:
    scene = Scene()

    def breaks(_: object) -> None:
        raise AssertionError("broken")

    verbs = scene.core.desk._verbs
    for name in ("zmws.stats", "zmws.pause"):
        verbs[name] = breaks
    assert scene.ask("zmws.stats")[0] == 500
    with pytest.raises(AssertionError, match="broken"):
        scene.ask("zmws.pause", service="E")
