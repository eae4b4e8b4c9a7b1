"""zmws.work.raised: what work() raises to say how it goes on."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from zmws.work import Fail, Retry


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (Retry(), "work() asks to be run again"),
        (Retry(delay=1.5), "work() asks to be run again in 1.5 s"),
        (Retry("busy", delay=1), "busy"),
        (Fail(), "work() has given up"),
        (Fail("no such account"), "no such account"),
        (Fail(5), "5"),
    ],
)
def test_each_has_a_text(raised: Exception, text: str) -> None:
    assert str(raised) == text


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 1e9, 10**400, "60", True, [1]])
def test_a_delay_that_no_broker_would_take_is_refused(delay: Any) -> None:
    with pytest.raises(ValueError, match="delay of a Retry is a number of seconds from 0 to 31622400, not"):
        Retry(delay=delay)


def test_a_retry_that_a_child_has_raised_is_still_the_same() -> None:
    copy = pickle.loads(pickle.dumps(Retry("busy", delay=0, count=False)))
    assert (str(copy), copy.delay, copy.count) == ("busy", 0, False)
    assert Retry().delay is None and Retry().count is True
