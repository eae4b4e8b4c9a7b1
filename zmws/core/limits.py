"""Every bound and interval that the core keeps to, with its default.

The settings file fills this (`[broker]`); the simulator and the tests make their own. Times are
seconds, sizes bytes. A limit without a reader does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker's state machine is bounded by (etc/zmws.toml says what each is)."""

    heartbeat_interval_s: float = 5.0
    heartbeat_liveness: int = 3
    foreign_heartbeat_interval_s: float = 2.0  # to workers of an RFC dialect: some give up after 2.5 s
    foreign_expiry_min_s: float = 2.5  # x liveness: a foreign worker is not expired sooner
    probe_interval_s: float = 1.0  # every busy session is sent a HEARTBEAT, to see it fail
    probe_gap_s: float = 0.05  # at most this often when connections break
    reattach_window_s: float = 1.0  # a lost session keeps its job for this long
    reattach_grace_s: float | None = None  # after a restart; None: two heartbeat intervals
    prefetch_time_s: float = 0.01  # run time x jobs that one worker may be sent ahead; 0: none is
    prefetch_patience_s: float = 1.0  # what lies unbegun for longer is given to who has a slot free
    cancel_grace_s: float = 5.0  # a worker of ours that runs a job for longer after CANCEL is hung
    stuck_peer_s: float = 1.0  # a worker that could not be sent to is passed over for this long

    sessions_max: int = 10_000
    strangers_max: int = 10_000  # peers without a session, and drained workers, that are remembered
    strangers_keep_s: float = 60.0  # without a word from a peer that was sent away, and it is forgotten
    services_max: int = 10_000
    groups_max: int = 10_000  # groups with waiting jobs, a service
    window_jobs_max: int = 2_000  # waiting stored jobs held in memory, a service; the rest is paged in
    window_bytes_max: int = 32 * 1024 * 1024  # and bytes of their bodies
    window_scheduled_max: int = 10_000  # scheduled stored jobs held in memory, by each of two clocks
    waiting_memory_max: int = 10_000  # waiting memory jobs, a service, unless it sets max_waiting
    waiting_memory_bytes_max: int = 256 * 1024 * 1024  # of unfinished memory jobs, in all
    strict_held_bytes_max: int = 256 * 1024 * 1024  # of strict peers' requests beyond these two bounds
    unknown_service_ttl_s: float = 60.0  # on `mdp` a job of an unknown service expires after this
    memory_keep_s: float = 60.0
    memory_keep_bytes_max: int = 64 * 1024 * 1024
    series_services_max: int = 200  # services with figures of their own; the rest is counted as `other`
    series_minutes_keep_s: float = 86_400.0  # of figures: a row a minute in the store
    series_hours_keep_s: float = 90 * 86_400.0  # and a row an hour; marks are kept as long
    lanes_s: float = 300.0  # what each worker did is kept for so long; 0: it is not
    lanes_workers_max: int = 200  # workers of which that is kept
    audit_keep_s: float = 90 * 86_400.0  # of what operators did
    audit_max: int = 100_000  # and at most so many of it
    audit_refused_max: int = 60  # of what one key was refused in a minute
    history_max: int = 100  # ended jobs that SERVER-HIST lists
    attempts_kept_max: int = 20  # attempts that a job's record keeps, the newest
    log_bytes_max: int = 1024 * 1024  # of captured log lines, a job
    partials_max: int = 1_000  # partial results kept, a job
    partials_bytes_max: int = 8 * 1024 * 1024  # of partial results kept, a job
    waits_max: int = 10_000  # requests of zmws.wait that wait at once
    wait_s_max: float = 3600.0  # the longest that one zmws.wait may wait
    list_rows_max: int = 1_000  # rows of one page of a list
    lists_max: int = 100  # lists that are being made at once; more are refused
    asks_max: int = 10_000  # answers that are kept for repeats of questions, and such questions under way
    json_depth_max: int = 200  # levels of a question's JSON
    submit_many_max: int = 1_000  # jobs of one message of zmws.submit
    follow_ups_max: int = 1_000  # jobs that may follow from the end of one
    chain_steps_max: int = 1_000
    chain_bytes_max: int = 512 * 1024  # of the steps of a chain after its first
    tree_depth_max: int = 100  # generations of jobs that follow from each other's ends
    batches_open_max: int = 10_000
    schedules_max: int = 1_000
    keys_max: int = 1_000  # those that were revoked among them
    schedule_bytes_max: int = 64 * 1024  # of the parameters of a schedule, all of which are in memory
    schedule_missed_max: int = 1_000  # times of one schedule that may be caught up with
    schedule_grace_s: float = 60.0  # a time that is past by no more is late, and not missed
    schedule_back_s: float = (
        10_800.0  # fired for a time so far ahead: the clock was wrong, and it is forgotten
    )
    lease_ttr_s: float = 60.0  # of zmws.lease, where it gives none

    message_bytes_max: int = 8 * 1024 * 1024  # of one frame; our workers are told

    commit_patience_s: float = 0.005  # what nobody waits for may gather for this long before a commit
    memory_commit_patience_s: float = 0.03  # the same for jobs in memory, which no crash leaves anyhow
    batch_rows_max: int = 1_000
    batch_bytes_max: int = 4 * 1024 * 1024
    uncommitted_bytes_max: int = 64 * 1024 * 1024

    @property
    def reattach_grace(self) -> float:
        """Seconds that a recovered running job waits for its worker."""
        if self.reattach_grace_s is not None:
            return self.reattach_grace_s
        return 2 * self.heartbeat_interval_s
