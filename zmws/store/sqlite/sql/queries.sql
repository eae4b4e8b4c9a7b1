-- Every statement of the store, by name. {job} stands for the columns of a record, {light} for those but its
-- result, {born} for those that a new job fills, {values} for as many question marks; see sql_files.py. State
-- names are written out where a partial index depends on them.

-- name: insert_born
INSERT OR IGNORE INTO jobs ({born}) VALUES ({born_values})

-- name: insert_whole
INSERT INTO jobs ({job}) VALUES ({job_values})

-- name: insert_body
INSERT INTO bodies (number, body) VALUES (?, ?)

-- name: find
SELECT number, service, state, "unique" FROM jobs WHERE id = ?

-- name: unfinished
state IN ('scheduled', 'waiting', 'running')

-- name: holder
SELECT id FROM jobs
WHERE service = ? AND "unique" = ? AND "unique" IS NOT NULL AND state IN ('scheduled', 'waiting', 'running')

-- name: append
INSERT INTO history (number, n, at, kind, value) SELECT number, ?, ?, ?, ? FROM jobs WHERE id = ?

-- name: delete_job
DELETE FROM jobs WHERE number = ?

-- name: delete_body
DELETE FROM bodies WHERE number = ?

-- name: delete_history
DELETE FROM history WHERE number = ?

-- name: delete_oldest_history
DELETE FROM history
WHERE entry IN (SELECT entry FROM history WHERE number = ? ORDER BY n, entry LIMIT ?)

-- name: due
SELECT number, service, state, (SELECT count(*) FROM history WHERE history.number = jobs.number)
FROM jobs WHERE forget_at IS NOT NULL AND forget_at <= ? ORDER BY forget_at LIMIT ?

-- name: first_due
SELECT min(forget_at) FROM jobs WHERE forget_at IS NOT NULL

-- name: remember_service
INSERT INTO services (name, paused, defaults, params, limits) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    paused = coalesce(excluded.paused, services.paused),
    defaults = coalesce(excluded.defaults, services.defaults),
    params = coalesce(excluded.params, services.params),
    limits = coalesce(excluded.limits, services.limits)

-- name: forget_service
DELETE FROM services WHERE name = ?

-- name: set_count
INSERT INTO counts (service, state, n) VALUES (?, ?, ?)
ON CONFLICT (service, state) DO UPDATE SET n = excluded.n

-- name: counts
SELECT service, state, n FROM counts

-- name: services
SELECT name, paused, defaults, params, limits FROM services ORDER BY name

-- name: highest_number
SELECT max(number) FROM jobs

-- name: waiting_by_group
SELECT service, "group", count(*) FROM jobs WHERE state = 'waiting' GROUP BY service, "group"

-- name: scheduled_by_service
SELECT service, count(*) FROM jobs WHERE state = 'scheduled' GROUP BY +service ORDER BY +service

-- name: running
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number) WHERE state = 'running' ORDER BY number

-- name: history_of_running
SELECT max(n), count(*) FILTER (WHERE kind = 'partial'), sum(length(value)) FILTER (WHERE kind = 'log')
FROM history WHERE number = ?

-- name: job
SELECT {light} FROM jobs WHERE id = ?

-- name: job_and_body
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number) WHERE id = ?

-- name: history
SELECT n, at, kind, value FROM history WHERE number = ? AND n > ? ORDER BY n, entry

-- A page begins inside a run of equal ranks, which may be as long as the backlog: two statements, for SQLite
-- does not find (rank, number) >= (?, ?) by an index whose `number` is the primary key.

-- name: waiting_at
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number)
WHERE state = 'waiting' AND service = ? AND "group" = ? AND rank = ? AND number >= ?
ORDER BY number LIMIT ?

-- name: waiting_after
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number)
WHERE state = 'waiting' AND service = ? AND "group" = ? AND rank > ?
ORDER BY rank, number LIMIT ?

-- name: scheduled_at
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number)
WHERE state = 'scheduled' AND by_wall = ? AND ready_at = ? AND number >= ?
ORDER BY number LIMIT ?

-- name: scheduled_after
SELECT {job}, body FROM jobs LEFT JOIN bodies USING (number)
WHERE state = 'scheduled' AND by_wall = ? AND ready_at > ?
ORDER BY ready_at, number LIMIT ?

-- name: expired_page
SELECT {light} FROM jobs
WHERE expires_at IS NOT NULL AND attempt = 0 AND state IN ('scheduled', 'waiting') AND expires_at <= ?
ORDER BY expires_at, number LIMIT ?

-- name: waiting_numbers
SELECT number FROM jobs WHERE state = 'waiting' LIMIT ?

-- name: waiting_numbers_of_service
SELECT number FROM jobs WHERE state = 'waiting' AND service = ? AND "group" >= '' LIMIT ?

-- name: scheduled_numbers
SELECT number FROM jobs WHERE state = 'scheduled' ORDER BY by_wall, ready_at LIMIT ?

-- name: running_numbers
SELECT number FROM jobs WHERE state = 'running' ORDER BY number LIMIT ?

-- name: failed_numbers
SELECT number FROM jobs WHERE state = 'failed' ORDER BY number LIMIT ?

-- name: quick_check
PRAGMA quick_check(1)

-- name: integrity_check
PRAGMA integrity_check

-- name: check_states
SELECT state, count(*) FROM jobs
WHERE state NOT IN ('scheduled', 'waiting', 'running', 'complete', 'failed', 'cancelled', 'expired')
GROUP BY state

-- name: check_unique
SELECT service, "unique", count(*) FROM jobs
WHERE "unique" IS NOT NULL AND state IN ('scheduled', 'waiting', 'running')
GROUP BY service, "unique" HAVING count(*) > 1

-- name: check_missing_bodies
SELECT count(*), min(id) FROM jobs WHERE NOT EXISTS (SELECT 1 FROM bodies WHERE bodies.number = jobs.number)

-- name: check_stray_bodies
SELECT count(*), min(number) FROM bodies
WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.number = bodies.number)

-- name: check_stray_history
SELECT count(*), min(number) FROM history
WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.number = history.number)

-- name: check_forgetting
SELECT count(*), min(id) FROM jobs
WHERE (forget_at IS NOT NULL) <> (state IN ('complete', 'failed', 'cancelled', 'expired'))

-- name: check_counts
SELECT service, state, count(*) FROM jobs
WHERE state IN ('complete', 'failed', 'cancelled', 'expired') GROUP BY service, state

-- Of the store in memory alone, which keeps so many ended jobs and no more.

-- name: index_of_ends
CREATE INDEX jobs_ends ON jobs (ended_at) WHERE forget_at IS NOT NULL

-- name: oldest_ends
SELECT number, service, state FROM jobs WHERE forget_at IS NOT NULL ORDER BY ended_at, number LIMIT ?

-- name: used_bytes
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
