"""Descriptors, of which each connection takes one: that they run short is said, and the guard goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmws.server import connections
from zmws.server.descriptors import TOLD_AGAIN_S, DescriptorWatch
from zmws.server.memory_guard import resident_bytes


def _open() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) - 1  # one is the list's own


@contextlib.contextmanager
def _at_most(count: int) -> Iterator[None]:
    """This process may open so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def _taken(count: int) -> Iterator[list[int]]:
    """So many descriptors, from the lowest free one on."""
    made = [os.dup(0) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            os.close(one)


def test_descriptors_that_run_short_are_told_in_time_and_not_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "zmws.broker")
    with _taken(100) as filled:
        limit = max(filled) + 101
    begin = _open()
    with _at_most(limit):
        watch = DescriptorWatch(warn_percent=80)
        watch.look(0.0)
        assert (watch.open, watch.limit, caplog.text) == (begin, limit, "")
        with _taken(limit * 81 // 100 - begin):
            for now in range(1, 4):
                watch.look(float(now))
            assert caplog.text.count("descriptors are in use") == 1, caplog.text
            with contextlib.ExitStack() as rest:
                with contextlib.suppress(OSError):
                    while True:
                        rest.callback(os.close, os.dup(0))
                for now in range(4, 8):
                    watch.look(float(now))
                assert watch.open >= watch.limit == limit and watch.times_out == 1
                assert caplog.text.count("out of descriptors") == 1
                watch.look(4 + TOLD_AGAIN_S)
                assert caplog.text.count("out of descriptors") == 2, "it lasts, and is said now and then"
            watch.look(100.0)
            assert caplog.text.count("there are descriptors again") == 1
        caplog.clear()
        watch.look(101.0)
        assert watch.open == begin and caplog.text == ""


def test_the_worst_connections_can_be_judged_and_cut_without_a_free_descriptor() -> None:
    near, far = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listening.getsockname())
    taker, _ = listening.accept()
    taker.settimeout(5)
    with near, far, listening, sender, taker:
        sender.sendall(b"x" * 100)
        assert len(taker.recv(100, socket.MSG_WAITALL | socket.MSG_PEEK)) == 100
        inodes = [connections.inode_of(one.fileno()) or 0 for one in (taker, near)]
        with contextlib.ExitStack() as rest, _at_most(_open() + 5):
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    rest.callback(os.close, os.dup(0))
            assert resident_bytes() > 0
            for _ in range(3):
                assert connections.bytes_received(taker.fileno(), inodes[0]) == 100
                assert connections.bytes_received(taker.fileno(), inodes[1]) is None, "another one's number"
            connections.cut(near.fileno(), inodes[1])
            assert far.recv(1) == b""
            connections.cut(taker.fileno(), inodes[0])
            with pytest.raises(ConnectionResetError):
                sender.recv(1)
