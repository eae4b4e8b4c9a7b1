"""zmws.core.items: what is to become a job, as a list has it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmws.core.items import CHAIN_ID_MAX, BadItem, item_of, services_of, step_of
from zmws.core.limits import Limits

LIMITS = Limits(chain_steps_max=3)
STEP: dict[str, Any] = {"service": "E"}


def why(given: Any) -> tuple[str, str, str | None]:
    with pytest.raises(BadItem) as wrong:
        item_of(given, LIMITS)
    return wrong.value.code, str(wrong.value), wrong.value.job_id


def chain(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"chain": list(steps), **more}


def test_a_job_has_its_service_its_options_and_its_parameters() -> None:
    item = item_of({"service": "E", "params": {"a": 1}, "retries": 5, "id": "j", "batch": "b"}, LIMITS)
    assert (item.service, item.body, item.chain) == ("E", (b'PARAM-JSON: {"a": 1}',), None)
    assert (item.options.retries, item.options.id, item.options.batch) == (5, "j", "b")
    assert item_of({"service": "E", "params_base64": "AAE="}, LIMITS).body == (b"\x00\x01",)
    assert item.rest_json is None and services_of(item) == [("", "E")]


@pytest.mark.parametrize("given", [None, 7, [], {}, {"service": 7}, {"params": 1}, {"service": None}])
def test_what_is_no_job_is_refused(given: Any) -> None:
    assert why(given)[0] == "bad_request"


def test_a_refusal_names_the_id_where_that_is_a_text() -> None:
    assert why({"service": "E", "id": "j", "retries": -1})[::2] == ("bad_option", "j")
    assert why({"service": "E", "id": 7, "retries": 1})[::2] == ("bad_option", None)
    assert why({"service": "E", "id": "j", "params_base64": "?"})[::2] == ("bad_option", "j")


def test_a_chain_is_its_first_step_and_the_rest() -> None:
    second = {"service": "F", "params": {"a": None}, "previous": ["/a"], "delay": 2}
    item = item_of(chain({"service": "E", "at": "2027-01-31T08:00:00Z"}, second, id="c", batch="b"), LIMITS)
    assert (item.service, item.chain, item.options.batch, item.rest) == ("E", "c", "b", [second])
    assert item.options.id is None and item.options.at is not None
    assert item_of(chain(STEP), LIMITS).chain == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (chain(), "'chain' is a list of 1 to 3 steps (chain_steps_max)"),
        (chain(STEP, STEP, STEP, STEP), "'chain' is a list of 1 to 3 steps (chain_steps_max)"),
        ({"chain": "x"}, "'chain' is a list of 1 to 3 steps"),
        (chain(STEP, service="E"), "'service' is no field of a chain"),
        (chain(STEP, retries=5), "'retries' is no field of a chain"),
        (chain(STEP, id="x" * (CHAIN_ID_MAX + 1)), "at most 120 characters"),
        (chain(STEP, id="no good"), "option 'id'"),
        (chain({"service": "E", "previous": [""]}), "step 1: the first step has no 'previous'"),
        (chain({"service": "E", "id": "a"}), "step 1: a step of a chain has no 'id'"),
        (
            chain(STEP, {"service": "E", "at": "2027-01-31T08:00:00Z"}),
            "step 2: a step of a chain has no 'at'",
        ),
        (chain(STEP, {"service": "E", "batch": "b"}), "has no 'batch'"),
        (chain(STEP, chain(STEP)), "step 2: a step of a chain has no 'chain'"),
        (chain(STEP, {"service": "E", "unique": "k"}), "only the first step has a 'unique'"),
        (chain(STEP, {"service": "E", "durability": "memory"}), "stored jobs"),
        (chain(STEP, {"service": "E", "previous": "/a"}), "'previous' is a list of JSON Pointers"),
        (chain(STEP, {"service": "E", "previous": [""], "params": 1}), "give no 'params' beside it"),
        (chain(STEP, {"service": "E", "previous": ["", "/a"]}), "points into JSON parameters"),
        (chain(STEP, {"service": "E", "previous": ["/a"], "params_base64": "AA=="}), "into JSON parameters"),
        (chain(STEP, {"service": "E", "previous": ["/a"]}), "points at nothing in the parameters"),
        (chain(STEP, {"service": "E", "previous": [7], "params": {}}), "a JSON Pointer is a text"),
        (chain(STEP, {"service": "E", "retries": -1}), "step 2: option 'retries'"),
    ],
)
def test_what_is_wrong_with_a_chain_is_told(given: Any, text: str) -> None:
    code, told, _ = why(given)
    assert code == "bad_option" and text in told


@pytest.mark.parametrize("step", [None, 7, "E", {}, {"service": 7}])
def test_a_step_that_is_no_job_is_told_by_its_number(step: Any) -> None:
    code, told, job_id = why(chain(STEP, step, id="c"))
    assert (code, job_id) == ("bad_request", "c") and told.startswith("step 2: ")


def test_every_service_that_a_chain_names_is_told_with_its_step() -> None:
    item = item_of(
        chain({"service": "A", "on_failed": "B"}, {"service": "C", "on_complete": "D", "on_failed": None}),
        LIMITS,
    )
    assert services_of(item) == [
        ("step 1: ", "A"),
        ("step 1: option 'on_failed': ", "B"),
        ("step 2: ", "C"),
        ("step 2: option 'on_complete': ", "D"),
    ]


def test_a_step_is_given_the_result_where_it_says() -> None:
    result = (b"PARAM-JSON: [1,  2]",)
    assert step_of({"service": "E", "previous": [""]}, result, None).body == result
    given = {"service": "E", "params": {"a": None, "l": [0]}, "previous": ["/a", "/l/0"]}
    assert step_of(given, result, [1, 2]).body == (b'PARAM-JSON: {"a": [1, 2], "l": [[1, 2]]}',)
    assert given["params"] == {"a": None, "l": [0]}  # what it was made of is as it was
    assert step_of({"service": "E", "params": 5}, result, None).body == (b"PARAM-JSON: 5",)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["service", "params", "chain", "previous", "id", "batch", "unique", "at", "on_failed"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_whatever_comes_is_an_item_or_is_refused(given: Any) -> None:
    try:
        services_of(item_of(given, LIMITS))
    except BadItem as wrong:
        assert wrong.code in ("bad_request", "bad_option")
