-- Statements that PostgreSQL wants in other words than SQLite (zmws/store/sql/queries.sql).

-- name: scheduled_by_service
SELECT service, count(*) FROM jobs WHERE state = 'scheduled' GROUP BY service ORDER BY service

-- name: used_bytes
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'

-- name: check_causes
SELECT causes.cause, n, there FROM causes
CROSS JOIN LATERAL (SELECT count(*) AS there FROM caused WHERE caused.cause = causes.cause) AS found
WHERE n <> there
