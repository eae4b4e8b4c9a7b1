"""What is counted, the buckets of histograms, and quantiles against sorted lists."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zmws.core.figures import BOUNDS_S, BUCKETS, COUNTED, Figures, Histogram, quantile

TOOK_S = st.floats(0.0, 1e6, allow_nan=False)
SHARES = st.sampled_from((0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0)) | st.floats(0.0, 1.0)


def histogram_of(took: list[float]) -> Histogram:
    """All of these, noted."""
    histogram = Histogram()
    for seconds in took:
        histogram.note(seconds)
    return histogram


def bounds_of(seconds: float) -> tuple[float, float]:
    """The bucket that this falls into, found by looking at all of them; what is longer than the last bound
    is said to take just that."""
    low = 0.0
    for high in BOUNDS_S:
        if seconds <= high:
            return low, high
        low = high
    return BOUNDS_S[-1], BOUNDS_S[-1]


@given(st.lists(TOOK_S, min_size=1, max_size=60), SHARES)
@example([0.001], 1.0)
@example([0.0010001], 0.5)
@example([86_400.0, 86_400.1], 1.0)
@example([0.005], 1.0)
def test_a_quantile_is_in_the_bucket_of_that_element_of_the_sorted_list(
    took: list[float], share: float
) -> None:
    found = quantile(histogram_of(took).counts, share)
    low, high = bounds_of(sorted(took)[max(0, math.ceil(share * len(took)) - 1)])
    assert found is not None and low <= found <= high


@given(st.lists(TOOK_S, min_size=1, max_size=60), SHARES, SHARES)
def test_a_greater_share_takes_no_less_time(took: list[float], one: float, other: float) -> None:
    counts = histogram_of(took).counts
    less, more = (quantile(counts, share) for share in sorted((one, other)))
    assert less is not None and more is not None and less <= more


@given(st.lists(TOOK_S, max_size=40), st.lists(TOOK_S, max_size=40))
def test_histograms_of_any_times_can_be_added(one: list[float], other: list[float]) -> None:
    both, first, second = histogram_of(one + other), histogram_of(one), histogram_of(other)
    assert both.counts == [a + b for a, b in zip(first.counts, second.counts, strict=True)]
    assert sum(both.counts) == len(one) + len(other)
    assert both.sum_s == pytest.approx(first.sum_s + second.sum_s)


@given(st.lists(TOOK_S, min_size=1, max_size=40), st.floats(0.001, 1.0), SHARES)
def test_what_has_faded_has_the_same_quantiles(took: list[float], fades: float, share: float) -> None:
    counts = histogram_of(took).counts
    before, after = quantile(counts, share), quantile([count * fades for count in counts], share)
    assert before is not None and after is not None
    assert (
        after == pytest.approx(before, rel=1e-6, abs=1e-9)
        or share in (0.0, 1.0)
        or _at_an_edge(counts, share)
    )


def _at_an_edge(counts: list[int], share: float) -> bool:
    """Whether a rounding error decides in which bucket it is."""
    seen, total = 0, sum(counts)
    for count in counts:
        seen += count
        if abs(seen - share * total) < 1e-6:
            return True
    return False


def test_within_a_bucket_a_quantile_is_as_if_all_were_even() -> None:
    counts = [0] * BUCKETS
    counts[BOUNDS_S.index(20.0)] = 10
    assert quantile(counts, 0.5) == 15.0 and quantile(counts, 1.0) == 20.0 and quantile(counts, 0.0) == 10.0
    counts[BOUNDS_S.index(0.001)] = 10
    assert quantile(counts, 0.25) == pytest.approx(0.0005) and quantile(counts, 0.75) == 15.0


def test_of_none_there_is_no_quantile() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None


def test_a_bound_is_in_the_bucket_that_it_ends_and_what_is_longer_than_all_is_in_one_more() -> None:
    assert len(set(BOUNDS_S)) == len(BOUNDS_S) == BUCKETS - 1 and list(BOUNDS_S) == sorted(BOUNDS_S)
    for place, bound in enumerate(BOUNDS_S):
        assert histogram_of([bound]).counts.index(1) == place
    assert histogram_of([0.0]).counts[0] == 1 and histogram_of([90_000.0]).counts[-1] == 1


def test_the_counts_are_told_in_the_order_of_their_names() -> None:
    figures = Figures()
    for number, name in enumerate(COUNTED):
        setattr(figures, name, number)
    assert figures.counts() == tuple(range(len(COUNTED)))
