"""Before a run: what it will do, what would stop it, and which of its stages are made side by side."""
