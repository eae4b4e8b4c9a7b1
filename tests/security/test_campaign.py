"""A short campaign, in each run; the long one is by hand (campaign.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers import report, skip_unless_possible
from tests.security.campaign import campaign

pytestmark = pytest.mark.timed  # the honest are to be answered in time


@pytest.mark.timeout(180)
def test_attackers_at_every_socket_crash_nothing_fill_no_memory_and_hold_up_nobody(tmp_path: Path) -> None:
    skip_unless_possible(len(os.sched_getaffinity(0)) > 1, "the attackers need a core of their own")
    broken = campaign(tmp_path, 20_000, 600, 10.0, 20_120_601, report, late=5.0)
    assert not broken, "\n".join(broken)
