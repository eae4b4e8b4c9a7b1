"""`zmws top`: what is shown again and again."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.peers import wait_until
from tests.system.installation import ONE, installation


def test_each_look_tells_what_was_done_since_the_one_before(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        assert zmws.run("start").code == 0
        watching = zmws.popen("top", "--json", "--interval", "0.3", stdout=subprocess.PIPE)
        try:
            assert watching.stdout is not None
            first = json.loads(watching.stdout.readline())
            (service,) = first["services"]
            assert service["service"] == "STR-REV" and service["done_per_s"] is None
            assert {row["name"]: row["cpu"] for row in first["processes"]} == {
                "broker": None,
                "reverse": None,
            }
            for _ in range(3):
                assert zmws.run("submit", "STR-REV", "str=ab", "--wait").code == 0

            def done() -> bool:
                assert watching.stdout is not None
                look = json.loads(watching.stdout.readline())
                return bool(look["services"][0]["done_per_s"] > 0) and look["processes"][0]["cpu"] is not None

            wait_until(done)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 0, "Ctrl-C is its end, and no fault"
        finally:
            watching.kill()
            watching.wait()
            assert watching.stdout is not None
            watching.stdout.close()


def test_people_see_tables_and_a_broker_that_is_not_there_is_told(tmp_path: Path) -> None:
    with installation(tmp_path, ONE) as zmws:
        nobody = zmws.run("top", "-n", "1")
        assert nobody.code == 0 and "no broker" in nobody.out and "reverse" in nobody.out
        assert zmws.run("start").code == 0
        seen = zmws.run("top", "-n", "2", "--interval", "0.2")
        assert seen.code == 0 and seen.out.count("STR-REV") == 4 and "\x1b" not in seen.out
        assert "0 wait, 0 run, 0.0 done a second" in seen.out and "DONE/S" in seen.out
