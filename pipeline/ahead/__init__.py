"""Before a run: what it will do, and what would stop it."""
