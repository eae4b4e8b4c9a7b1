"""The broker's loop: frames -> message -> core -> gate -> writes and sends.

Rule 1: the loop decides nothing about jobs; it moves messages and keeps time.
Rule 2: on each wake-up workers are drained before clients, and clients are not read while too much is
        not yet on disk.
Rule 3: it never waits for a peer, and never for the store.
Rule 4: after a pause of the process (SIGSTOP, a laptop lid) it drains the sockets before anyone is
        expired: what they sent meanwhile is there already.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from zmws import __version__, cron, ids, sockets
from zmws.core.gate import Send
from zmws.core.node import Node
from zmws.core.turn import NEWS_PEER, News
from zmws.core.user import user_of
from zmws.errors import ProtocolError
from zmws.real_threads import need_real_threads
from zmws.server.connections import PeerConnections
from zmws.server.descriptors import DescriptorWatch
from zmws.server.doorkeeper import Doorkeeper
from zmws.server.endpoints import Doorway, Endpoint, open_news, open_router
from zmws.server.memory_guard import MemoryGuard, large_blocks_apart, resident_bytes
from zmws.server.outbox import FULL, GONE, SENT, Outbox
from zmws.server.security import doorways, keys_in_files
from zmws.server.silence import SilenceWatch
from zmws.server.storekeeper import Report, Storekeeper
from zmws.server.zap import ZapHandler
from zmws.service_manager import ServiceManager
from zmws.settings import Settings
from zmws.store.base import Store
from zmws.wire import mdp
from zmws.wire.messages import Heartbeat, Peer, Ready, WorkerRequest

log = logging.getLogger("zmws.broker")

_BUDGET = {"worker": 1_000, "mdp": 200, "client": 200}  # messages a wake-up
_BUDGET_BYTES = 8 * 1024 * 1024  # and bytes, a wake-up
_DISCARD_FRAMES = 10_000  # of a message with too many, a wake-up
_REPORTS_S = 0.02  # for what the store says, a turn
_OUTBOX_RETRY_S = 0.001
_GUARD_S = 0.1
_SILENCE_S = 0.25
_DESCRIPTORS_S = 0.5
_PAUSE_S = 1.0  # a wake-up this late means that the process stood still
_DRAIN_S = 0.5  # and for this long only the sockets are drained
_STOP_S = 5.0  # for writes to get on disk when stopping
_LINGER_MS = 500
_LOG_LINES_A_SECOND = 200
# A clock that goes on while the machine is suspended, which Linux's CLOCK_MONOTONIC does not.
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class BrokerServer:
    """One broker process: `run` returns when it has been asked to stop."""

    def __init__(self, settings: Settings, store: Store, manager: ServiceManager | None = None) -> None:
        """Opens no address yet. `manager`: who is told how it is. Raises ZmwsError where threads have been
        replaced (gevent, eventlet)."""
        need_real_threads("a broker", queues=True)
        self.settings = settings
        self._manager = manager or ServiceManager({})
        broker = settings.broker
        self._limits = broker.limits
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # Each connection costs a descriptor; out of them, the I/O thread spins until some are free.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._context.set(zmq.MAX_SOCKETS, 1024)
        large_blocks_apart()
        self.node = Node(
            *(broker.limits, settings.services, ids.suppliers(cron), store.durability, settings.schedules),
            keys_in_files(settings),
        )
        self.counters = self.node.broker.turn.counters
        self._host = self.node.broker.host
        self._host.version, self._host.pid = __version__, os.getpid()
        self._host.libzmq, self._host.installation = zmq.zmq_version(), settings.installation
        self._overflow = self.node.broker.held.overflow
        self.guard = MemoryGuard(broker.memory_max, broker.message_bytes_max)
        self.silence = SilenceWatch()
        self.holders = PeerConnections()  # of peers that requests are kept for
        self.doorkeeper = Doorkeeper(settings.security, self.node.broker.keys, self.counters, self.guard)
        self._zap: ZapHandler | None = None
        self._doorways: dict[str, Doorway] = {}
        self.descriptors = DescriptorWatch(broker.descriptors_warn_percent)
        self.outbox = Outbox(broker.outbox_bytes_max, self._try_send)
        self._storekeeper = Storekeeper(store, self._context, self._host.commits)
        self._endpoints: dict[str, Endpoint] = {}
        self._poller = zmq.Poller()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._stopping = False
        self._stopped_by = ""  # the name of a signal
        self._signals = False
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._housekeeping_at = self._silence_at = self._descriptors_at = 0.0
        self._holding_back = False
        self._reports: deque[Report] = deque()  # of the store, not yet dealt with
        self._outbox_dropped = 0
        self._log_second = 0
        self._log_lines = 0
        self._steady_from = time.time() - time.clock_gettime(_GOES_ON)
        self.fault: BaseException | None = None
        self.on_ready: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ life

    def bind(self) -> None:
        """Bind all sockets but the workers'. Raises endpoints.StartFailed."""
        broker = self.settings.broker
        self._doorways = doors = doorways(self.settings)
        if any(door.key is not None for door in doors.values()):
            self._zap = ZapHandler(self._context, self._refused, user_of)
        self._endpoints["client"] = open_router(
            self._context, "client", broker.client, broker, doors["client"]
        )
        self._endpoints["news"] = open_news(self._context, broker.news, broker, doors["news"])

    def _refused(self, socket: str, public: str, address: str) -> str | None:
        return self.node.broker.keys.refused_at(socket, public)

    def _bind_workers(self) -> None:
        """Workers may come when all running jobs are loaded, so that they find theirs."""
        broker = self.settings.broker
        for name, address in (("worker", broker.worker), ("mdp", broker.mdp)):
            if address:
                self._endpoints[name] = open_router(
                    self._context, name, address, broker, self._doorways[name]
                )
        self._host.client, self._host.news = self.address("client"), self.address("news")
        for endpoint in self._endpoints.values():
            how = " (CURVE)" if endpoint.is_secured else ""
            log.info("%s: %s%s", endpoint.name, endpoint.bound, how)
            if endpoint.is_open and not endpoint.is_secured:
                self._host.insecure = (*self._host.insecure, endpoint.name)
                log.warning(
                    "%s is open to the network, and nothing authenticates who connects: anybody who "
                    "reaches %s can submit and run jobs. The settings say so (security.insecure).",
                    endpoint.name,
                    endpoint.bound,
                )

    def _listen(self) -> None:
        """Poll everything, in the order in which it is dealt with: clients last."""
        endpoints = self._endpoints
        self._handle(self._wake_r.fileno(), lambda: None)  # a signal: the loop looks at `_stopping` itself
        self._handle(self._storekeeper.reports, self._on_reports)
        if self._zap is not None:
            self._handle(self._zap.socket, self._on_zap)
        for endpoint in endpoints.values():
            self._handle(endpoint.monitor, partial(self._on_monitor, endpoint))
        for name in ("worker", "mdp"):
            if name in endpoints:
                self._handle(endpoints[name].socket, partial(self._drain, endpoints[name]))
        self._handle(endpoints["news"].socket, self._drain_news)
        self._handle(endpoints["client"].socket, partial(self._drain, endpoints["client"]))

    def _handle(self, source: Any, handler: Callable[[], None]) -> None:
        self._handlers[source] = handler
        self._poller.register(source, zmq.POLLIN)

    def address(self, name: str) -> str:
        """Where a socket is really bound (a port of 0 or * has been chosen by now)."""
        return self._endpoints[name].bound

    def handle_signals(self) -> None:
        """Signals only set a flag; the loop acts. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Ignored from before is SIGHUP under nohup, whose user wants just that.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self._signals = True
        signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)

    def _on_signal(self, number: int, _: object) -> None:
        self._stopped_by = signal.Signals(number).name
        self.stop()

    def stop(self) -> None:
        """Ask the loop to end. From any thread or a signal handler."""
        self._stopping = True
        try:
            self._wake_w.send(b"\0")
        except OSError:
            return  # it is awake already

    def run(self) -> None:
        """Serve until stopped. Raises endpoints.StartFailed, StoreError."""
        try:
            self._set_time()
            self.node.start()
            self._flush()
            while not self.node.recovered and not self._stopping:
                self._storekeeper.reports.poll(0 if self._reports else 100)
                self._on_reports()
                self._flush()
            if self.node.recovered:
                self.node.broker.turn.news_wanted = False
                self._bind_workers()
                self._listen()
                self.on_ready()
                self._manager.ready()
                self._serve()
            self._manager.stopping(_STOP_S)
            self._finish_writes()
        finally:
            self.close()
        if self.fault is not None:
            raise self.fault

    def _serve(self) -> None:
        node, handlers, poll = self.node, self._handlers, self._poller.poll
        uncommitted_bytes_max = self._limits.uncommitted_bytes_max
        drain_until = 0.0
        last = now = time.monotonic()
        while not self._stopping:
            deadline = node.next_deadline()
            wait = _GUARD_S if deadline is None else min(_GUARD_S, max(0.0, deadline - time.monotonic()))
            if self.outbox:
                wait = min(wait, _OUTBOX_RETRY_S)
            if self._reports:
                wait = 0.0
            ready = poll(math.ceil(wait * 1000))
            now = self._set_time()
            if now - last > _PAUSE_S:
                log.warning(
                    "the process stood still for %.1f s; draining before anyone is expired", now - last
                )
                drain_until = now + _DRAIN_S
            last = now
            if self._reports:
                self._on_reports()
            for source, _ in ready:
                handlers[source]()
            deadline = node.next_deadline()
            if deadline is not None and deadline <= now and now >= drain_until:
                node.tick()
            self._flush()
            if self.outbox:
                self._retry_outbox()
            if self._holding_back or node.uncommitted_bytes > uncommitted_bytes_max:
                self._hold_clients_back(node.uncommitted_bytes > uncommitted_bytes_max)
            if now >= self._housekeeping_at:
                self._keep_house(now)

    def _retry_outbox(self) -> None:
        for peer, message in self.outbox.retry():
            self.node.undeliverable(peer, message, GONE)
        self._count_drops()
        self._flush()

    def _keep_house(self, now: float) -> None:
        self._housekeeping_at = now + _GUARD_S
        self._manager.alive()
        self._guard_memory()
        self._host.store_is_full = self._storekeeper.refuses_inserts
        self._host.store_waits_for = self._storekeeper.waits_for
        if now >= self._descriptors_at:
            self._descriptors_at = now + _DESCRIPTORS_S
            self._watch_descriptors(now)
        if now >= self._silence_at:
            self._silence_at = now + _SILENCE_S
            self._cut_the_silent()
            self.holders.keep_only(self._overflow.bytes_of)

    def _hold_clients_back(self, hold: bool) -> None:
        """Clients are not read while too much is not yet on disk; nor polled, which would spin."""
        if hold != self._holding_back:
            self._holding_back = hold
            client = self._endpoints["client"].socket
            if hold:
                self._poller.unregister(client)
            else:
                self._poller.register(client, zmq.POLLIN)

    def _finish_writes(self) -> None:
        """What was taken in gets on disk, and its acknowledgements leave."""
        if self._stopped_by:
            log.info("stopping: %s", self._stopped_by)
        until = time.monotonic() + _STOP_S
        self.node.stop()
        self._flush()
        while (self._reports or not self.node.idle) and self.fault is None and time.monotonic() < until:
            self._storekeeper.reports.poll(0 if self._reports else 50)
            self._set_time()
            self._on_reports()
            self._flush()
        if self.fault is None and not self.node.idle:
            why = self._storekeeper.waits_for or "the store is slow"
            log.warning("not all that was taken in is on disk: %s. None of that was acknowledged", why)
        log.info("stopped")

    def close(self) -> None:
        """Let go of everything. `run` does it by itself; once more does no harm."""
        if self._context.closed:
            return
        if self._signals:
            signal.set_wakeup_fd(-1)
        for endpoint in self._endpoints.values():
            endpoint.close(_LINGER_MS)
        if self._zap is not None:
            self._zap.close()
        self._storekeeper.close()
        self._context.term()
        self._wake_r.close()
        self._wake_w.close()

    # ------------------------------------------------------------ in

    def _set_time(self) -> float:
        now = time.monotonic()
        self.node.set_time(now, time.time(), self._steady_from + time.clock_gettime(_GOES_ON))
        return now

    def _drain(self, endpoint: Endpoint) -> None:
        name, source, receive = endpoint.name, endpoint.socket, self.node.receive
        if endpoint.discarding:
            endpoint.discarding = not sockets.discard(source, _DISCARD_FRAMES)
            return
        frames_max = self.settings.broker.frames_max + 1
        left = _BUDGET_BYTES
        flush, flush_each, overflow = self._flush, name != "client", self._overflow
        is_secured, peer, sender_of = endpoint.is_secured, ("", b"", ""), self.doorkeeper.caller
        # The poll has said that there is one; asking again costs as much as two frames.
        for n in range(_BUDGET[name]):
            if left < 0 or (n and not sockets.readable(source)):
                return
            frames, last = sockets.recv_at_most(source, frames_max)
            left -= sum(map(len, frames))
            if is_secured:
                caller = sender_of(name, frames[0], last)
                if caller is None:
                    continue
                peer = caller
            else:
                peer = (name, frames[0], "")
            if last.more:
                endpoint.discarding = not sockets.discard(source, _DISCARD_FRAMES)
                fault = ProtocolError("too_many_frames", f"more than frames_max = {frames_max - 1}")
                self.node.protocol_error(peer, fault)
                return
            if self.guard.watching:
                self.guard.completed(sockets.descriptor_of(last))
            try:
                message = mdp.decode(name, frames[1:])
            except ProtocolError as fault:
                self.node.protocol_error(peer, fault)
                continue
            if isinstance(message, Ready) and message.link.ours and name == "worker":
                self.silence.registered(peer, sockets.descriptor_of(last))
            receive(peer, message)
            if (overflow.bytes_of and peer in overflow.bytes_of) or self.node.broker.turn.cuts:
                self.holders.seen(peer, sockets.descriptor_of(last))
            if flush_each:
                # A worker that has just become free waits for its next job: not a moment longer.
                flush()

    def _on_zap(self) -> None:
        assert self._zap is not None
        self.counters["connections_refused"] += self._zap.answer()

    def _on_monitor(self, endpoint: Endpoint) -> None:
        if self.doorkeeper.watch(endpoint):
            self.node.connection_lost()

    def _drain_news(self) -> None:
        self.node.broker.turn.news_wanted = self.doorkeeper.take_subscriptions(self._endpoints["news"])

    def _on_reports(self) -> None:
        """What the store says, in its order, for a moment: large records take long to be made into answers,
        and the rest waits for the next turn."""
        reports, until = self._reports, time.monotonic() + _REPORTS_S
        reports.extend(self._storekeeper.take())
        while reports:
            report = reports[0]
            if report.fault is not None:
                self._on_fault(report)
                return
            if report.seq is not None:
                self.node.committed(report.seq, report.verdicts)
                report.seq = None
            while report.loaded:
                self._flush()  # what has been decided leaves before what this read may change
                self.node.loaded(*report.loaded.popleft())
                if time.monotonic() > until:
                    return
            reports.popleft()

    def _on_fault(self, report: Report) -> None:
        log.error("the store failed, and nothing of this batch is acknowledged: %s", report.fault)
        self.fault = report.fault
        self._stopping = True

    def _guard_memory(self) -> None:
        before = self.guard.cut
        received = self.guard.check()
        if received is not None:
            cut = self.guard.cut - before
            self.counters["connections_cut_for_memory"] += cut
            log.warning(
                "memory_max is passed: cut %d connections that sent %d bytes without a message", cut, received
            )

    def _cut_connections(self, cuts: list[Peer]) -> None:
        for peer in cuts:
            if not self.holders.cut(peer):
                log.warning("a connection that is to be cut is not known: it has gone by itself")

    def _watch_descriptors(self, now: float) -> None:
        watch, host = self.descriptors, self._host
        before = watch.times_out
        watch.look(now)
        host.descriptors, host.descriptors_max = watch.open, watch.limit
        host.descriptors_warn_percent = self.settings.broker.descriptors_warn_percent
        host.memory_bytes, host.cpu_s = resident_bytes(), round(time.process_time(), 3)
        self._storekeeper.look_at_room(host)
        if watch.times_out > before:
            self.counters["out_of_descriptors"] += 1

    def _cut_the_silent(self) -> None:
        registered = self.node.broker.sessions.by_peer
        for peer, expiry_s in self.node.broker.roster.busy_peers():
            if self.silence.cut_if_silent(peer, expiry_s):
                self.counters["connections_cut_for_silence"] += 1
                log.warning("cut the connection of %s: it has stopped, and holds a job", registered[peer].id)
        self.silence.keep_only(registered, len(registered))

    # ------------------------------------------------------------ out

    def _flush(self) -> None:
        """Carry out what has come out of the node, and what comes of that."""
        while (out := self.node.take()) is not None:
            if out.commit is not None:
                report = self._storekeeper.commit(out.commit)
                if report is not None:
                    self._reports.append(report)
            for read in out.reads:
                self._storekeeper.read_list(read)
            if out.cuts:
                self._cut_connections(out.cuts)
            if out.cut_keys:
                self.doorkeeper.cut_keys(out.cut_keys, self._endpoints.values())
            if out.log:
                self._write_log(out.log)
            if self._deliver(out.sends):
                return  # nothing has come of it

    def _deliver(self, sends: list[Send]) -> bool:
        """Send them; false if the node was told that one could not be sent."""
        endpoints, outbox, all_sent = self._endpoints, self.outbox, True
        for send in sends:
            peer, message = send.peer, send.message
            if peer == NEWS_PEER:
                self._publish(message)
                continue
            if send.link is not None:
                frames = mdp.encode_to_worker(message, send.link)
            else:
                frames = mdp.encode_to_client(message)
            if not frames:
                continue  # the peer's dialect has no words for it
            frames.insert(0, peer[1])
            if outbox and peer in outbox:
                outcome = FULL
            else:
                try:
                    sockets.send(endpoints[peer[0]].socket, frames)
                    continue
                except zmq.Again:
                    outcome = FULL
                except zmq.ZMQError:
                    outcome = GONE
            if outcome == GONE or isinstance(message, WorkerRequest):
                self.node.undeliverable(peer, message, outcome)
                all_sent = False
            elif not isinstance(message, Heartbeat) or message.frames:
                outbox.put(peer, frames, message)
                self._count_drops()
        return all_sent

    def _try_send(self, name: str, frames: list[bytes]) -> str:
        try:
            sockets.send(self._endpoints[name].socket, frames)
        except zmq.Again:
            return FULL
        except zmq.ZMQError:
            return GONE
        return SENT

    def _count_drops(self) -> None:
        dropped = self.outbox.dropped - self._outbox_dropped
        if dropped:
            self._outbox_dropped = self.outbox.dropped
            self.counters["outbox_dropped"] += dropped

    def _publish(self, news: News) -> None:
        if self._try_send("news", [news.topic.encode(), json.dumps(news.body).encode()]) != SENT:
            self.counters["news_dropped"] += 1

    def _write_log(self, lines: list[tuple[str, str]]) -> None:
        second = int(time.monotonic())
        if second != self._log_second:
            if self._log_lines > _LOG_LINES_A_SECOND:
                log.warning("%d more lines were left out", self._log_lines - _LOG_LINES_A_SECOND)
            self._log_second, self._log_lines = second, 0
        for level, text in lines:
            self._log_lines += 1
            if self._log_lines <= _LOG_LINES_A_SECOND:
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)
