-- What the worker of a service told of its jobs: their options, and the JSON Schema of their parameters. Both are
-- JSON as text, null: nothing was told.

ALTER TABLE services ADD COLUMN defaults TEXT;
ALTER TABLE services ADD COLUMN params TEXT;
