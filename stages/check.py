"""Not a stage: checks params.yaml and its profile before a run, where DVC itself would say less."""

from pipeline.base.settings import load_settings
from pipeline.methods import check_method
from stages.common.cli import run


def check() -> None:
    """Say in one line what is wrong with the settings, if anything is."""
    for name, quantiser in load_settings().baselines.quantisers.items():
        check_method(name, quantiser)


if __name__ == "__main__":
    run(check)
