"""Not a stage: checks params.yaml and its profile before a run, where DVC itself would say less."""

from pathlib import Path

from pipeline.config import InputError, load_settings
from stages.cli import run

METHODS = Path("pipeline/quantisers")


def check() -> None:
    """Say in one line what is wrong with the settings, if anything is."""
    for name, quantiser in load_settings().baselines.quantisers.items():
        if not (METHODS / f"{quantiser.method}.py").is_file():  # not imported: that would take seconds
            known = ", ".join(sorted(path.stem for path in METHODS.glob("[a-z]*.py")))
            raise InputError(
                f"baselines.quantisers.{name}.method = {quantiser.method!r}: no such method; allowed: {known}"
            )


if __name__ == "__main__":
    run(check)
