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

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.gate import Batch, Send
from zmws.core.limits import Limits
from zmws.core.node import Node
from zmws.core.options import ServiceOptions, service_options
from zmws.core.turn import NEWS_PEER, Suppliers
from zmws.errors import ProtocolError
from zmws.store.base import Store
from zmws.wire import mdp
from zmws.wire.messages import Heartbeat, WorkerRequest

DIALOGUES = Path(__file__).parent / "dialogues"
WALL_AT_START = 1_700_000_000.0
SOCKETS = ("client", "worker", "mdp")
_COMMENT = re.compile(r"(^|\s)#.*")
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_STEP = re.compile(r"(?P<who>client|worker|mdp|->) (?P<peer>[^:]+):(?P<frames>.*)", re.DOTALL)


class Broke(AssertionError):
    """The broker did something else than the transcript says."""


class Stage:
    """A broker without sockets: peers by name, and what was sent to each."""

    def __init__(self, store: Store | None = None) -> None:
        self.limits = Limits()
        self.services: dict[str, ServiceOptions] = {}
        self.news_wanted = False
        self.ignore_heartbeats = False
        self.now = 1000.0
        self.store: Store = store or ModelStore()
        self.peers: dict[str, str] = {}
        self.alive: set[str] = set()
        self.unreachable: dict[str, str] = {}
        self.sent: dict[str, list[list[bytes]]] = {}
        self.bound: dict[str, str] = {}
        self.hold = False
        self.reminders_kept_min = 0  # what nobody wants is thrown out as often as can be
        self.suspended = self.stepped = 0.0  # seconds
        self.steady_from = WALL_AT_START
        self._batch: Batch | None = None
        self._node: Node | None = None
        self.log: list[tuple[str, str]] = []
        self.cuts: list[str] = []
        ids, nonces = itertools.count(1), itertools.count(1)
        self._suppliers = Suppliers(
            new_id=lambda: f"job-{next(ids)}",
            nonce=lambda: f"{next(nonces):016x}",
            jitter=lambda: 0.5,
            secret=b"of the stage",
        )

    @property
    def node(self) -> Node:
        """The broker that runs; started when it is first needed."""
        if self._node is None:
            self.restart()
        assert self._node is not None
        return self._node

    @property
    def core(self) -> Broker:
        """What is in it, to look at."""
        return self.node.broker

    def restart(self) -> None:
        # Here what gathers waits for nothing: a transcript says when a commit is made.
        limits = replace(self.limits, commit_patience_s=0.0)
        node = Node(limits, self.services, self._suppliers, "disk")
        self._node, self._batch, core = node, None, node.broker
        self.steady_from = WALL_AT_START + self.stepped
        core.turn.news_wanted = False
        for timers in (core.turn.timers, core.turn.wall_timers, core.turn.steady_timers):
            timers.kept_min = self.reminders_kept_min
        self._set_time()
        node.start()
        held, self.hold = self.hold, False
        self.settle()
        self.hold = held
        assert node.recovered
        core.turn.news_wanted = self.news_wanted

    def receive(self, socket: str, name: str, frames: list[bytes]) -> None:
        self.peers[name] = socket
        peer = (socket, name.encode())
        self._set_time()
        try:
            message = mdp.decode(socket, frames)
        except ProtocolError as fault:
            self.node.protocol_error(peer, fault)
        else:
            self.node.receive(peer, message)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        end, beat = self.now + seconds, self.now + 1.0
        while True:
            deadline = self.node.next_deadline()
            self.now = min(end, max(self.now, deadline if deadline is not None else end))
            if self.alive and beat <= self.now:
                self.now, beat = beat, beat + 1.0
                for name in sorted(self.alive):
                    self.receive(self.peers[name], name, [mdp.MDPW02, mdp.W_HEARTBEAT])
            self._set_time()
            deadline = self.node.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.node.tick()
                self.settle()
            elif self.now >= end:
                return

    def unreach(self, name: str, why: str) -> None:
        self.unreachable[name] = why
        if why == "gone":
            self._set_time()
            self.node.connection_lost()
            self.settle()

    def commit(self) -> None:
        """Make the commit that is under way, and no other while commits are held."""
        if self._batch is None:
            raise Broke("no commit is under way")
        self._commit()
        self.settle()

    def settle(self) -> None:
        """Carry out what comes out, and commit, until nothing more does."""
        while True:
            while (out := self.node.take()) is not None:
                if out.commit is not None:
                    self._batch = out.commit
                self.log += out.log
                self.cuts += [peer[1].decode() for peer in out.cuts]
                self._deliver(out.sends)
                for read in out.reads:
                    self.node.loaded(read, self.store.read(read))
            if self._batch is None or self.hold:
                return
            self._commit()

    def _commit(self) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None
        verdicts = self.store.commit(batch.writes)
        rows = [(read, self.store.read(read)) for read in batch.reads]
        self.node.committed(batch.seq, verdicts)
        for read, found in rows:
            self.node.loaded(read, found)

    def _set_time(self) -> None:
        steady = self.steady_from + self.now - 1000.0 + self.suspended
        self.node.set_time(
            self.now, WALL_AT_START + self.now - 1000.0 + self.suspended + self.stepped, steady
        )

    def _deliver(self, sends: list[Send]) -> None:
        for send in sends:
            if send.peer is NEWS_PEER:
                news = [send.message.topic.encode(), json.dumps(send.message.body).encode()]
                self.sent.setdefault("news", []).append(news)
                continue
            name = send.peer[1].decode()
            why = self.unreachable.get(name)
            if why == "gone" or (why == "full" and isinstance(send.message, WorkerRequest)):
                self.node.undeliverable(send.peer, send.message, why)
                continue
            if send.link is not None:
                frames = mdp.encode_to_worker(send.message, send.link)
            else:
                frames = mdp.encode_to_client(send.message)
            empty = isinstance(send.message, Heartbeat) and not send.message.frames
            if frames and not (empty and self.ignore_heartbeats):
                self.sent.setdefault(name, []).append(frames)


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
