"""What was found once stays mended: the corpus of each target, and what a fixed seed makes of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.fuzz import connection, stand
from tests.fuzz.mutation import grown, mutated
from tests.fuzz.target import REFUSED, Slow, Target, same, taken
from tests.fuzz.targets import CORPUS, TARGETS, corpus_of

SEED = 1
CPU_S = 1.0  # for what chance makes of a corpus; always the same inputs, on a slow machine fewer of them
GROWN = 5
CORPUS_BYTES_MAX = 400_000

of_each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@pytest.fixture(scope="module", autouse=True)
def loop_that_is_closed() -> Iterator[None]:
    yield
    connection.forget()
    stand.close()


def check(target: Target, data: bytes) -> None:
    try:
        target.check(data)
    except Exception as wrong:
        raise AssertionError(f"{target.name}, {len(data)} bytes: {data[:2_000]!r}") from wrong


@of_each_target
def test_what_was_found_once_is_taken_as_documented(target: Target) -> None:
    for data in corpus_of(target):
        check(target, data)


@of_each_target
def test_what_a_seed_makes_of_the_corpus_is_taken_as_documented(target: Target) -> None:
    chance, corpus = random.Random(SEED), corpus_of(target)
    until = time.process_time() + CPU_S
    while time.process_time() < until:
        check(target, mutated(chance, corpus, target.words))


@of_each_target
def test_what_is_as_large_as_can_be_takes_no_second(target: Target) -> None:
    chance, corpus = random.Random(SEED), corpus_of(target)
    for _ in range(GROWN):
        check(target, grown(chance, chance.choice(corpus), target.words, target.grown_bytes))


def test_the_corpus_is_small() -> None:
    files = [file for file in CORPUS.glob("*/*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < CORPUS_BYTES_MAX
    assert {file.parent.name for file in files} <= set(TARGETS)


# ---------------------------------------------------------------- would the fuzzer notice?


def test_an_exception_that_is_not_documented_is_noticed() -> None:
    assert taken(ValueError, int, "x") is REFUSED
    with pytest.raises(TypeError):
        taken(ValueError, int, None)
    with pytest.raises(RecursionError):
        taken(ValueError, _deep)


def test_a_parser_that_takes_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.CPU_S_MAX", 0.01)

    def slow() -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    with pytest.raises(Slow, match="slow took"):
        taken(ValueError, slow)


def test_the_same_seed_makes_the_same_bytes() -> None:
    corpus, words = [b"abc", b"12345"], [b"word"]
    first = [mutated(random.Random(n), corpus, words) for n in range(50)]
    assert first == [mutated(random.Random(n), corpus, words) for n in range(50)]
    assert len(set(first)) > 25
    assert 1_000 <= len(grown(random.Random(1), b"abc", [b"word"], 1_000)) <= 1_004


def test_values_that_look_alike_are_told_apart() -> None:
    assert same({"a": [1, float("nan")]}, {"a": [1, float("nan")]})
    for one, other in ((1, 1.0), (1, True), (0.0, -0.0), ([1], [2]), ({"a": 1}, {"b": 1}), ([], {})):
        assert not same(one, other)


def _deep() -> None:
    _deep()
