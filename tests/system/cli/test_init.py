"""`zmws init`: what it makes works, as the next steps say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.system.installation import environment, run
from zmws.testing import free_ports


def test_a_new_project_starts_answers_and_its_test_passes(tmp_path: Path) -> None:
    made = run("init", "shop", cwd=tmp_path)
    assert (
        made.code == 0
        and "made: workers/hello.py, tests/test_hello.py, .gitignore, etc/zmws.toml" in made.out
    )
    assert "cd shop" in made.out and "zmws start" in made.out and "call HELLO name=you" in made.out
    shop = tmp_path / "shop"
    names = ("CLIENT", "WORKER", "NEWS", "MDP")
    ports = {
        f"ZMWS_BROKER_{name}": f"tcp://127.0.0.1:{port}"
        for name, port in zip(names, free_ports(4), strict=True)
    }
    (http,) = free_ports(1)
    ports["ZMWS_GATEWAY_HTTP"] = f"127.0.0.1:{http}"
    try:
        started = run("start", cwd=shop, **ports)
        assert started.code == 0 and "started: broker, gateway, hello" in started.out, started.err
        assert "call HELLO name=you" in started.out
        assert f"curl 'http://127.0.0.1:{http}/SYNC-HELLO?name=you'" in started.out
        assert run("call", "HELLO", "name=you", cwd=shop, **ports).out == "Hello, you!\n"
    finally:
        assert run("stop", cwd=shop, **ports).code == 0
    # Of the project alone: neither the checkout's settings of pytest nor its plugins.
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=shop, env=environment(), capture_output=True, text=True
    )
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout


def test_a_second_init_changes_nothing_and_says_so(tmp_path: Path) -> None:
    assert run("init", "--json", cwd=tmp_path).json()["left_alone"] == []
    (tmp_path / "workers" / "hello.py").write_text("mine")
    again = run("init", cwd=tmp_path)
    assert again.code == 1 and "is there already" in again.err and len(again.err.splitlines()) == 1
    assert (tmp_path / "workers" / "hello.py").read_text() == "mine"
