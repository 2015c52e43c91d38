"""What a month of computing meets: kills, full disks, damaged and hostile files, busy neighbours, long runs.

Each module tries one kind on clones of this repository with a tiny profile and yields a Finding for every thing tried.
`python -m benchmarks.faults` runs them and writes docs/reliability.md; the tests run the same with few moments.
"""
