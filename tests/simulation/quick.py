"""A worker of ours with several slots and with jobs sent ahead: the shipped dialogue, short work for the most
part, and what `zmws.work` does about jobs that have not begun."""

from __future__ import annotations

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.workers import SimWorker
from tests.simulation.world import World
from zmws.core.tokens import job_id_of
from zmws.dialog.worker import DialogSettings, WorkerDialog
from zmws.dialog.worker_actions import CancelJob, Lies
from zmws.wire.messages import WorkerRequest

TAKES_S = (0.0, 0.0, 0.001, 0.002)  # how long most jobs take


class SimQuickWorker(SimWorker):
    """Begins what came first, as soon as it has a slot for it."""

    def __init__(
        self,
        world: World,
        broker: SimBroker,
        watcher: Watcher,
        name: str,
        service: str,
        misfortune: float,
        slots: int,
        prefetch: int,
    ) -> None:
        self.slots, self.prefetch = slots, prefetch
        self.unbegun: dict[bytes, WorkerRequest] = {}
        self.begun: set[bytes] = set()
        super().__init__(world, broker, watcher, name, service, misfortune)

    def dialogue(self) -> WorkerDialog:
        self.unbegun, self.begun = {}, set()
        return WorkerDialog(
            self.service,
            f"{self.name}.{self.lives}",
            ["broker"],
            self.world.random.random,
            settings=DialogSettings(heartbeat_interval_s=1.0, leave_s=3.0),
            slots=self.slots,
            prefetch=self.prefetch,
        )

    @property
    def room(self) -> int:
        return self.slots + self.prefetch

    def _charged(self) -> set[bytes]:
        given = {token for session in self._sessions() for token in session.holding} or self._at_stake()
        retries = self.watcher.hands.retries
        once = {t for t in given if len(given) == 1 or retries.get(job_id_of(t) or "", 0) == 0}
        return {*self.unconfirmed, *once}

    def start_job(self, request: WorkerRequest) -> None:
        self.unbegun[request.token] = request
        # Not at once: another thread begins it.
        self.world.after(0.0002, self._begin)

    def _begin(self) -> None:
        if not self.running or self.frozen:
            return
        self.begun &= set(self.dialog.holding)
        while self.unbegun and len(self.begun) < self.slots:
            token = next(iter(self.unbegun))
            request = self.unbegun.pop(token)
            self.begun.add(token)
            self._work(request)

    def go_on(self) -> None:
        super().go_on()
        self._begin()

    def takes_s(self) -> float:
        return self.world.random.choice((*TAKES_S * 10, 0.05, 0.5))

    def ended(self) -> None:
        self.world.after(0.0, self._begin)

    def act_on(self, action: object) -> None:
        if isinstance(action, Lies):
            for token in action.tokens:
                self._take_back(token)
        elif isinstance(action, CancelJob):
            super().act_on(action)
            self._take_back(action.token)

    def _take_back(self, token: bytes) -> None:
        if self.unbegun.pop(token, None) is not None:
            self.dialog.release(self.world.now, token)
            self.act()
