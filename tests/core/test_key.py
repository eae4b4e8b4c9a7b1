"""A key: its rights by pattern, and how much it may (zmws/core/key.py)."""

from __future__ import annotations

from typing import Any

import pytest

from zmws.core.key import ROLES, Key, rights_of
from zmws.core.rows import KeyRow


def key(**given: Any) -> Key:
    row: dict[str, Any] = {"name": "k", "kind": "curve", "proof": "p", "role": None, "rights": {}}
    return Key(KeyRow(**row | given))


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("*", ["A", "IMG-A", "é.ü", "a\nb"], []),
        ("IMG-*", ["IMG-", "IMG-A"], ["IMG", "XIMG-A", "img-a"]),
        ("*-IN", ["A-IN", "-IN"], ["A-INX", "IN"]),
        ("A*Z", ["AZ", "ABZ"], ["ABZC", "A"]),
        ("A.C", ["A.C"], ["ABC"]),
        ("EMAIL", ["EMAIL"], ["EMAIL2", "EMAI", "EMAIL\n"]),
    ],
)
def test_a_star_stands_for_any_characters_and_nothing_else_is_special(
    pattern: str, fits: list[str], others: list[str]
) -> None:
    one = key(rights={"submit": (pattern,)})
    assert all(one.may("submit", name) for name in fits)
    assert not any(one.may("submit", name) for name in others)
    assert not any(one.may("work", name) for name in fits)
    assert one.may_all("submit") == (pattern == "*")


def test_with_a_group_nothing_is_for_all() -> None:
    one = key(rights={"look": ("*",)}, group="g")
    assert one.may("look", "A") and not one.may_all("look")


def test_however_many_services_are_asked_for_few_are_remembered() -> None:
    one = key(rights={"submit": ("A*",)})
    for n in range(25_000):
        assert not one.may("submit", f"B{n}")
    assert len(one._known) <= 10_000 and one.may("submit", "A1")


def test_a_rate_lets_a_seconds_worth_be_saved_up_and_no_more() -> None:
    one = key(rate=2.0)
    taken = 0
    while one.limit(100.0, 0) is None:
        one.used(100.0, 10)
        taken += 1
    assert taken == 2
    told = one.limit(100.0, 0)
    assert told is not None and told[0] == "rate_limited" and "2 jobs a second (its rate)" in told[1]
    assert one.limit(100.4, 0) is not None and one.limit(100.5, 0) is None
    one.used(100.5, 10)
    assert one.limit(1000.0, 0) is None
    for _ in range(2):
        one.used(1000.0, 10)
    assert one.limit(1000.0, 0) is not None, "what was not used is not saved up for more than a second"


def test_a_rate_below_one_lets_one_job_through_now_and_then() -> None:
    one = key(rate=0.1)
    assert one.limit(0.0, 0) is None
    one.used(0.0, 1)
    assert one.limit(9.9, 0) is not None and one.limit(10.0, 0) is None


def test_a_job_that_is_larger_than_a_seconds_worth_of_bytes_is_paid_for_afterwards() -> None:
    one = key(bytes_rate=100.0)
    assert one.limit(0.0, 0) is None
    one.used(0.0, 1_000)
    told = one.limit(8.9, 0)
    assert told is not None and told[0] == "rate_limited" and "bytes_rate" in told[1]
    assert one.limit(9.1, 0) is None


def test_who_has_enough_unfinished_jobs_waits() -> None:
    one = key(waiting_max=2)
    assert one.limit(0.0, 1) is None
    told = one.limit(0.0, 2)
    assert told is not None and told[0] == "queue_full" and "waiting_max" in told[1]


def test_a_role_is_a_bundle_of_rights_for_its_services() -> None:
    assert rights_of("client", None, None) == {"submit": ("*",)}
    assert rights_of("worker", ["IMG-*"], {"submit": ["EMAIL"]}) == {"work": ("IMG-*",), "submit": ("EMAIL",)}
    assert rights_of(None, None, {"look": ["A", "A"]}) == {"look": ("A",)}
    assert rights_of("gateway", ["A"], None)["speak_for"] == ("*",), "that is about people"
    assert rights_of("viewer", ["A"], {"look": ["B"]}) == {"look": ("A", "B")}
    assert {role: len(rights) for role, rights in ROLES.items()} == {
        **{"client": 1, "worker": 1, "viewer": 1, "operator": 4, "gateway": 5}
    }


@pytest.mark.parametrize(
    ("role", "services", "more", "text"),
    [
        (None, None, None, "needs a 'role'"),
        ("king", None, None, "'king' is no role"),
        ("client", [], None, "'services' must be a list of 1 to 100"),
        ("client", "A", None, "'services' must be a list"),
        ("client", ["A B"], None, "which is no pattern"),
        ("client", ["x" * 256], None, "which is no pattern"),
        ("client", [7], None, "which is no pattern"),
        ("client", ["A"] * 101, None, "1 to 100"),
        ("client", None, {"rule": ["A"]}, "'rule' is no right"),
        ("client", None, {"work": []}, "'work' must be a list"),
        ("client", None, [1], "'rights' must be an object"),
    ],
)
def test_rights_that_cannot_be_are_refused(role: Any, services: Any, more: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        rights_of(role, services, more)
