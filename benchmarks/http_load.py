"""The gateway against bare starlette that returns a constant, with wrk at 50 connections, in one run; and
what 1,000 open long polls cost. Read README.md here first.

    python benchmarks/http_load.py [--rounds 5] [--seconds 4] [--polls 1000]

Each round asks each of them once, one after the other. Judged are the medians of the rounds' ratios. Gates: a
synchronous echo 0.25 (aim 0.4), a durable submit 0.3; long polls under 100 MB, and under 1 % of a core of the
broker.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from zmws.testing import free_ports

HERE = Path(__file__).parent
ZMWS = [sys.executable, "-m", "zmws"]
ECHO = """from zmws import WorkerBase


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id, params):
        return params
"""
SETTINGS = """[broker]
client = "tcp://127.0.0.1:{}"
worker = "tcp://127.0.0.1:{}"
news = "tcp://127.0.0.1:{}"
mdp = "tcp://127.0.0.1:{}"
[gateway]
http = "127.0.0.1:{}"
[[workers]]
file = "workers/echo.py"
count = 2
"""
GATES = {"synchronous echo": (0.25, 0.4), "durable submit": (0.3, None)}
POLLS_MB, POLLS_PERCENT = 100, 1.0
TICKS = os.sysconf("SC_CLK_TCK")


def requests_per_s(url: str, seconds: int) -> float:
    """As wrk counts them. Ends the program where answers are errors."""
    told = subprocess.run(
        ["wrk", "-t1", "-c50", f"-d{seconds}s", url], check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        sys.exit(f"{url}: {told}")
    found = re.search(r"Requests/sec: +([\d.]+)", told)
    assert found is not None, told
    return float(found[1])


def cpu_s(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def await_port(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(200):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    sys.exit(f"nobody listens at {port}")


def polls(folder: Path, url: str, count: int) -> tuple[float, float]:
    """What so many open long polls cost: MB more in the gateway, percent of a core in the broker."""
    gateway, broker = (int((folder / "run" / f"{name}.pid").read_text()) for name in ("gateway", "broker"))
    body = json.dumps({"service": "ECHO", "delay": 3600}).encode()
    asked = urllib.request.Request(f"{url}/api/v1/jobs", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        job_id = json.load(answer)["id"]
    before = memory_mb(gateway)
    host, port = url.removeprefix("http://").split(":")
    waiting = []
    for _ in range(count):
        one = socket.create_connection((host, int(port)))
        one.sendall(f"GET /api/v1/jobs/{job_id}/result?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        waiting.append(one)
    time.sleep(3)
    began, used = time.perf_counter(), cpu_s(broker)
    time.sleep(20)
    percent = 100 * (cpu_s(broker) - used) / (time.perf_counter() - began)
    more = memory_mb(gateway) - before
    for one in waiting:
        one.close()
    return more, percent


def main() -> int:
    """Measure, print, and say which gates are passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--polls", type=int, default=1_000)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk (Debian's package wrk)")
    ports = free_ports(6)
    url, bare_url = (f"http://127.0.0.1:{port}" for port in ports[4:])
    paths = {"synchronous echo": "/SYNC-ECHO?a=1", "durable submit": "/ECHO?a=1"}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, text in (("etc/zmws.toml", SETTINGS.format(*ports[:5])), ("workers/echo.py", ECHO)):
            (folder / name).parent.mkdir()
            (folder / name).write_text(text)
        bare = subprocess.Popen([sys.executable, str(HERE / "bare_http.py"), str(ports[5])])
        subprocess.run([*ZMWS, "start"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        try:
            await_port(ports[5])
            rates: dict[str, list[float]] = {"bare starlette": [], **{name: [] for name in paths}}
            for _ in range(given.rounds):
                rates["bare starlette"].append(requests_per_s(f"{bare_url}/", given.seconds))
                for name, path in paths.items():
                    rates[name].append(requests_per_s(f"{url}{path}", given.seconds))
            more_mb, percent = polls(folder, url, given.polls)
        finally:
            bare.terminate()
            bare.wait()
            subprocess.run([*ZMWS, "stop"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    print(f"{given.rounds} rounds of {given.seconds} s, {os.cpu_count()} cores, wrk at 50 connections")
    for name, each in rates.items():
        ratios = [mine / base for mine, base in zip(each, rates["bare starlette"], strict=True)]
        line = f"{name:18} {statistics.median(each):7.0f}/s   {statistics.median(ratios):5.2f} of it"
        if name in GATES:
            gate, aim = GATES[name]
            passed = "passed" if statistics.median(ratios) >= gate else "MISSED"
            line += f"   gate {gate} {passed}" + (f", aim {aim}" if aim else "")
        print(line)
    print(
        f"{given.polls} long polls: {more_mb:.0f} MB more in the gateway (gate {POLLS_MB}), {percent:.2f} % "
        f"of a core in the broker (gate {POLLS_PERCENT:g})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
