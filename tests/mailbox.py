"""A mail server of the tests: it keeps what it is sent."""

from __future__ import annotations

import base64
import contextlib
import email
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import cast


@dataclass
class Mailbox:
    """A mail server that keeps what it takes, and answers as it is told."""

    port: int = 0
    says: dict[str, str] = field(default_factory=dict)  # to a command, also with an address: `RCPT a@b.c`
    tls: ssl.SSLContext | None = None
    offers_tls: bool = False
    logins: list[str] = field(default_factory=list)
    got: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)


class Talk(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        self.box: Mailbox = self.server.box  # type: ignore[attr-defined]
        self.is_secure = self.box.tls is not None and not self.box.offers_tls
        if self.is_secure:
            self._secured()
        self.lines = self.request.makefile("rb")
        self.sender = ""
        self.to: list[str] = []
        if not self._say(self.box.says.get("CONNECT", "220 here")):
            return
        while line := self.lines.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if not self._on(verb, line):
                break

    def finish(self) -> None:
        self.request.close()

    def _on(self, verb: str, line: str) -> bool:
        """Whether the talk goes on."""
        address = line.partition("<")[2].partition(">")[0]
        said = self.box.says.get(f"{verb} {address}", self.box.says.get(verb))
        if verb == "QUIT":
            self._say(said or "221 bye")
            return False
        if said is not None:
            return self._say(said)
        if verb == "EHLO":
            offered = "250-STARTTLS\r\n" if self.box.offers_tls and not self.is_secure else ""
            return self._say(f"250-me\r\n{offered}250 AUTH PLAIN")
        if verb == "STARTTLS":
            self._say("220 begin")
            self._secured()
            self.lines = self.request.makefile("rb")
        elif verb == "AUTH":
            self.box.logins.append(base64.b64decode(line.split(" ")[2]).decode())
            self._say("235 you are")
        elif verb == "DATA":
            self._say("354 go on")
            text = b"".join(iter(self.lines.readline, b".\r\n"))
            message = email.message_from_bytes(text.replace(b"\r\n..", b"\r\n."), policy=default)
            self.box.got.append((self.sender, self.to, cast(EmailMessage, message)))
            self._say(self.box.says.get("END", "250 taken"))
        else:
            if verb == "MAIL":
                self.sender, self.to = address, []
            elif verb == "RCPT":
                self.to.append(address)
            self._say("250 ok")
        return True

    def _say(self, text: str) -> bool:
        if text != "HANG UP":
            self.request.sendall(f"{text}\r\n".encode())
        return text != "HANG UP"

    def _secured(self) -> None:
        assert self.box.tls is not None
        self.request = self.box.tls.wrap_socket(self.request, server_side=True)
        self.is_secure = True


@contextlib.contextmanager
def served(box: Mailbox) -> Iterator[Mailbox]:
    """It answers on a free port of this machine inside the block."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as server:
        server.box = box  # type: ignore[attr-defined]
        server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        box.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield box
        finally:
            server.shutdown()
            serving.join()
