"""A redis-server of its own for each measurement: on a free port, nothing on disk, ended with its folder."""

from __future__ import annotations

import socket
import subprocess
import time

from harness import Broken, Processes, find_program, free_endpoint, wait_until

START_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0
QUEUE, RESULTS = 0, 1  # databases


def version() -> str:
    """Of the redis-server here. Raises CannotRun."""
    said = subprocess.run([_program(), "--version"], capture_output=True, text=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")


def _program() -> str:
    return find_program("redis-server", "redis-server")


class RedisServer:
    """redis-server, and one connection that counts the results it holds."""

    def __init__(self, processes: Processes) -> None:
        """Returns when it answers. Raises CannotRun when it is not installed, Broken when it does not
        start."""
        self._port = int(free_endpoint().rpartition(":")[2])
        command = [
            _program(),
            "--port",
            str(self._port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(processes.folder),
        ]
        command += ["--appendonly", "no", "--save", ""]
        self._process = processes.start("redis-server", command)
        if not wait_until(self._connects, START_TIMEOUT_S):
            raise Broken(f"redis-server does not answer within {START_TIMEOUT_S:.0f} s")
        self._ask(f"SELECT {RESULTS}")
        url = f"redis://127.0.0.1:{self._port}"
        self.environment = {"REDIS_QUEUE": f"{url}/{QUEUE}", "REDIS_RESULTS": f"{url}/{RESULTS}"}
        self.servers = [self._process]

    def results(self) -> int:
        """How many keys the database of the results has; each result is one."""
        return int(self._ask("DBSIZE").removeprefix(":"))

    def close(self) -> None:
        """The connection; the process ends with the others."""
        self._connection.close()

    def _connects(self) -> bool:
        if self._process.ended:
            raise Broken(self._process.why_ended())
        try:
            self._connection = socket.create_connection(("127.0.0.1", self._port), ANSWER_TIMEOUT_S)
        except ConnectionRefusedError:
            time.sleep(0.02)
            return False
        self._answers = self._connection.makefile("r", newline="\r\n")
        return True

    def _ask(self, command: str) -> str:
        """A command whose answer is one line."""
        try:
            self._connection.sendall(f"{command}\r\n".encode())
            answer = self._answers.readline().strip()
        except OSError as error:
            raise Broken(f"redis-server does not answer {command}: {error}") from None
        if not answer or answer.startswith("-"):
            raise Broken(f"redis-server answers {command} with {answer or 'nothing'}")
        return answer
