"""What the stores on SQLite and on PostgreSQL have in common: the statements (`queries.sql`), what they are
made of and what comes back. `dialect` says in what the two differ."""
