"""Which runs a pipeline has: their folders, as in dvc.yaml, and how MLflow calls them."""

from pathlib import Path

from pipeline.config import Settings
from pipeline.results import sweep_folder
from pipeline.tracking import Label


def baseline_label(settings: Settings) -> Label:
    """The run of stage `pretrain`."""
    return Label(_experiment(settings), f"baseline {settings.model.name}", "pretrain")


def fix_label(settings: Settings, stage: str) -> Label:
    """A run of stage `fix`, or of one cell of `sweep`."""
    return Label(_experiment(settings), f"WFN delta={settings.delta:g} alpha={settings.alpha:g}", stage)


def report_label(settings: Settings) -> Label:
    """The run that holds the report's tables and figures."""
    return Label(_experiment(settings), "report", "report")


def _experiment(settings: Settings) -> str:
    return f"weight-fixing-{settings.profile}"


def baseline_folder(runs: Path) -> Path:
    """What stage `pretrain` wrote."""
    return runs / "baseline"


def fixed_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """What `fix` and every cell of `sweep` wrote.

    Taken from the settings: folders of values that have left the grid may still lie around.
    """
    found = [(fix_label(settings, "fix"), runs / "fix")]
    for delta in settings.grid.delta:
        for alpha in settings.grid.alpha:
            cell = settings.with_setting(delta=delta, alpha=alpha)
            found.append((fix_label(cell, f"sweep@{delta!r}-{alpha!r}"), sweep_folder(runs, delta, alpha)))
    return found
