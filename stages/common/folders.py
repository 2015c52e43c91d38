"""Which runs a pipeline has: their folders, as in dvc.yaml, and how MLflow calls them."""

import itertools
from pathlib import Path

from pipeline.base.settings import Settings
from pipeline.watching.tracking import Label


def baseline_label(settings: Settings, stage: str = "pretrain") -> Label:
    """The run of stage `pretrain`, or of the baseline of `explore`."""
    return Label(_experiment(settings, stage), f"baseline {settings.model.name}", stage)


def fix_label(settings: Settings, stage: str) -> Label:
    """A run of stage `fix`, or of one cell of `repeats`, `sweep` or `explore`."""
    batch_norm = "" if settings.fixing.fix_batch_norm else " bn=float"
    name = f"WFN delta={settings.delta:g} alpha={settings.alpha:g}{batch_norm} seed={settings.seed}"
    return Label(_experiment(settings, stage), name, stage)


def quantise_label(settings: Settings, name: str) -> Label:
    """A run of stage `quantise`: the quantiser of that name."""
    seed = settings.seed + settings.baselines.quantisers[name].repeat
    stage = f"quantise@{name}"
    return Label(_experiment(settings, stage), f"{name} seed={seed}", stage)


def report_label(settings: Settings) -> Label:
    """The run that holds the report's tables and figures."""
    return Label(_experiment(settings, "report"), "report", "report")


def _experiment(settings: Settings, stage: str) -> str:
    """`explore` has an experiment of its own: its small networks are not to be compared with the others."""
    return f"weight-fixing-{settings.profile}{'-explore' if stage.startswith('explore') else ''}"


def baseline_folder(runs: Path) -> Path:
    """What stage `pretrain` wrote."""
    return runs / "baseline"


def fixed_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """What `fix`, its repeats and every cell of `sweep` wrote, in this order.

    Taken from the settings: folders of values that have left the grid may still lie around.
    """
    found = [(fix_label(settings, "fix"), runs / "fix")]
    for repeat in settings.repeats:
        label = fix_label(settings.repeated(repeat), f"repeats@{repeat}")
        found.append((label, runs / "repeats" / f"repeat-{repeat}"))
    for delta in settings.grid.delta:
        for alpha in settings.grid.alpha:
            cell = settings.changed({"delta": delta, "alpha": alpha})
            label = fix_label(cell, f"sweep@{delta!r}-{alpha!r}")
            found.append((label, runs / "sweep" / f"delta-{delta!r}_alpha-{alpha!r}"))
    return found


def quantised_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """What every `quantise` stage wrote."""
    return [(quantise_label(settings, name), runs / "quantise" / name) for name in settings.baselines.quantisers]


def explore_baseline(settings: Settings, runs: Path) -> tuple[Label, Path]:
    """What stage `explore_baseline` wrote."""
    changed = settings.changed({"model.name": settings.explore.model})
    return baseline_label(changed, "explore_baseline"), runs / "explore" / "baseline"


def explore_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """What every cell of `explore` wrote."""
    found = []
    grid = settings.explore
    for delta, alpha, fix_batch_norm in itertools.product(grid.delta, grid.alpha, grid.fix_batch_norm):
        cell = settings.changed({"delta": delta, "alpha": alpha, "fixing.fix_batch_norm": fix_batch_norm})
        batch_norm = str(fix_batch_norm).lower()
        label = fix_label(cell, f"explore@{delta!r}-{alpha!r}-{fix_batch_norm}")
        found.append((label, runs / "explore" / f"delta-{delta!r}_alpha-{alpha!r}_bn-{batch_norm}"))
    return found


def all_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """Every run of the pipeline, in its order."""
    return [
        (baseline_label(settings), baseline_folder(runs)),
        *fixed_folders(settings, runs),
        *quantised_folders(settings, runs),
        explore_baseline(settings, runs),
        *explore_folders(settings, runs),
    ]
