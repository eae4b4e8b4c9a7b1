"""`run/supervisor.sock`: how commands reach a running supervisor, and what it answers.

A command is one line of JSON, `{"verb": "start", ...}`. Back come lines, while it is carried out and at its
end: `{"event": ...}` (what happens), `{"alive": true}` (each second, so that one that hangs is noticed), and
last either `{"done": ...}` or `{"error": TEXT, "code": WORD}`. A line `{"cancel": true}` from the asker takes
the command back. Who closes the connection has stopped listening; the command goes on.

Rule 1: the socket is its owner's alone (0600), and the supervisor trusts whoever can open it.
Rule 2: a peer that sends too much, or does not read, is cut off. Nothing here waits for a peer.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zmws.errors import ZmwsError

NAME = "supervisor.sock"
ENDING = "ending"  # the code of an error: it takes no more commands
ALIVE_S = 1.0  # a word at least so often
SILENCE_S = 15.0  # without one for so long, and it hangs

_LINE_BYTES_MAX = 4 << 20  # an environment goes along, which Linux bounds to about 2 MB
_UNREAD_BYTES_MAX = 1 << 20
_PEERS_MAX = 64
_PATH_BYTES_MAX = 100  # sun_path, unix(7)

Answer = dict[str, Any]


class NoSupervisor(ZmwsError):
    """None runs here."""


class Peer:
    """Somebody who has connected, as the supervisor sees him."""

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.open = True
        self._came = b""
        self._unsent = b""

    def tell(self, answer: Answer) -> None:
        """Send him this."""
        if self.open:
            self._unsent += json.dumps(answer).encode() + b"\n"
            self.flush()

    def flush(self) -> None:
        """Send what he could not take yet."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            if len(self._unsent) > _UNREAD_BYTES_MAX:
                self.close()
        except OSError:
            self.close()

    @property
    def waits(self) -> bool:
        """There is something that he could not take yet."""
        return self.open and bool(self._unsent)

    def lines(self) -> Iterator[Answer]:
        """What he has sent since the last time. What is no JSON is told him, and cuts him off."""
        try:
            while self.open and (part := self.socket.recv(65_536)):
                self._came += part
                if len(self._came) > _LINE_BYTES_MAX:
                    return self._turn_away(f"a command is at most {_LINE_BYTES_MAX} bytes")
            if self.open and not part:
                self.open = False
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        *whole, self._came = self._came.split(b"\n")
        for line in whole:
            try:
                asked = json.loads(line)
            except (ValueError, RecursionError):
                asked = None
            if not isinstance(asked, dict):
                return self._turn_away('a command is a line of JSON: {"verb": "status"}')
            yield asked
        return None

    def _turn_away(self, text: str) -> None:
        self.tell({"error": text, "code": "bad_request"})
        self.close()

    def close(self) -> None:
        """Nothing more comes of him."""
        self.open = False


class Door:
    """The socket, as the supervisor has it. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector) -> None:
        self._file = folder / NAME
        self._selector = selector
        self.peers: list[Peer] = []
        self._listen()

    def look(self) -> None:
        """Make the socket anew, if somebody has removed it. Raises OSError."""
        if not self._is_there():
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listen()

    def _is_there(self) -> bool:
        try:
            found = self._file.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._made

    def _listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
        before = os.umask(0o177)
        try:
            with _address(self._file) as address:
                self._listener.bind(address)
        finally:
            os.umask(before)
        self._listener.listen(_PEERS_MAX)
        self._listener.setblocking(False)
        found = self._file.lstat()
        self._made = found.st_dev, found.st_ino
        self._selector.register(self._listener, selectors.EVENT_READ)

    def asked(self) -> list[tuple[Peer, Answer]]:
        """What has been asked since the last time, and by whom; who has gone is let go."""
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                if len(self.peers) >= _PEERS_MAX:
                    line.close()
                    continue
                line.setblocking(False)
                self._selector.register(line, selectors.EVENT_READ)
                self.peers.append(Peer(line))
        asked = [(peer, line) for peer in self.peers for line in peer.lines()]
        for peer in self.peers:
            peer.flush()
        return asked

    def tidy(self) -> None:
        """Let go of who has gone, and look whether the others can take more."""
        for peer in [one for one in self.peers if not one.open]:
            self._selector.unregister(peer.socket)
            peer.socket.close()
            self.peers.remove(peer)
        for peer in self.peers:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.waits else 0)
            if self._selector.get_key(peer.socket).events != events:
                self._selector.modify(peer.socket, events)

    def close(self) -> None:
        """Nobody can ask any more."""
        if self._is_there():
            with contextlib.suppress(OSError):
                self._file.unlink()
        for peer in self.peers:
            peer.close()
        self.tidy()
        self._selector.unregister(self._listener)
        self._listener.close()


class Asked:
    """A command that was sent to the supervisor of an installation: what comes back."""

    def __init__(self, folder: Path, command: Mapping[str, Any], silence_s: float | None = None) -> None:
        """Raises NoSupervisor; ZmwsError where it cannot be asked, by another user, say."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SILENCE_S if silence_s is None else silence_s)
        self._came = b""
        try:
            with _address(folder / NAME) as address:
                self._socket.connect(address)
            self._send(command)
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
            self._socket.close()
            raise NoSupervisor(f"no supervisor runs in {folder}") from None
        except TimeoutError:
            self._socket.close()
            raise ZmwsError(_hangs(folder)) from None
        except OSError as wrong:
            self._socket.close()
            raise ZmwsError(f"cannot ask the supervisor: {wrong.strerror}: {folder / NAME}") from None
        self._folder = folder

    def answers(self) -> Iterator[Answer]:
        """Each line, without the words that it is alive; the last is done or error. Raises ZmwsError where it
        has gone, or hangs."""
        while True:
            while b"\n" not in self._came:
                try:
                    part = self._socket.recv(65_536)
                except TimeoutError:
                    raise ZmwsError(_hangs(self._folder)) from None
                except OSError:
                    part = b""
                if not part:
                    raise NoSupervisor("the supervisor has ended before it was done; its processes go on")
                self._came += part
            line, self._came = self._came.split(b"\n", 1)
            answer = json.loads(line)
            if "alive" not in answer:
                yield answer
            if "done" in answer or "error" in answer:
                return

    def cancel(self) -> None:
        """Take the command back; the answers go on."""
        with contextlib.suppress(OSError):
            self._send({"cancel": True})

    def until_it_ends(self, within_s: float) -> bool:
        """Wait until the supervisor closes the connection, as it does at its end; whether it has."""
        self._socket.settimeout(within_s)
        try:
            while self._socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def _send(self, value: Mapping[str, Any]) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")


def _hangs(folder: Path) -> str:
    try:
        number = (folder / "supervisor.pid").read_text().strip()
    except OSError:
        number = "PID"
    return (
        f"the supervisor (process {number}) does not answer. 'kill -9 {number}' ends it, which costs no job: "
        "its processes go on, and the next 'zmws start' takes them over"
    )


@contextlib.contextmanager
def _address(file: Path) -> Iterator[str]:
    """How the socket is named; a path that is too long is named by its folder. Raises OSError."""
    if len(os.fsencode(file)) <= _PATH_BYTES_MAX:
        yield str(file)
        return
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
