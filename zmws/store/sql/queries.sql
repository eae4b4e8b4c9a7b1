-- Every statement of the store, by name. {job} stands for the columns of a record, {light} for those but its
-- result, {listed} for those that lists show, {born} for those that a new job fills, {kin} for those and how it
-- stands to other jobs, {values} for as many question marks; see sql_files.py. State names are written out where
-- a partial index depends on them.

-- name: insert_born
INSERT INTO jobs ({born}) VALUES ({born_values}) ON CONFLICT DO NOTHING

-- name: insert_kin
INSERT INTO jobs ({kin}) VALUES ({kin_values}) ON CONFLICT DO NOTHING

-- name: insert_whole
INSERT INTO jobs ({job}) VALUES ({job_values})

-- name: insert_body
INSERT INTO bodies (number, body) VALUES (?, ?)

-- name: find
SELECT number, service, state, "unique", cause, parent, parent_number, batch, chain, "group"
FROM jobs WHERE id = ?

-- name: unfinished
state IN ('scheduled', 'waiting', 'running')

-- name: holder
SELECT id, batch, "group" FROM jobs
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
SELECT number, service, state, cause, (SELECT count(*) FROM history WHERE history.number = jobs.number)
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
SELECT {light},
    CASE WHEN on_failed IS NOT NULL THEN meta END,
    CASE WHEN on_failed IS NOT NULL THEN (SELECT body FROM bodies WHERE bodies.number = jobs.number) END
FROM jobs
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

-- Why jobs have failed.

-- name: known_causes
SELECT cause, service FROM causes

-- name: hours_of_cause
SELECT hours FROM causes WHERE cause = ?

-- name: count_cause
INSERT INTO causes (cause, service, type, message, frame, n, total, first_at, last_at, last_job, hours)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (cause) DO UPDATE SET
    frame = excluded.frame,
    n = causes.n + excluded.n,
    total = causes.total + excluded.total,
    last_at = CASE WHEN causes.last_at > excluded.last_at THEN causes.last_at ELSE excluded.last_at END,
    last_job = excluded.last_job,
    hours = excluded.hours

-- name: less_of_cause
UPDATE causes SET n = n - ? WHERE cause = ?

-- name: add_caused
INSERT INTO caused (cause, number) SELECT cause, number FROM jobs WHERE id = ?

-- name: delete_caused
DELETE FROM caused WHERE cause = ? AND number = ?

-- name: old_causes
SELECT cause, service FROM causes WHERE last_at < ? AND n = 0 ORDER BY last_at, cause LIMIT ?

-- name: forget_cause
DELETE FROM causes WHERE cause = ?

-- name: causes
SELECT cause, service, type, message, frame, n, total, first_at, last_at, last_job, hours FROM causes
WHERE (last_at, cause) < (?, ?) ORDER BY last_at DESC, cause DESC LIMIT ?

-- name: causes_of_service
SELECT cause, service, type, message, frame, n, total, first_at, last_at, last_job, hours FROM causes
WHERE service = ? AND (last_at, cause) < (?, ?) ORDER BY last_at DESC, cause DESC LIMIT ?

-- Figures over time.

-- name: figures
SELECT figures FROM series WHERE service = ? AND step = ? AND at = ?

-- name: set_figures
INSERT INTO series (service, step, at, figures) VALUES (?, ?, ?, ?)
ON CONFLICT (service, step, at) DO UPDATE SET figures = excluded.figures

-- name: forget_figures
DELETE FROM series WHERE entry IN (SELECT entry FROM series WHERE step = ? AND at < ? ORDER BY at LIMIT ?)

-- A + before `at`: else SQLite goes by the times, and reads the figures of every service.

-- name: series
SELECT at, service, figures FROM series
WHERE service IN (?, ?) AND step = ? AND at >= ? AND at < ? ORDER BY +at, service LIMIT ?

-- name: series_of_all
SELECT at, service, figures FROM series WHERE step = 3600 AND at >= ? ORDER BY at

-- name: add_mark
INSERT INTO marks (at, kind, text, service, who) VALUES (?, ?, ?, ?, ?)

-- name: forget_marks
DELETE FROM marks WHERE entry IN (SELECT entry FROM marks WHERE at < ? ORDER BY at LIMIT ?)

-- name: marks
SELECT at, kind, text, service, who FROM marks
WHERE at >= ? AND at < ? AND (CAST(? AS TEXT) IS NULL OR service IS NULL OR service = ?)
ORDER BY at DESC, entry DESC LIMIT ?

