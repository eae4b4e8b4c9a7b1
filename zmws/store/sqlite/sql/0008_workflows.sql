-- Jobs that follow from others, batches of jobs, and recurring jobs. A job that was there before stands alone.

ALTER TABLE jobs ADD COLUMN parent TEXT;                        -- whose end made it; null: nobody's
ALTER TABLE jobs ADD COLUMN parent_number INTEGER NOT NULL DEFAULT 0;   -- and its number: ids come again
ALTER TABLE jobs ADD COLUMN batch TEXT;                         -- of which it is a member
ALTER TABLE jobs ADD COLUMN chain TEXT;                         -- of which it is a step
ALTER TABLE jobs ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;   -- generations from a job that a client asked for
ALTER TABLE jobs ADD COLUMN step INTEGER NOT NULL DEFAULT 0;    -- which of `steps`; 0: of no chain
ALTER TABLE jobs ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN rest TEXT;                          -- JSON: the steps after it
ALTER TABLE jobs ADD COLUMN on_complete TEXT;                   -- services that are given a job at its end
ALTER TABLE jobs ADD COLUMN on_failed TEXT;
ALTER TABLE jobs ADD COLUMN concludes TEXT;                     -- JSON: the batch whose end made it

-- Few jobs have any of these, and the others are in none of these indexes.
CREATE INDEX jobs_of_parent ON jobs (parent, number) WHERE parent IS NOT NULL;
CREATE INDEX jobs_of_batch ON jobs (batch, number) WHERE batch IS NOT NULL;
CREATE INDEX jobs_of_chain ON jobs (chain, number) WHERE chain IS NOT NULL;

-- A number never comes again: lists go on from it.
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order in which they were opened
    id TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,           -- members that there ever were; then, how they have ended
    complete INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    then_service TEXT,                          -- of the job that follows, null: none does; that job, once it is made
    then_id TEXT,
    then_at REAL,
    failed_service TEXT,
    failed_id TEXT,
    failed_at REAL,
    ended_at REAL,                              -- null: it is open, or a member has not ended
    keep REAL,
    forget_at REAL,                             -- by the steady clock; null as ended_at is
    "by" TEXT,
    first TEXT NOT NULL DEFAULT '[]',           -- JSON: ids of members that ended first without completing
    meta TEXT                                   -- JSON
);
CREATE INDEX batches_open ON batches (number) WHERE closed = 0;
CREATE INDEX batches_ended ON batches (forget_at) WHERE forget_at IS NOT NULL;

-- The jobs that are to follow from batches; apart, for they may be large, and a batch is written again and again.
CREATE TABLE conclusions (
    batch INTEGER NOT NULL,             -- its number
    kind TEXT NOT NULL,                 -- then or failed
    job TEXT NOT NULL,                  -- JSON: a record, its body as base64
    PRIMARY KEY (batch, kind)
);

CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    body BLOB NOT NULL,                 -- frames, as in bodies
    options TEXT NOT NULL,              -- JSON
    cron TEXT,                          -- or
    every REAL,                         -- seconds, counted from anchor
    zone TEXT NOT NULL,
    missed TEXT NOT NULL,               -- none, once or all
    missed_max INTEGER NOT NULL,
    overlap TEXT NOT NULL,              -- allow, skip or cancel
    jitter REAL NOT NULL,
    until REAL,
    paused INTEGER NOT NULL,
    fixed INTEGER NOT NULL,             -- 1: it stands in the settings
    anchor REAL NOT NULL,
    since REAL,                         -- when it went on after a pause; null: it never did
    by_hand INTEGER NOT NULL,           -- 1: an operator has paused or resumed it
    last_at REAL,                       -- the time for which it fired last; then, when that was, and its job
    fired_at REAL,
    last_id TEXT,
    fired INTEGER NOT NULL,
    "by" TEXT
);
