"""Benchmarks: they report, and are no tests. `python -m benchmarks.engine --help`."""
