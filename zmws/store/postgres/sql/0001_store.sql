-- The jobs, what belongs to them, and all else that is kept: as SQLite has it (zmws/store/sqlite/sql), whose comments
-- say what each column is. Flags are 0 and 1, times are seconds since 1970, texts compare by their bytes.

CREATE TABLE zmws (version BIGINT NOT NULL);   -- one row: of this schema

CREATE TABLE jobs (
    number BIGINT PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    service TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    durability TEXT COLLATE "C" NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    ready_at DOUBLE PRECISION NOT NULL,
    rank DOUBLE PRECISION NOT NULL,
    attempt BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,
    losses BIGINT NOT NULL DEFAULT 0,
    retries BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    "group" TEXT COLLATE "C" NOT NULL,
    "unique" TEXT COLLATE "C",
    ttr DOUBLE PRECISION NOT NULL,
    backoff DOUBLE PRECISION NOT NULL,
    keep DOUBLE PRECISION,
    expires_at DOUBLE PRECISION,
    started_at DOUBLE PRECISION,
    ended_at DOUBLE PRECISION,
    deadline_at DOUBLE PRECISION,
    nonce TEXT COLLATE "C",
    worker TEXT COLLATE "C",
    worker_ours BIGINT NOT NULL DEFAULT 0,
    lease TEXT COLLATE "C",
    result_plain BIGINT NOT NULL DEFAULT 0,
    progress DOUBLE PRECISION,
    progress_at DOUBLE PRECISION,
    progress_n BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    partials_count BIGINT NOT NULL DEFAULT 0,
    partials_cut BIGINT NOT NULL DEFAULT 0,
    log_bytes BIGINT NOT NULL DEFAULT 0,
    log_cut BIGINT NOT NULL DEFAULT 0,
    forget_at DOUBLE PRECISION,
    progress_text TEXT COLLATE "C",
    states TEXT COLLATE "C" NOT NULL,
    attempts TEXT COLLATE "C",
    error TEXT COLLATE "C",
    result BYTEA,
    by_wall BIGINT NOT NULL DEFAULT 0,
    saved TEXT COLLATE "C",
    meta TEXT COLLATE "C",
    cause TEXT COLLATE "C",
    parent TEXT COLLATE "C",
    parent_number BIGINT NOT NULL DEFAULT 0,
    batch TEXT COLLATE "C",
    chain TEXT COLLATE "C",
    depth BIGINT NOT NULL DEFAULT 0,
    step BIGINT NOT NULL DEFAULT 0,
    steps BIGINT NOT NULL DEFAULT 0,
    rest TEXT COLLATE "C",
    on_complete TEXT COLLATE "C",
    on_failed TEXT COLLATE "C",
    concludes TEXT COLLATE "C",
    submitter TEXT COLLATE "C"
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX jobs_waiting ON jobs (service, "group", rank, number, state)
    WHERE state = 'waiting';

CREATE INDEX jobs_running ON jobs (number, state)
    WHERE state = 'running';

CREATE INDEX jobs_failed ON jobs (number, state)
    WHERE state = 'failed';

CREATE UNIQUE INDEX jobs_unique ON jobs (service, "unique")
    WHERE "unique" IS NOT NULL AND state IN ('scheduled', 'waiting', 'running');

CREATE INDEX jobs_expiring ON jobs (expires_at)
    WHERE expires_at IS NOT NULL AND attempt = 0 AND state IN ('scheduled', 'waiting');

CREATE INDEX jobs_ended ON jobs (forget_at)
    WHERE forget_at IS NOT NULL;

CREATE INDEX jobs_service ON jobs (service, number);

CREATE TABLE bodies (
    number BIGINT PRIMARY KEY,
    body BYTEA NOT NULL
);

CREATE TABLE history (
    entry BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number BIGINT NOT NULL,
    n BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    value BYTEA NOT NULL
);

CREATE INDEX history_of_job ON history (number, n);

CREATE TABLE services (
    name TEXT COLLATE "C" PRIMARY KEY,
    paused BIGINT,
    defaults TEXT COLLATE "C",
    params TEXT COLLATE "C",
    limits TEXT COLLATE "C"
);

CREATE TABLE counts (
    service TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (service, state)
);

CREATE INDEX jobs_scheduled ON jobs (by_wall, ready_at, number, service, state)
    WHERE state = 'scheduled';

CREATE TABLE causes (
    cause TEXT COLLATE "C" PRIMARY KEY,
    service TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C",
    message TEXT COLLATE "C" NOT NULL,
    frame TEXT COLLATE "C",
    n BIGINT NOT NULL,
    total BIGINT NOT NULL,
    first_at DOUBLE PRECISION NOT NULL,
    last_at DOUBLE PRECISION NOT NULL,
    last_job TEXT COLLATE "C" NOT NULL,
    hours TEXT COLLATE "C" NOT NULL
);

CREATE INDEX causes_last ON causes (last_at, cause);

CREATE INDEX causes_of_service ON causes (service, last_at, cause);

CREATE TABLE caused (
    cause TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (cause, number)
);

CREATE TABLE series (
    entry BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    figures TEXT COLLATE "C" NOT NULL,
    UNIQUE (service, step, at)
);

CREATE INDEX series_age ON series (step, at);

CREATE TABLE marks (
    entry BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C",
    who TEXT COLLATE "C"
);

CREATE INDEX marks_at ON marks (at);

CREATE TABLE audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    "by" TEXT COLLATE "C" NOT NULL,
    verb TEXT COLLATE "C" NOT NULL,
    "on" TEXT COLLATE "C",
    detail TEXT COLLATE "C",
    count BIGINT,
    outcome TEXT COLLATE "C" NOT NULL
);

