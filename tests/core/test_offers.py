"""What a READY offers is taken whole or refused whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.offers import PARAMS_BYTES_ALL_MAX
from zmws.core.options import service_options
from zmws.wire import mdp

DISCONNECT = [mdp.MDPW02, mdp.W_DISCONNECT]


def rows(scene: Scene) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in scene.ask("zmws.workers", "viewer")[1]}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"defaults": 5}, "its 'defaults' of B: 'defaults' must be a JSON object"),
        (
            {"defaults": {"durability": "disk"}},
            "its 'defaults' of B: option 'durability' is not for",
        ),
        ({"defaults": {"ttr": 0}}, "its 'defaults' of B: option 'ttr' is 0, but must be"),
        ({"defaults": {"expires": 1}}, "its 'defaults' of B: its jobs can only expire"),
        ({"params": []}, "its 'params' of B are no JSON Schema"),
        ({"params": {"x": float("inf")}}, "its 'params' of B hold a number that JSON has none for"),
        ({"params": {"x": "y" * 65_529}}, "its 'params' of B are 65538 bytes of JSON, and may be 65536"),
    ],
)
def test_a_ready_whose_offer_is_wrong_is_refused_with_the_reason(told: dict[str, Any], why: str) -> None:
    scene = Scene()
    scene.services["B"] = service_options({"delay": 1})
    scene.ready("W", "A", services={"A": {"defaults": {"ttr": 9}}, "B": told})
    assert scene.counted("ready_bad_service") == 1 and not scene.core.roster.sessions.by_peer
    assert [text for level, text in scene.log if level == "warning" and why in text]
    assert "A" not in scene.core.held.services, "nothing of it was taken"
    scene.pass_time(5)
    assert scene.sent["W"] == [DISCONNECT]


def test_a_schema_may_be_as_large_as_its_bound() -> None:
    scene = Scene()
    scene.ready("W", "A", services={"A": {"params": {"x": "y" * 65_527}}})
    assert len(scene.service("A").params or "") == 65_536 and scene.core.roster.sessions.by_peer


def test_the_schemas_of_all_services_are_bounded_and_a_known_services_may_change() -> None:
    scene = Scene()
    scene.ready("W", "A", services={"A": {"params": {}}, "B": {"params": {"b": 1}}})
    scene.service("A").params = "x" * (PARAMS_BYTES_ALL_MAX + 1)
    scene.ready("V", "B", services={"B": {"params": {"b": 2}}})
    assert [t for _, t in scene.log if "the 'params' of all services are 67108864 bytes of JSON already" in t]
    assert scene.service("B").params == '{"b": 1}' and "v" not in rows(scene)
    scene.ready("V", "B", services={"B": {}})
    scene.ready("U", "A", services={"A": {"params": {"a": 2}}})
    assert scene.service("A").params == '{"a": 2}' and {"v", "u"} <= rows(scene).keys()
