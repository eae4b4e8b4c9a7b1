-- Who may come in, and what they may. One that was revoked stays, so that its file cannot bring it back.

CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,                 -- curve or token
    proof TEXT NOT NULL UNIQUE,         -- the public key in Z85, or the SHA-256 of the token in hex
    role TEXT,                          -- from which the rights were made
    rights TEXT NOT NULL,               -- JSON: patterns of services by right
    "group" TEXT,                       -- its jobs are of this one alone
    rate REAL,                          -- jobs a second
    bytes_rate REAL,                    -- and bytes of them
    waiting_max INTEGER,                -- unfinished jobs
    connections_max INTEGER,
    made_at REAL NOT NULL,
    "by" TEXT,
    revoked_at REAL
);

ALTER TABLE jobs ADD COLUMN submitter TEXT;     -- the key by which it, or the job that it follows, was submitted
CREATE INDEX jobs_of_submitter ON jobs (submitter)
WHERE submitter IS NOT NULL AND state IN ('scheduled', 'waiting', 'running');
