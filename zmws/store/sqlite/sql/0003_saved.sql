-- What an attempt has left for the next: JSON as text, null: nothing.

ALTER TABLE jobs ADD COLUMN saved TEXT;
