"""The stages of dvc.yaml, each a thin command: `python -m stages.<name> --help`."""
