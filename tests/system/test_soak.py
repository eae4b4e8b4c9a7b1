"""Half a minute of the soak (soak.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.soak import soak


@pytest.mark.timed
@pytest.mark.timeout(240)
def test_whatever_is_killed_or_stopped_no_acknowledged_job_is_lost_and_status_tells_the_truth(
    tmp_path: Path,
) -> None:
    soaked = soak(tmp_path, seconds=30, seed=20261126)
    assert soaked.wrong == []
    assert soaked.submitted > 100 and soaked.complete == soaked.submitted
    assert "kill supervisor" in soaked.blows and soaked.looks > 0, soaked
