"""Documents whose examples are run, as a reader would who follows them from the top to the end.

A fenced block is one of these; another language is refused, so that no example is left out by accident:

    python, toml  whose first line is a comment with a file's name and nothing else, `# workers/hello.py`:
                  that file of the reader's folder, from that line on. A `test_*.py` is run by pytest at once
    python        without one: a program, which must end well; `assert` says what a reader may rely on
    console       lines that begin with `$ ` are run by bash (`> `: the command goes on), the others are what
                  a terminal shows then; `...` stands for anything. A command that shows nothing must end well
    text          only shown

Rule 1: what stands behind `$ ` begins with `zmws` or `python`, as they are in a reader's environment. The
        broker's default endpoints are this reader's own, in programs too.
Rule 2: a worker's file that `zmws start` has never started, and no other example imports, is one that nobody
        has run: it is refused.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.system.installation import environment

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_COMMANDS_S = 90
_MARK = "-- the command before ended with"


@dataclass(frozen=True)
class Block:
    """A fenced block. `line`: where its text begins in the document; `file`: the name it begins with."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        named = _FILE.match(self.text) if self.language in ("python", "toml") else None
        return named[1] if named else None


def blocks(text: str, language: str | None = None) -> list[Block]:
    """Those of a document, or of one language. Fails where a fence does not begin its line, or has more than
    a language behind it: nobody would run that block."""
    found = [Block(one[1], one[2], text.count("\n", 0, one.start(2)) + 1) for one in _FENCE.finditer(text)]
    fences = len(re.findall(r"^[ >]*```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{fences} fences, and {len(found)} blocks that can be read"
    return [one for one in found if language in (None, one.language)]


class Reader:
    """Somebody with a folder, a shell and this zmws."""

    def __init__(self, folder: Path, client: str, worker: str, news: str, mdp: str, http: str = "") -> None:
        """`http`: HOST:PORT of the gateway; "": there is none."""
        self.folder = folder
        self.http = http
        self.mail = "127.0.0.1:1025"  # a mail server
        self.endpoints = {
            "ZMWS_BROKER_CLIENT": client,
            "ZMWS_BROKER_WORKER": worker,
            "ZMWS_BROKER_NEWS": news,
            "ZMWS_BROKER_MDP": mdp,
            "ZMWS_GATEWAY_HTTP": http,
        }
        self._defaults = dict(zip(("5555", "5556", "5557", "5558"), (client, worker, news, mdp), strict=True))

    def own(self, text: str) -> str:
        """An example with this reader's endpoints in place of the defaults."""
        for port, endpoint in self._defaults.items():
            text = text.replace(f"tcp://127.0.0.1:{port}", endpoint)
        text = text.replace("127.0.0.1:1025", self.mail)
        return text.replace("localhost:5580", self.http).replace("127.0.0.1:5580", self.http)

    # ------------------------------------------------------------ one step

    def shell(self, commands: str, stderr: int = subprocess.PIPE) -> str:
        """What commands print. They must end well."""
        functions = 'zmws() { "$ZMWS_PYTHON" -P -m zmws "$@"; }\npython() { "$ZMWS_PYTHON" "$@"; }\n'
        ended = subprocess.run(
            ["bash", "-eu", "-c", functions + self.own(commands).replace("bin/zmws", "zmws")],
            cwd=self.folder,
            env=environment(ZMWS_PYTHON=sys.executable, **self.endpoints),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=_COMMANDS_S,
        )
        assert ended.returncode == 0, ended.stdout + (ended.stderr or "")
        return ended.stdout

    def python(self, program: str) -> str:
        """What a program prints. It must end well."""
        return self._python("-c", self.own(program))

    def pytest(self, file: str) -> str:
        """What pytest says of a file of tests. All of them must pass, and none be skipped."""
        said = self._python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", file)
        assert re.search(r"^\d+ passed in ", said, re.MULTILINE), said
        return said

    def _python(self, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(**self.endpoints),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMANDS_S,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    # ------------------------------------------------------------ a document

    def follow(self, document: Path) -> None:
        """Do all that it says. Fails with the line of the example that is not as it says."""
        text = document.read_text(encoding="utf-8")
        workers = set()
        for block in blocks(text):
            try:
                self._follow(block)
            except (AssertionError, subprocess.TimeoutExpired) as wrong:
                raise AssertionError(f"{document.name}:{block.line}: {wrong}") from None
            if block.file is not None and block.file.startswith("workers/"):
                workers.add(Path(block.file).stem)
        logs = [file.stem for file in (self.folder / "logs").glob("*.txt")]
        started = {re.sub(r"_\d+$", "", stem) for stem in logs}  # of several copies
        imported = set(re.findall(r"^from workers\.(\w+) import ", text, re.MULTILINE))
        never = sorted(workers - started - imported)
        assert not never, f"{document.name}: nobody has started or imported {', '.join(never)}"

    def _follow(self, block: Block) -> None:
        if block.file is not None:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.own(block.text))
            if path.name.startswith("test_"):
                self.pytest(block.file)
        elif block.language == "python":
            self.python("\n" * (block.line - 1) + block.text)  # a traceback has the lines of the document
        elif block.language == "console":
            self._terminal(self.own(block.text))
        else:
            assert block.language == "text", f"a block of '{block.language}', which nothing runs"

    def _terminal(self, text: str) -> None:
        """Lines typed one after the other into one shell, and what it shows."""
        steps = _steps(text)
        script = "set +e; exec 2>&1\n"
        script += "".join(f"{command}\nprintf '\\n%s %s\\n' '{_MARK}' $?\n" for command, _ in steps)
        told = re.split(rf"\n{_MARK} (\d+)\n", self.shell(script, stderr=subprocess.STDOUT))
        assert len(told) == 2 * len(steps) + 1, f"the shell has ended before the last command:\n{told[-1]}"
        for (command, shown), said, code in zip(steps, told[0::2], told[1::2], strict=False):
            if shown:
                assert _is_like(said, shown), f"$ {command}\nshows\n{said}\nand not\n{shown}"
                # What goes wrong is shown as it is told: a bare `...` hides no failure.
                assert code == "0" or shown.strip() != "...", f"$ {command}\nended with {code}:\n{said}"
            else:
                assert code == "0", f"$ {command}\nended with {code}:\n{said}"


def _steps(text: str) -> list[tuple[str, str]]:
    """Commands, each with what is shown behind it."""
    steps: list[tuple[str, str]] = []
    goes_on = False
    for line in text.splitlines():
        if line.startswith("$ "):
            words = line[2:].split()
            assert words[0] in ("zmws", "python") or re.match(r"\w+=\$\(zmws ", line[2:]), (
                f"a command is neither of zmws nor of python: {line}"
            )
            steps.append((line[2:], ""))
            goes_on = True
        elif line.startswith("> ") and goes_on:
            steps[-1] = (f"{steps[-1][0]}\n{line[2:]}", "")
        else:
            assert steps, f"a block of a terminal begins with no '$ ': {line}"
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
            goes_on = False
    return steps


def _is_like(said: str, shown: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None
