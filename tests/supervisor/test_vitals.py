"""What the system tells of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.peers import wait_until
from zmws.supervisor.vitals import vitals

BURNS = """
import time
x = bytearray(40 << 20)
t = time.process_time()
while time.process_time() - t < 0.3:
    pass
input()
"""


def test_a_process_has_run_so_long_and_used_so_much() -> None:
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", BURNS], stdin=subprocess.PIPE) as child:
        try:
            wait_until(lambda: (told := vitals(child.pid)) is not None and told.cpu_s >= 0.25)
            told = vitals(child.pid)
            assert told is not None and 0.2 < told.uptime_s < time.monotonic() - began + 0.1
            assert 40 << 20 < told.memory_bytes < 200 << 20 and told.cpu_s <= told.uptime_s + 0.1
        finally:
            child.kill()
    assert vitals(child.pid) is None, "it has gone"
    mine = vitals(os.getpid())
    assert mine is not None and mine.uptime_s > 0
