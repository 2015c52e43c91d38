"""`python -m wfn.cli`, for where the command is not installed."""

from wfn.cli import main

main()
