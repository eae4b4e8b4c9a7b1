-- What operators did. A number never comes again: lists go on from it.

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,                   -- by the wall
    "by" TEXT NOT NULL,
    verb TEXT NOT NULL,
    "on" TEXT,                          -- a job's id, a service, a worker, a process; null: all that detail says
    detail TEXT,                        -- JSON: what was asked beside that
    count INTEGER,                      -- jobs or workers that it was done to
    outcome TEXT NOT NULL               -- done, or the code of the refusal
);
CREATE INDEX audit_at ON audit (at);
