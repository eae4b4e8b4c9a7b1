"""A job's family as a tree, and the steps of its chain."""

from __future__ import annotations

from typing import Any

from zmws.gateway.pages.kin import DEPTH_SHOWN, STEPS_SHOWN, steps, tree


def job(job_id: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": job_id, "parent": parent, "chain": None, "step": None, "steps": None, **more}


def step(number: int, of: int, parent: str | None = None) -> dict[str, Any]:
    parent = parent or (f"c:{number - 1}" if number > 1 else None)
    return job(f"c:{number}", parent, chain="c", step=number, steps=of)


def shape(jobs: list[dict[str, Any]], job_id: str = "") -> list[tuple[str, int]]:
    return [(one.row["id"], one.depth) for one in tree({"jobs": jobs, "next": None}, job_id)]


def test_each_stands_behind_what_made_it() -> None:
    jobs = [job("a"), job("a:1", "a"), job("a:2", "a"), job("a:1:1", "a:1"), job("a:2:1", "a:2")]
    assert shape(jobs) == [("a", 0), ("a:1", 1), ("a:1:1", 2), ("a:2", 1), ("a:2:1", 2)]
    found = tree({"jobs": jobs, "next": None}, "a:1")
    assert [one.is_it for one in found] == [False, True, False, False, False]
    assert found[2].under == "a:1"


def test_a_job_that_stands_alone_has_no_tree() -> None:
    assert shape([job("a")]) == [] and tree(None, "a") == []


def test_steps_of_a_chain_stand_below_each_other_and_what_they_made_under_them() -> None:
    jobs = [step(1, 3), step(2, 3), job("c:1:on", "c:1"), step(3, 3), job("c:2:x", "c:2")]
    assert shape(jobs) == [("c:1", 0), ("c:1:on", 1), ("c:2", 0), ("c:2:x", 1), ("c:3", 0)]
    assert shape([step(1, 2), step(2, 2)]) == [], "its steps say all of it"


def test_what_is_deep_goes_no_further_to_the_right_and_takes_no_recursion() -> None:
    line = [job("j0"), *(job(f"j{n}", f"j{n - 1}") for n in range(1, 3_000))]
    assert shape(line)[-1] == ("j2999", DEPTH_SHOWN)


def test_one_whose_parent_is_forgotten_or_is_itself_is_shown_all_the_same() -> None:
    assert shape([job("b", "gone"), job("b:1", "b")]) == [("b", 0), ("b:1", 1)]
    assert shape([job("b", "b"), job("b:1", "b")]) == [("b", 0), ("b:1", 1)]
    assert shape([job("a", "b"), job("b", "a")]) == [("a", 0), ("b", 1)], "of a ring each is there once"


def test_of_a_long_chain_those_about_this_step_are_shown() -> None:
    me = step(50, 100)
    family = {"jobs": [step(49, 100), me, step(51, 100)], "next": None}
    found = steps(me, family)
    assert len(found) == STEPS_SHOWN and found[0].number == 44 and found[-1].number == 55
    assert [one.row["id"] for one in found if one.row] == ["c:49", "c:50", "c:51"]
    assert [one.number for one in found if one.is_it] == [50]
    first, last = steps(step(1, 3), None), steps(step(100, 100), None)
    assert [one.number for one in first] == [1, 2, 3] and last[-1].number == 100
    assert len(last) == STEPS_SHOWN
    assert steps(job("a"), None) == []
