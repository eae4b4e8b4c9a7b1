r"""Runs `tests/dialogues/*.txt`: what peers send and what the broker answers, through the real codec,
core, gate and memory store, on a clock of its own.

One line is one step. `#` at the beginning of a line or after a space begins a comment.

    limit heartbeat_interval_s 5            a field of Limits, before anything else
    service SLEEP retries=1 backoff=3       the configuration names this service
    ignore heartbeats                       HEARTBEATs that carry nothing are not looked at
    news on                                 somebody has subscribed to the news

    client C1: MDPC02 | \x01 | SLEEP        the peer C1 sends this to the socket `client`
    worker W1: ...      mdp M1: ...         to `worker`, to `mdp`
    -> C1: MDPC02 | \x03 | SLEEP | ...      the next message that the broker sends to C1
    -> news: SLEEP.complete | ...           the next on the news socket
    cut M1                                  the broker has let the connection of M1 be cut

    time +5.0                               so many seconds pass
    suspend +20                             the machine is suspended for so long
    wall +3600 | wall -3600                 the system's clock is stepped
    alive W1 W2                             these workers send a HEARTBEAT each second from now on
    silent W1                               and this one no more
    gone W1 | full W1 | back W1             sends to it fail from now on (and a connection broke);
                                            meet a full pipe; can be made again
    store hold | store commit | store go    commits wait; the one under way is made; they are made at once
    restart                                 the broker ends, and another starts on the same store
    counter results_refused 1               what the broker has counted
    logged 1 a late result                  how many lines of its log hold these words

Frames stand between ` | `; `""` is an empty one, `\x01` a byte. In an expected frame `{name}` stands for
a word without a space: whatever it is where it stands first, the same wherever it stands later, also in
what is sent. `...` stands for anything. Messages to one peer come in the order expected; a message that no
line expects, before the next step, fails the transcript.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stage import Broke, Stage
from zmws.core.options import service_options

DIALOGUES = Path(__file__).parent / "dialogues"
SOCKETS = ("client", "worker", "mdp")
_COMMENT = re.compile(r"(^|\s)#.*")
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_STEP = re.compile(r"(?P<who>client|worker|mdp|->) (?P<peer>[^:]+):(?P<frames>.*)", re.DOTALL)


class Transcript:
    """One file, run against one stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage = Stage()

    def run(self) -> None:
        lines = self.path.read_text().splitlines()
        for number, text in enumerate([*lines, ""], 1):
            line = _COMMENT.sub("", text).strip()
            try:
                if line:
                    self._step(line)
                elif number > len(lines):
                    self._nothing_left()
            except Broke as broke:
                pytest.fail(f"{self.path.name}, line {number}: {broke}", pytrace=False)

    def _step(self, line: str) -> None:
        spoken = _STEP.fullmatch(line)
        if spoken is not None and spoken["who"] == "->":
            return self._expect(spoken["peer"], spoken["frames"])
        self._nothing_left()
        if spoken is not None:
            frames = [self._bytes(self._filled(part)) for part in _parts(spoken["frames"])]
            return self.stage.receive(spoken["who"], spoken["peer"], frames)
        stage, (verb, *words) = self.stage, line.split()
        if verb == "limit":
            value = json.loads(words[1])
            stage.limits = replace(stage.limits, **{words[0]: value})
        elif verb == "service":
            given = {name: json.loads(value) for name, _, value in (w.partition("=") for w in words[1:])}
            stage.services[words[0]] = service_options(given)
        elif line == "ignore heartbeats":
            stage.ignore_heartbeats = True
        elif line == "news on":
            stage.news_wanted = stage.core.turn.news_wanted = True
        elif verb == "time":
            stage.pass_time(float(words[0].removeprefix("+")))
        elif verb == "suspend":
            stage.suspended += float(words[0].removeprefix("+"))
            stage.pass_time(0.0)
        elif verb == "wall":
            stage.stepped += float(words[0])
            stage.pass_time(0.0)
        elif verb == "alive":
            stage.alive.update(words)
        elif verb == "silent":
            stage.alive.difference_update(words)
        elif verb in ("gone", "full"):
            stage.unreach(words[0], verb)
        elif verb == "back":
            del stage.unreachable[words[0]]
        elif verb == "store":
            stage.hold = words[0] != "go"
            if words[0] == "commit":
                stage.commit()
            elif words[0] == "go":
                stage.settle()
        elif verb == "restart":
            stage.restart()
        elif verb == "cut":
            cuts, stage.cuts = stage.cuts, []
            if cuts != words:
                raise Broke(f"the connections cut are {cuts}, not {words}")
        elif verb == "counter":
            found = stage.core.turn.counters[words[0]]
            if found != int(words[1]):
                raise Broke(f"counted {found} {words[0]}, not {words[1]}")
        elif verb == "logged":
            text = line.split(maxsplit=2)[2]
            lines = [said for _, said in stage.log if text in said]
            if len(lines) != int(words[0]):
                raise Broke(f"{len(lines)} lines of the log hold '{text}', not {words[0]}: {lines}")
        else:
            raise Broke(f"what does '{line}' mean?")
        return None

    def _expect(self, name: str, expected: str) -> None:
        parts = _parts(expected)
        waiting = self.stage.sent.get(name)
        if not waiting:
            others = "".join(f"\n  {_shown(who, f)}" for who, f in self._left()) or " nothing"
            raise Broke(f"nothing was sent to {name}, expected\n  {expected.strip()}\nbut there is{others}")
        frames = waiting.pop(0)
        fault = f"expected\n  -> {name}: {expected.strip()}\nbut there is\n  {_shown(name, frames)}"
        if len(parts) != len(frames):
            raise Broke(f"{len(parts)} frames are {fault}")
        for part, frame in zip(parts, frames, strict=True):
            found = re.fullmatch(self._pattern(part), frame.decode("latin-1"), re.DOTALL)
            if found is None:
                known = f"\nwhere {self.stage.bound}" if _PLACEHOLDER.search(part) else ""
                raise Broke(f"{fault}\nat the frame {part}{known}")
            self.stage.bound.update(found.groupdict())

    def _nothing_left(self) -> None:
        left = "".join(f"\n  {_shown(name, frames)}" for name, frames in self._left())
        if left:
            raise Broke(f"before this step the broker has sent what no line expects:{left}")

    def _left(self) -> Iterator[tuple[str, list[bytes]]]:
        for name, messages in self.stage.sent.items():
            for frames in messages:
                yield name, frames

    def _filled(self, part: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in self.stage.bound:
                raise Broke(f"{match[0]} is not known yet")
            return self.stage.bound[match[1]]

        return _PLACEHOLDER.sub(value, part)

    @staticmethod
    def _bytes(part: str) -> bytes:
        if part == '""':
            return b""
        return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), part).encode("latin-1")

    def _pattern(self, part: str) -> str:
        """The regular expression of an expected frame."""
        out, at, seen = [], 0, set()
        for match in re.finditer(rf"{_PLACEHOLDER.pattern}|\.\.\.", part):
            out.append(re.escape(self._bytes(part[at : match.start()] or '""').decode("latin-1")))
            at = match.end()
            name = match[1]
            if name is None:
                out.append(".*")
            elif name in self.stage.bound:
                out.append(re.escape(self.stage.bound[name]))
            elif name in seen:
                out.append(f"(?P={name})")
            else:
                seen.add(name)
                out.append(rf'(?P<{name}>[^\s"\[\]]+)')
        out.append(re.escape(self._bytes(part[at:] or '""').decode("latin-1")))
        return "".join(out)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(" | ")]


