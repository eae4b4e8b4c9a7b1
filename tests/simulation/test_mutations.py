"""The invariants can fail: each fault that is put into the shipped code is caught within some seeds."""

from __future__ import annotations

import pytest

from tests.simulation.history import run_seed
from tests.simulation.mutations import MUTATIONS, Mutation, applied

SEEDS = 150


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "_"))
def test_a_fault_in_the_shipped_code_is_caught(mutation: Mutation) -> None:
    with applied(mutation):
        for seed in range(SEEDS):
            try:
                run_seed(seed)
            except (AssertionError, KeyError, TypeError):
                return
    pytest.fail(f"{SEEDS} seeds did not notice that {mutation.name}")
