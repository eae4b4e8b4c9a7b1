-- The jobs, what belongs to them, and the services. Plain SQL; what is null or '' means is said where it is.
-- The small columns come first and those that may grow last; bodies are apart, so that a row stays small.

CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,         -- the order of creation
    id TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    state TEXT NOT NULL,
    durability TEXT NOT NULL,
    created_at REAL NOT NULL,           -- wall seconds since 1970, as all times here
    ready_at REAL NOT NULL,
    rank REAL NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    "group" TEXT NOT NULL,              -- '': none, so that the index can find it
    "unique" TEXT,
    ttr REAL NOT NULL,
    backoff REAL NOT NULL,
    keep REAL,
    expires_at REAL,
    started_at REAL,
    ended_at REAL,
    deadline_at REAL,
    nonce TEXT,
    worker TEXT,
    worker_ours INTEGER NOT NULL DEFAULT 0,
    lease TEXT,
    result_plain INTEGER NOT NULL DEFAULT 0,
    progress REAL,
    progress_at REAL,
    progress_n INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    partials_count INTEGER NOT NULL DEFAULT 0,
    partials_cut INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    log_cut INTEGER NOT NULL DEFAULT 0,
    forget_at REAL,                     -- of ended jobs only
    progress_text TEXT,
    states TEXT NOT NULL,
    attempts TEXT,                      -- JSON; null: none
    error TEXT,                         -- JSON
    result BLOB                         -- frames, each after its length in 4 bytes; null: none
);

-- `state` at the end of an index, although it is the same in all of it: SQLite before 3.41 would look each
-- row up for it.
CREATE INDEX jobs_waiting ON jobs (service, "group", rank, number, state) WHERE state = 'waiting';
CREATE INDEX jobs_scheduled ON jobs (ready_at, number, service, state) WHERE state = 'scheduled';
CREATE INDEX jobs_running ON jobs (number, state) WHERE state = 'running';
CREATE INDEX jobs_failed ON jobs (number, state) WHERE state = 'failed';
CREATE UNIQUE INDEX jobs_unique ON jobs (service, "unique")
    WHERE "unique" IS NOT NULL AND state IN ('scheduled', 'waiting', 'running');
CREATE INDEX jobs_expiring ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND attempt = 0 AND state IN ('scheduled', 'waiting');
CREATE INDEX jobs_ended ON jobs (forget_at) WHERE forget_at IS NOT NULL;
CREATE INDEX jobs_service ON jobs (service, number);

CREATE TABLE bodies (
    number INTEGER PRIMARY KEY,
    body BLOB NOT NULL                  -- frames, as in jobs.result
);

-- Partial results and log lines. After a crash of the broker a job may count an event number anew.
CREATE TABLE history (
    entry INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    n INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    value BLOB NOT NULL                 -- of a partial its frames, of a log line its UTF-8
);
CREATE INDEX history_of_job ON history (number, n);

CREATE TABLE services (
    name TEXT PRIMARY KEY,
    paused INTEGER                      -- null: as the configuration says
);

-- How many jobs have ended, by state: they are too many to be counted when somebody asks.
CREATE TABLE counts (
    service TEXT NOT NULL,
    state TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (service, state)
);
