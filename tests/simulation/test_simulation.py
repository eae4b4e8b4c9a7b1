"""Thousands of histories with faults, in virtual time."""

from __future__ import annotations

import pytest

from tests.simulation.history import run_seed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first, count = metafunc.config.getoption("--first-seed"), metafunc.config.getoption("--seeds")
    step = 50
    blocks = [range(n, min(n + step, first + count)) for n in range(first, first + count, step)]
    metafunc.parametrize("seeds", blocks, ids=lambda block: f"{block.start}-{block.stop - 1}")


@pytest.mark.timeout(3600)
def test_no_history_breaks_an_invariant(seeds: range) -> None:
    for seed in seeds:
        run_seed(seed)
