"""The stages of dvc.yaml, each a thin command: `python -m stages.<name> --help`."""

from stages.common.stopping import stop_with_dvc

# Before the imports of a stage, which take seconds in which its `dvc` may go.
stop_with_dvc()
