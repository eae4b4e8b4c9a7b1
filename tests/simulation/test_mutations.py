"""The invariants can fail: each fault that is put into the shipped code is caught within some seeds, or by a
transcript."""

from __future__ import annotations

import pytest

from tests.simulation.history import run_seed
from tests.simulation.mutation import Mutation, applied
from tests.simulation.mutations import MUTATIONS
from tests.simulation.promises import BY_TRANSCRIPT, PROMISES
from tests.test_dialogues import DIALOGUES, Transcript

SEEDS = 300
pytestmark = pytest.mark.interpreted


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "mutation", [*MUTATIONS, *PROMISES], ids=lambda mutation: mutation.name.replace(" ", "_")
)
def test_a_fault_in_the_shipped_code_is_caught(mutation: Mutation) -> None:
    with applied(mutation):
        for seed in range(SEEDS):
            try:
                run_seed(seed)
            except (AssertionError, KeyError, TypeError):
                return
    pytest.fail(f"{SEEDS} seeds did not notice that {mutation.name}")


@pytest.mark.parametrize(
    ("mutation", "transcript"), BY_TRANSCRIPT, ids=[mutation.name for mutation, _ in BY_TRANSCRIPT]
)
def test_a_transcript_fails(mutation: Mutation, transcript: str) -> None:
    path = DIALOGUES / f"{transcript}.txt"
    with applied(mutation), pytest.raises((pytest.fail.Exception, AssertionError)):
        Transcript(path).run()
