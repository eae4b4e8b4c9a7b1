"""Chains: what is handed on, how one is waited for, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from zmws import (
    PREVIOUS,
    BadValue,
    Client,
    JobCancelled,
    JobFailed,
    JobTimeout,
    OptionError,
    Refused,
    ServiceUnknown,
)


def test_each_step_has_the_result_of_the_one_before(client: Client) -> None:
    chain = client.chain(
        [("ECHO", {"n": 1}), ("ECHO", PREVIOUS), ("ECHO", {"a": [PREVIOUS, 2], "~/": PREVIOUS})], id="c"
    )
    assert (chain.id, chain.first.id, chain.existing) == ("c", "c:1", False)
    assert chain.result(20) == {"a": [{"n": 1}, 2], "~/": {"n": 1}}
    assert [(row["id"], row["state"]) for row in chain.jobs()] == [(f"c:{n}", "complete") for n in (1, 2, 3)]
    assert chain.last().id == "c:3" and chain.status()["step"] == chain.status()["steps"] == 3


def test_bytes_are_handed_on_as_they_are(client: Client) -> None:
    assert (
        client.chain([("ECHO", b"\x00\xff"), ("ECHO", PREVIOUS), ("ECHO", PREVIOUS)]).result(20)
        == b"\x00\xff"
    )


def test_no_result_is_handed_on_as_no_parameters_and_within_others_as_null(client: Client) -> None:
    nothing = ("SPLIT", {"parts": 0})
    assert client.chain([nothing, ("ECHO", PREVIOUS)]).result(20) == {}
    assert client.chain([nothing, ("ECHO", {"a": PREVIOUS})]).result(20) == {"a": None}


def test_what_is_no_json_value_fails_the_step_that_wants_one(client: Client) -> None:
    chain = client.chain([("ECHO", b"\xff"), ("ECHO", {"image": PREVIOUS}), ("ECHO", PREVIOUS)], id="odd")
    with pytest.raises(JobFailed) as fault:
        chain.result(20)
    # Its id is not CHAIN:2: the failed step is found all the same.
    assert fault.value.code == "bad_previous" and fault.value.job_id == chain.last().id
    assert [row["state"] for row in chain.jobs()] == ["complete", "failed"]


def test_a_step_that_fails_ends_the_chain_and_its_retry_goes_on(client: Client) -> None:
    chain = client.chain([("ECHO", 1), ("SHAKY", {"fails": 1}, {"retries": 0}), ("ECHO", PREVIOUS)])
    with pytest.raises(JobFailed, match="attempt 1") as fault:
        chain.result(20)
    assert fault.value.job_id == f"{chain.id}:2" and fault.value.type == "RuntimeError"
    assert chain.wait(20)["state"] == "failed" and len(chain.jobs()) == 2
    assert chain.retry() == 1
    assert chain.result(20) == 2  # the attempt that succeeds
    assert chain.retry() == 0


def test_a_chain_is_cancelled_at_the_step_that_there_is(client: Client) -> None:
    chain = client.chain([("ECHO", 1), ("NOBODY", PREVIOUS), ("ECHO", PREVIOUS)])
    with pytest.raises(JobTimeout, match=f"chain {chain.id} has not ended within 0.2 s") as late:
        chain.result(0.2)
    assert late.value.job_id == f"{chain.id}:2"
    assert chain.cancel() == 1 and chain.cancel() == 0
    with pytest.raises(JobCancelled):
        chain.result(20)
    assert len(chain.jobs()) == 2


def test_the_same_id_again_is_the_same_chain(client: Client) -> None:
    client.chain([("ECHO", 1), ("ECHO", [PREVIOUS])], id="same").result(20)
    again = client.chain([("ECHO", "other")], id="same")
    assert again.existing and again.result(20) == [1]
    assert client.get_chain("same").result(20) == [1]
    assert [row["id"] for row in client.jobs(chain=again)] == ["same:2", "same:1"]


def test_an_id_that_somebody_else_has_is_gone_around(client: Client) -> None:
    client.submit("NOBODY", id="x:2")
    assert client.chain([("ECHO", 1), ("ECHO", [PREVIOUS])], id="x").result(20) == [1]


def test_a_chain_whose_first_step_is_there_by_its_key_stands_for_the_other(client: Client) -> None:
    client.pause("ECHO")
    first = client.chain([("ECHO", 1, {"unique": "k"}), ("ECHO", [PREVIOUS])], id="one")
    second = client.chain([("ECHO", 2, {"unique": "k"}), ("ECHO", [PREVIOUS, 2])], id="two")
    assert second.existing and second.first.id == first.first.id
    client.resume("ECHO")
    assert second.result(20) == [1] == first.result(20)


def test_a_chain_that_is_forgotten_says_so(client: Client) -> None:
    with pytest.raises(Refused) as fault:
        client.get_chain("none").wait(5)
    assert fault.value.code == "unknown_job"


def test_a_chain_whose_first_steps_are_forgotten_is_waited_for_at_the_others(client: Client) -> None:
    steps = [("ECHO", 1), ("ECHO", [PREVIOUS]), ("ECHO", {"a": PREVIOUS})]
    chain = client.chain(steps, id="long")
    assert chain.result(20) == {"a": [1]}
    client.job("long:1").delete()
    assert chain.result(20) == {"a": [1]} and chain.wait(20)["id"] == "long:3"
    client.job("long:2").delete()
    assert chain.result(20) == {"a": [1]}
    client.job("long:3").delete()
    with pytest.raises(Refused) as fault:
        chain.result(20)
    assert fault.value.code == "unknown_job"


def test_what_is_wrong_with_a_chain_is_told_before_anything_is_made(client: Client) -> None:
    wrong: list[tuple[Any, type[Exception], str]] = [
        ([], ValueError, "one step"),
        ([("ECHO", PREVIOUS)], ValueError, "first step"),
        ([("ECHO", object())], BadValue, "params"),
        ([("ECHO", 1), 5], TypeError, "step 2"),
        ([("ECHO", 1), ("ECHO", 1, 5)], TypeError, "options"),
        ([("ECHO", 1), ("NONE", PREVIOUS)], ServiceUnknown, "step 2"),
        ([("ECHO", 1, {"retries": -1})], OptionError, "retries"),
        ([("ECHO", 1, {"id": "i"})], OptionError, "id"),
    ]
    for steps, kind, text in wrong:
        with pytest.raises(kind, match=text):
            client.chain(steps)
    deep: Any = 1
    for _ in range(198):
        deep = [deep]
    with pytest.raises(Refused, match="nested"):
        client.chain([("ECHO", 1), ("ECHO", deep)])
    assert not list(client.jobs())


def test_chains_go_among_many_jobs(client: Client) -> None:
    job, first, wrong, worse = client.submit_many(
        [
            {"service": "ECHO", "params": 1},
            {"chain": [("ECHO", 2), ("ECHO", [PREVIOUS])], "id": "m"},
            {"chain": [("ECHO", 2)], "priority": 3},
            {"chain": []},
        ]
    )
    assert not isinstance(job, Refused) and not isinstance(first, Refused) and first.id == "m:1"
    assert job.result(20) == 1 and client.get_chain("m").result(20) == [2]
    assert isinstance(wrong, Refused) and "option of a step" in str(wrong)
    assert isinstance(worse, Refused) and "one step" in str(worse)


def test_what_followed_is_one_family(client: Client) -> None:
    chain = client.chain([("ECHO", {}), ("ECHO", PREVIOUS)], id="f")
    chain.wait(20)
    assert [(row["id"], row["parent"], row["step"]) for row in client.family("f:2")] == [
        ("f:1", None, 1),
        ("f:2", "f:1", 2),
    ]
    assert [row["id"] for row in client.jobs(parent=chain.first)] == ["f:2"]
