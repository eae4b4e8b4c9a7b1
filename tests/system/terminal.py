"""A terminal for `zmws` to write to."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios

from tests.system.installation import ZMWS, Installation, environment


def terminal(zmws: Installation, *args: str, columns: int = 80) -> str:
    """What a terminal of so many columns is sent by a command that succeeds."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = environment(TERM="xterm")
    del env["COLUMNS"]
    process = subprocess.Popen(
        [*ZMWS, *args], cwd=zmws.root, env=env, stdout=slave, stderr=slave, stdin=slave
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the last one has closed it
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(20) == 0
    return shown.decode().replace("\r\n", "\n")
