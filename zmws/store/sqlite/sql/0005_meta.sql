-- The caller's own object of a job, and what an operator has set of a service (zmws.limit): JSON as text, null: none.

ALTER TABLE jobs ADD COLUMN meta TEXT;
ALTER TABLE services ADD COLUMN limits TEXT;
