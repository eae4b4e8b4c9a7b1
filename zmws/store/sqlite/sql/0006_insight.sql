-- Why jobs have failed, figures over time, and marks beside them. Jobs that had failed before have no cause: nothing
-- is filled in, for a file may have millions of jobs.

ALTER TABLE jobs ADD COLUMN cause TEXT;

CREATE TABLE causes (
    cause TEXT PRIMARY KEY,             -- the key of what stands in the next four columns
    service TEXT NOT NULL,
    type TEXT,
    message TEXT NOT NULL,
    frame TEXT,
    n INTEGER NOT NULL,                 -- jobs that are failed for it now
    total INTEGER NOT NULL,             -- and that ever were
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    last_job TEXT NOT NULL,
    hours TEXT NOT NULL                 -- JSON: how many in which hour since 1970
);
CREATE INDEX causes_last ON causes (last_at, cause);
CREATE INDEX causes_of_service ON causes (service, last_at, cause);

-- Which jobs are failed for which cause. Not an index of jobs: to make that, all of them would be read.
CREATE TABLE caused (
    cause TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (cause, number)
) WITHOUT ROWID;

CREATE TABLE series (
    entry INTEGER PRIMARY KEY,
    service TEXT NOT NULL,              -- '': all together
    step INTEGER NOT NULL,              -- seconds: 60 or 3600
    at INTEGER NOT NULL,                -- when it began
    figures TEXT NOT NULL,              -- JSON, without what is 0
    UNIQUE (service, step, at)
);
CREATE INDEX series_age ON series (step, at);

CREATE TABLE marks (
    entry INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,                 -- mark, broker or worker
    text TEXT NOT NULL,
    service TEXT,                       -- null: of all
    who TEXT
);
CREATE INDEX marks_at ON marks (at);
