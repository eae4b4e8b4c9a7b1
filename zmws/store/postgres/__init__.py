"""All that is PostgreSQL's: `store` keeps jobs in a schema of a database; `upkeep` looks after that."""

SCHEMA = "zmws"