CREATE INDEX audit_at ON audit (at);

CREATE INDEX jobs_of_parent ON jobs (parent, number)
    WHERE parent IS NOT NULL;

CREATE INDEX jobs_of_batch ON jobs (batch, number)
    WHERE batch IS NOT NULL;

CREATE INDEX jobs_of_chain ON jobs (chain, number)
    WHERE chain IS NOT NULL;

CREATE TABLE batches (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at DOUBLE PRECISION NOT NULL,
    closed BIGINT NOT NULL DEFAULT 0,
    total BIGINT NOT NULL DEFAULT 0,
    complete BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    cancelled BIGINT NOT NULL DEFAULT 0,
    expired BIGINT NOT NULL DEFAULT 0,
    then_service TEXT COLLATE "C",
    then_id TEXT COLLATE "C",
    then_at DOUBLE PRECISION,
    failed_service TEXT COLLATE "C",
    failed_id TEXT COLLATE "C",
    failed_at DOUBLE PRECISION,
    ended_at DOUBLE PRECISION,
    keep DOUBLE PRECISION,
    forget_at DOUBLE PRECISION,
    "by" TEXT COLLATE "C",
    first TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    meta TEXT COLLATE "C",
    "group" TEXT COLLATE "C"
);

CREATE INDEX batches_open ON batches (number)
    WHERE closed = 0;

CREATE INDEX batches_ended ON batches (forget_at)
    WHERE forget_at IS NOT NULL;

CREATE TABLE conclusions (
    batch BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    job TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (batch, kind)
);

CREATE TABLE schedules (
    name TEXT COLLATE "C" PRIMARY KEY,
    service TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    options TEXT COLLATE "C" NOT NULL,
    cron TEXT COLLATE "C",
    every DOUBLE PRECISION,
    zone TEXT COLLATE "C" NOT NULL,
    missed TEXT COLLATE "C" NOT NULL,
    missed_max BIGINT NOT NULL,
    overlap TEXT COLLATE "C" NOT NULL,
    jitter DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION,
    paused BIGINT NOT NULL,
    fixed BIGINT NOT NULL,
    anchor DOUBLE PRECISION NOT NULL,
    since DOUBLE PRECISION,
    by_hand BIGINT NOT NULL,
    last_at DOUBLE PRECISION,
    fired_at DOUBLE PRECISION,
    last_id TEXT COLLATE "C",
    fired BIGINT NOT NULL,
    "by" TEXT COLLATE "C"
);

CREATE TABLE keys (
    name TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    proof TEXT COLLATE "C" NOT NULL UNIQUE,
    role TEXT COLLATE "C",
    rights TEXT COLLATE "C" NOT NULL,
    "group" TEXT COLLATE "C",
    rate DOUBLE PRECISION,
    bytes_rate DOUBLE PRECISION,
    waiting_max BIGINT,
    connections_max BIGINT,
    made_at DOUBLE PRECISION NOT NULL,
    "by" TEXT COLLATE "C",
    revoked_at DOUBLE PRECISION
);

CREATE INDEX jobs_of_submitter ON jobs (submitter)
    WHERE submitter IS NOT NULL AND state IN ('scheduled', 'waiting', 'running');

-- Words of SQLite's that statements of both use.

CREATE FUNCTION instr(text, text) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS 'SELECT strpos($1, $2)';
CREATE FUNCTION instr(bytea, bytea) RETURNS INTEGER LANGUAGE sql IMMUTABLE AS 'SELECT position($2 IN $1)';
CREATE FUNCTION is_object(text) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN json_typeof($1::json) = 'object';
EXCEPTION WHEN others THEN
    RETURN false;
END $$;
CREATE FUNCTION is_list(text) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN json_typeof($1::json) = 'array';
EXCEPTION WHEN others THEN
    RETURN false;
END $$;
