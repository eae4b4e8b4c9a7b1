"""Requests that nobody would send in good faith: bytes by chance, over real connections.

    python -m tests.gateway.hostile [--requests 100000] [--seed N]

By hand it starts an installation of its own, asks so many, and says what was answered, what went wrong (a
500, a gateway that died, an honest caller who was not answered), and how the gateway's memory grew."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

PATHS = [
    *(
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/login",
        "/logout",
        "/ECHO",
        "/SYNC-ECHO",
        "/NOPE",
        "/SYNC-NOPE",
    ),
    *(
        "/SERVER-WORKERS",
        "/SYNC-SERVER-JOBS",
        "/zmws.purge",
        "/SYNC-zmws.stats",
        "/mmi.service",
        "//",
        "/a/b",
        "*",
    ),
    *(
        f"/api/v1/{rest}"
        for rest in ("jobs", "jobs/many", "jobs/cancel", "jobs/delete", "jobs/x", "jobs/x/result")
    ),
    *(
        f"/api/v1/jobs/{rest}"
        for rest in ("x/events", "x/cancel", "x/copy", "%00", "%ff", "..%2f", "x" * 300)
    ),
    *(
        f"/api/v1/services/{rest}"
        for rest in ("ECHO", "ECHO/purge", "ECHO/peek", "ECHO/lease", "NOPE/lease", "%20")
    ),
    *(
        f"/api/v1/{rest}"
        for rest in ("leases/extend", "leases/report", "workers/x/drain", "stats", "services", "nope")
    ),
    "/api/v1/openapi.json",
]
QUERIES = [
    "",
    "?",
    "?a=1",
    "?a[]=1&a[]=2",
    "?wait=0",
    "?wait=x",
    "?limit=1",
    "?limit=-1",
    "?%00=%ff",
    "?" + "a=b&" * 2_000,
    "?=&&=",
]
METHODS = [
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "BREW",
    "",
    "G" * 300,
    "\x00",
]
HEADERS = [
    *(
        "Host: localhost",
        "Host: evil.example",
        "Host:",
        "Host: [::1",
        "Host: localhost\r\nHost: b",
        "X: y",
        "X:",
        ": y",
    ),
    *(
        "Content-Length: 5",
        "Content-Length: -1",
        "Content-Length: 9999999999999999999",
        "Content-Length: 5, 5",
        "Content-Length: x",
    ),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
    ),
    *(
        "Content-Type: application/json",
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Type: multipart/form-data",
    ),
    *(
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: \xff",
        "Content-Type: application/x-ndjson",
    ),
    *(
        "Origin: null",
        "Origin: http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Referer: x",
        "Expect: 100-continue",
    ),
    *(
        "Authorization: Bearer x",
        "Authorization: Basic",
        "Authorization: " + "x" * 3_000,
        "Cookie: zmws-5580=a.1.b",
        "Cookie: =;=;",
    ),
    *(
        "Idempotency-Key: k",
        "Idempotency-Key: \xe9",
        'Idempotency-Key: ""',
        "Prefer: wait=0",
        "Prefer: wait=,;=",
    ),
    *("If-None-Match: *", 'If-None-Match: W/"x', "If-Match: x", "Last-Event-ID: a.1", "Last-Event-ID: ."),
    *(
        "Connection: close",
        "Connection: upgrade\r\nUpgrade: websocket",
        "X-Forwarded-For: 1, 2",
        "X-Forwarded-Prefix: //e",
    ),
    *("Accept-Encoding: gzip", "Range: bytes=0-1", "X: " + "y" * 30_000, "X: a\rb", "X: a\x00b", " folded"),
]
BODIES = [
    *(
        b"",
        b"null",
        b"{}",
        b"[]",
        b'{"service": "ECHO"}',
        b'{"service": "ECHO", "params": NaN}',
        b'{"a":' * 3_000,
        b"[" * 20_000,
    ),
    *(
        b'[{"service": "ECHO"}, 5, {}]',
        b'{"all": false}',
        b'{"dry_run": true, "all": true}',
        b'{"token": "a/1/b", "kind": "log"}',
    ),
    *(
        b"a=1&b=2",
        b"=&=",
        b"--b\r\n\r\n",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
        b"\xff\xfe\x00",
    ),
    *(
        b'{"service": "ECHO", "meta": []}',
        b'{"service": "\\ud800"}',
        b'{"params_base64": "?", "service": "ECHO"}',
        b"1" * 5_000,
    ),
]
PATIENCE_S = 0.05  # with an answer, where half a request was sent
QUICK = b'{"service": "ECHO", "params": 1}'


def request(chance: random.Random) -> bytes:
    """One of them."""
    version = chance.choice(["1.1"] * 8 + ["1.0", "2", "x"])
    line = f"{chance.choice(METHODS)} {chance.choice(PATHS)}{chance.choice(QUERIES)} HTTP/{version}"
    headers = [chance.choice(HEADERS) for _ in range(chance.randrange(6))]
    if chance.random() < 0.8:
        headers.insert(0, "Host: localhost")
    body = chance.choice(BODIES)
    if chance.random() < 0.7:
        headers.append(f"Content-Length: {len(body)}")
    data = "\r\n".join([line, *headers, "", ""]).encode("latin-1") + body
    if chance.random() < 0.2:  # some bytes of it are others
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        data = bytes(changed)
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data))]
    return data


def campaign(address: tuple[str, int], count: int, seed: int, told: Counter[str]) -> None:
    """Ask so many; what was answered, by status."""
    chance = random.Random(seed)
    for _ in range(count):
        try:
            with socket.create_connection(address, 5) as connection:
                connection.settimeout(PATIENCE_S)
                connection.sendall(request(chance))
                if chance.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                told[_status(connection)] += 1
        except TimeoutError:
            told["waits"] += 1
        except OSError:
            told["cut"] += 1


def _status(connection: socket.socket) -> str:
    head = connection.recv(4096)
    return (
        head[9:12].decode("latin-1") if head.startswith(b"HTTP/1.1 ") else "closed" if not head else "other"
    )


def honest(address: tuple[str, int], until: threading.Event, took: list[float], wrong: list[str]) -> None:
    """A caller in good faith, all the while."""
    head = b"POST /SYNC-ECHO HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\n"
    while not until.wait(0.02):
        began = time.perf_counter()
        with contextlib.suppress(OSError), socket.create_connection(address, 10) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(QUICK) + QUICK)
            status = _status(connection)
            if status != "200":
                wrong.append(status)
            took.append(time.perf_counter() - began)


def main() -> int:
    """By hand."""
    from tests.system.installation import installation

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    worker = "from zmws import WorkerBase\nclass Echo(WorkerBase):\n    service_name = 'ECHO'\n"
    worker += "    def work(self, job_id, params):\n        return params\n"
    table = '[[workers]]\nname = "echo"\nfile = "echo.py"\n'
    with tempfile.TemporaryDirectory() as made, installation(Path(made), table, has_http=True) as zmws:
        (zmws.root / "echo.py").write_text(worker)
        assert zmws.run("start").code == 0
        pid = zmws.pids()["gateway"]
        memory = Path(f"/proc/{pid}/status")
        address, told = ("127.0.0.1", zmws.ports[4]), Counter[str]()
        over, took, wrong = threading.Event(), list[float](), list[str]()
        caller = threading.Thread(target=honest, args=(address, over, took, wrong))
        caller.start()
        sizes = []
        for part in range(10):
            campaign(address, given.requests // 10, given.seed + part, told)
            sizes.append(next(one.split()[1] for one in memory.read_text().splitlines() if "VmRSS" in one))
            print(json.dumps({"asked": (part + 1) * (given.requests // 10), "KiB": sizes[-1], **dict(told)}))
        over.set()
        caller.join()
        same = zmws.pids().get("gateway") == pid
        took.sort()
        late_ms = 1e3 * took[int(0.99 * (len(took) - 1))]
        print(f"the gateway {'lives' if same else 'DIED'}; 500s: {told['500']}; memory in KiB: {sizes}")
        print(f"{len(took)} honest calls, wrong: {wrong}; their 99th percentile took {late_ms:.0f} ms")
        log = (zmws.root / "logs" / "gateway.txt").read_text()
        faults = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
        print(f"faults in its log: {len(faults)} {faults[:3]}")
        zmws.run("stop")
    return 0 if same and not told["500"] and not wrong and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