def _shown(name: str, frames: list[bytes]) -> str:
    texts = []
    for frame in frames:
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in frame.decode("latin-1"))
        texts.append(text or '""')
    return f"-> {name}: {' | '.join(texts)}"


@pytest.mark.parametrize("path", sorted(DIALOGUES.glob("*.txt")), ids=lambda path: path.stem)
def test_dialogue(path: Path) -> None:
    Transcript(path).run()


def run_lines(folder: Path, *lines: str) -> None:
    path = folder / "lines.txt"
    path.write_text("\n".join(lines))
    Transcript(path).run()


REFUSED = (r"client C1: JOB: NOPE", r'-> C1: "" | FAIL: NOPE')


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ((REFUSED[0],), "what no line expects"),
        ((REFUSED[0], "time +1"), "what no line expects"),
        ((*REFUSED, REFUSED[1]), "nothing was sent to C1"),
        ((REFUSED[0], '-> C1: "" | FAIL: OTHER'), "at the frame FAIL: OTHER"),
        ((REFUSED[0], '-> C1: "" | FAIL: {a}{b}', '-> C2: ""'), "nothing was sent to C2"),
        ((REFUSED[0], "-> C1: FAIL: NOPE"), "1 frames are expected"),
        ((*REFUSED, "client C1: JOB: OTHER", '-> C1: "" | FAIL: NOPE'), "at the frame"),
        ((REFUSED[0], '-> C1: "" | FAIL: {x}', "client C1: JOB: B", '-> C1: "" | FAIL: {x}'), "where"),
        (("client C1: JOB: {unknown}",), "not known yet"),
        (("counter refused_unknown_service 1",), "counted 0"),
        (("logged 1 words that are not there",), "0 lines of the log"),
        (("dance",), "what does 'dance' mean"),
    ],
)  # fmt: skip
def test_a_transcript_that_does_not_hold_fails(tmp_path: Path, lines: tuple[str, ...], fault: str) -> None:
    run_lines(tmp_path, *REFUSED)
    with pytest.raises(pytest.fail.Exception, match=fault):
        run_lines(tmp_path, *lines)


def test_there_are_transcripts() -> None:
    assert len(list(DIALOGUES.glob("*.txt"))) >= 20
