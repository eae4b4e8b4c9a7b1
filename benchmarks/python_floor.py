"""The Python floor: c/floor.c's job as a plain pyzmq loop. python_floor.py CLIENT WORKER LIFETIME_S

No features; it shows what Python alone costs, before anything that makes a broker worth having.
The backend's calls are used because `send_multipart` and `recv_multipart` are several times slower.
"""

from __future__ import annotations

import signal
import sys
from collections import deque

import zmq
from zmq.backend import Socket as Backend

SNDMORE = 2
POLLIN = 1
EVENTS = int(zmq.EVENTS)
MESSAGES_PER_WAKE_UP = 100


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """One whole message; it must be there."""
    frames = []
    recv = Backend.recv
    while True:
        frame = recv(socket, 0, False)
        frames.append(frame.bytes)
        if not frame.more:
            return frames


def send(socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
    backend_send = Backend.send
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        backend_send(socket, frame, SNDMORE if index < last else 0)


def forward(clients: zmq.Socket[bytes], workers: zmq.Socket[bytes]) -> None:
    waiting: deque[tuple[bytes, bytes]] = deque()  # (address, body)
    free_workers: deque[bytes] = deque()
    envelopes: dict[bytes, list[bytes]] = {}  # by the address that the worker echoes
    number = 0
    poller = zmq.Poller()
    poller.register(clients, zmq.POLLIN)
    poller.register(workers, zmq.POLLIN)
    get = Backend.get
    while True:
        ready = dict(poller.poll())
        if workers in ready:
            for _ in range(MESSAGES_PER_WAKE_UP):
                frames = receive(workers)
                match frames:
                    case [worker, b"MDPW02", b"\x04", address, b"", body]:
                        envelope = envelopes.pop(address, None)
                        if envelope is not None:
                            send(clients, [*envelope, b"MDPC02", b"\x03", b"ECHO", body])
                            free_workers.append(worker)
                    case [worker, b"MDPW02", b"\x01", _]:
                        free_workers.append(worker)
                if not int(get(workers, EVENTS)) & POLLIN:
                    break
        if clients in ready:
            for _ in range(MESSAGES_PER_WAKE_UP):
                match receive(clients):
                    case [*envelope, b"MDPC02", b"\x01", _, body]:
                        number += 1
                        address = b"%d/1/0" % number
                        envelopes[address] = envelope
                        waiting.append((address, body))
                if not int(get(clients, EVENTS)) & POLLIN:
                    break
        while waiting and free_workers:
            address, body = waiting.popleft()
            send(workers, [free_workers.popleft(), b"MDPW02", b"\x02", address, b"", body])


def bind(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.set_hwm(0)
    socket.bind(endpoint)
    return socket


def main() -> None:
    client_endpoint, worker_endpoint, lifetime_s = sys.argv[1:]
    signal.alarm(int(lifetime_s))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    forward(bind(context, client_endpoint), bind(context, worker_endpoint))


if __name__ == "__main__":
    main()
