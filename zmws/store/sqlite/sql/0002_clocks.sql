-- A job's time may go by the wall (`at`) or by a clock that no step moves (`delay`, a backoff).

ALTER TABLE jobs ADD COLUMN by_wall INTEGER NOT NULL DEFAULT 0;

DROP INDEX jobs_scheduled;
CREATE INDEX jobs_scheduled ON jobs (by_wall, ready_at, number, service, state) WHERE state = 'scheduled';
