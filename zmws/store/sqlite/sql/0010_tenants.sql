-- Whose a batch is: the keys of one tenant share it.

ALTER TABLE batches ADD COLUMN "group" TEXT;