-- What operators did.

-- name: add_act
INSERT INTO audit (at, "by", verb, "on", detail, count, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: forget_old_acts
DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at < ? ORDER BY at LIMIT ?)

-- name: forget_more_acts
DELETE FROM audit WHERE number IN (
    SELECT number FROM audit WHERE number <= (SELECT max(number) FROM audit) - ? ORDER BY number LIMIT ?
)

-- name: acts_edge
SELECT number FROM audit WHERE number < ? ORDER BY number DESC LIMIT 1 OFFSET ?

-- name: acts
SELECT number, at, "by", verb, "on", detail, count, outcome FROM audit
WHERE number >= ?1 AND number < ?2 AND (CAST(?3 AS TEXT) IS NULL OR "by" = ?3) AND (CAST(?4 AS TEXT) IS NULL OR verb = ?4)
    AND (CAST(?5 AS TEXT) IS NULL OR "on" = ?5) AND (CAST(?6 AS DOUBLE PRECISION) IS NULL OR +at >= ?6)
    AND (CAST(?7 AS DOUBLE PRECISION) IS NULL OR +at < ?7)
ORDER BY number DESC LIMIT ?8

-- Two counts, for the reason that pages have two statements.

-- name: ahead
SELECT (
    SELECT count(*) FROM (
        SELECT 1 FROM jobs WHERE state = 'waiting' AND service = ?1 AND "group" = ?2 AND rank < ?3 LIMIT ?5
    ) AS before
) + (
    SELECT count(*) FROM (
        SELECT 1 FROM jobs
        WHERE state = 'waiting' AND service = ?1 AND "group" = ?2 AND rank = ?3 AND number < ?4 LIMIT ?5
    ) AS beside
)

-- A job's family.

-- name: parent
SELECT parent FROM jobs WHERE id = ?

-- name: listed_job
SELECT {listed} FROM jobs WHERE id = ?

-- name: children
SELECT {listed} FROM jobs WHERE parent = ? AND parent IS NOT NULL ORDER BY number LIMIT ?

-- Batches.

-- name: open_batch
INSERT INTO batches (id, created_at, then_service, failed_service, keep, meta, "by", "group")
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_conclusion
INSERT INTO conclusions (batch, kind, job) SELECT number, ?, ? FROM batches WHERE id = ?

-- name: conclusion
SELECT job FROM conclusions WHERE batch = ? AND kind = ?

-- name: delete_conclusion
DELETE FROM conclusions WHERE batch = ? AND kind = ?

-- name: close_batch
UPDATE batches SET closed = 1 WHERE id = ?

-- name: batch
SELECT {batch} FROM batches WHERE id = ?

-- name: set_batch
UPDATE batches SET total = ?, complete = ?, failed = ?, cancelled = ?, expired = ?, first = ?,
    then_id = ?, then_at = ?, failed_id = ?, failed_at = ?, ended_at = ?, forget_at = ?
WHERE number = ?

-- name: batches_due
SELECT number, id FROM batches
WHERE forget_at IS NOT NULL AND forget_at <= ? ORDER BY forget_at, number LIMIT ?

-- name: any_member
SELECT 1 FROM jobs WHERE batch = ? LIMIT 1

-- name: postpone_batch
UPDATE batches SET forget_at = ? WHERE number = ?

-- name: first_batch_due
SELECT min(forget_at) FROM batches WHERE forget_at IS NOT NULL

-- name: forget_batch
DELETE FROM batches WHERE number = ?

-- name: forget_conclusions
DELETE FROM conclusions WHERE batch = ?

-- name: open_batches
SELECT id, created_at, "by", "group" FROM batches WHERE closed = 0 ORDER BY number

-- name: batches_edge
SELECT number FROM batches WHERE number < ? ORDER BY number DESC LIMIT 1 OFFSET ?

-- name: batches
SELECT {batch} FROM batches
WHERE number >= ?1 AND number < ?2 AND (CAST(?3 AS TEXT) IS NULL OR ?3 = CASE
    WHEN closed = 0 THEN 'open'
    WHEN total > complete + failed + cancelled + expired THEN 'running'
    WHEN total = complete THEN 'complete'
    ELSE 'failed'
END)
ORDER BY number DESC LIMIT ?4

-- Schedules.

-- name: add_schedule
INSERT INTO schedules ({schedule}) VALUES ({schedule_values})

