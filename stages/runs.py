"""Which runs a pipeline has: their folders, as in dvc.yaml, and how MLflow calls them."""

from pathlib import Path

from pipeline.config import Settings
from pipeline.tracking import Label


def baseline_label(settings: Settings) -> Label:
    """The run of stage `pretrain`."""
    return Label(_experiment(settings), f"baseline {settings.model.name}", "pretrain")


def fix_label(settings: Settings, stage: str) -> Label:
    """A run of stage `fix`, or of one cell of `sweep` or `repeats`."""
    name = f"WFN delta={settings.delta:g} alpha={settings.alpha:g} seed={settings.seed}"
    return Label(_experiment(settings), name, stage)


def quantise_label(settings: Settings, name: str) -> Label:
    """A run of stage `quantise`: the quantiser of that name."""
    seed = settings.seed + settings.baselines.quantisers[name].repeat
    return Label(_experiment(settings), f"{name} seed={seed}", f"quantise@{name}")


def report_label(settings: Settings) -> Label:
    """The run that holds the report's tables and figures."""
    return Label(_experiment(settings), "report", "report")


def _experiment(settings: Settings) -> str:
    return f"weight-fixing-{settings.profile}"


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
            label = fix_label(settings.with_setting(delta=delta, alpha=alpha), f"sweep@{delta!r}-{alpha!r}")
            found.append((label, runs / "sweep" / f"delta-{delta!r}_alpha-{alpha!r}"))
    return found


def quantised_folders(settings: Settings, runs: Path) -> list[tuple[Label, Path]]:
    """What every `quantise` stage wrote."""
    return [(quantise_label(settings, name), runs / "quantise" / name) for name in settings.baselines.quantisers]
