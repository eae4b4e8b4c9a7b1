"""All that is SQLite's: `disk` keeps jobs in a file, and `upkeep` looks after that file."""