-- name: remove_schedule
DELETE FROM schedules WHERE name = ?

-- name: last_of_schedule
SELECT last_at FROM schedules WHERE name = ?

-- name: fire_schedule
UPDATE schedules SET last_at = coalesce(?, last_at), fired_at = ?, last_id = ?, fired = fired + 1 WHERE name = ?

-- A key that is given another name leaves its row.

-- name: remove_key
DELETE FROM keys WHERE name = ? OR proof = ?

-- name: write_key
INSERT INTO keys ({key}) VALUES ({key_values})

-- name: keys
SELECT {key} FROM keys ORDER BY name

-- name: unfinished_by_submitter
SELECT submitter, count(*) FROM jobs
WHERE submitter IS NOT NULL AND state IN ('scheduled', 'waiting', 'running')
GROUP BY submitter ORDER BY submitter

-- name: schedules
SELECT {schedule} FROM schedules WHERE CAST(?1 AS TEXT) IS NULL OR name = ?1 ORDER BY name

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

-- name: check_causes
SELECT causes.cause, n, (SELECT count(*) FROM caused WHERE caused.cause = causes.cause) AS there
FROM causes WHERE n <> there

-- name: check_stray_causes
SELECT count(*), min(cause) FROM caused
WHERE NOT EXISTS (
    SELECT 1 FROM jobs WHERE jobs.number = caused.number AND jobs.cause = caused.cause AND state = 'failed'
)

-- name: check_unknown_causes
SELECT count(*), min(cause) FROM caused
WHERE NOT EXISTS (SELECT 1 FROM causes WHERE causes.cause = caused.cause)

-- name: check_hours
SELECT count(*), min(cause) FROM causes WHERE NOT is_object(hours)

-- name: check_figures
SELECT count(*), min(entry) FROM series WHERE NOT is_object(figures)

-- name: check_steps
SELECT count(*), min(entry) FROM series WHERE step NOT IN (60, 3600) OR at % step <> 0

-- name: check_details
SELECT count(*), min(number) FROM audit WHERE detail IS NOT NULL AND NOT is_object(detail)

-- name: check_caused
SELECT count(*), min(id) FROM jobs
WHERE cause IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM caused WHERE caused.cause = jobs.cause AND caused.number = jobs.number
)

-- name: check_keys
SELECT count(*), min(name) FROM keys WHERE NOT is_object(rights)

-- name: check_batches
SELECT count(*), min(id) FROM batches
WHERE complete < 0 OR failed < 0 OR cancelled < 0 OR expired < 0
    OR total < complete + failed + cancelled + expired

-- name: check_ended_batches
SELECT count(*), min(id) FROM batches
WHERE (ended_at IS NOT NULL) <> (closed = 1 AND total = complete + failed + cancelled + expired)
    OR (ended_at IS NULL) <> (forget_at IS NULL)

-- name: check_first
SELECT count(*), min(id) FROM batches WHERE NOT is_list(first)

-- name: check_batch_meta
SELECT count(*), min(id) FROM batches WHERE meta IS NOT NULL AND NOT is_object(meta)

-- name: check_conclusions
SELECT count(*), min(id) FROM batches
WHERE (then_service IS NOT NULL AND then_id IS NULL)
        <> EXISTS (SELECT 1 FROM conclusions WHERE batch = batches.number AND kind = 'then')
    OR (failed_service IS NOT NULL AND failed_id IS NULL)
        <> EXISTS (SELECT 1 FROM conclusions WHERE batch = batches.number AND kind = 'failed')

-- name: check_stray_conclusions
SELECT count(*), min(batch) FROM conclusions
WHERE NOT is_object(job) OR NOT EXISTS (SELECT 1 FROM batches WHERE batches.number = conclusions.batch)

-- name: check_concludes
SELECT count(*), min(id) FROM jobs WHERE concludes IS NOT NULL AND NOT is_object(concludes)

-- name: check_schedules
SELECT count(*), min(name) FROM schedules WHERE NOT is_object(options) OR (cron IS NULL) = (every IS NULL) OR fired < 0

-- Of the store in memory alone, which keeps so many ended jobs and no more.

-- name: index_of_ends
CREATE INDEX jobs_ends ON jobs (ended_at) WHERE forget_at IS NOT NULL

-- name: oldest_ends
SELECT number, service, state, cause FROM jobs WHERE forget_at IS NOT NULL ORDER BY ended_at, number LIMIT ?

-- name: used_bytes
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
