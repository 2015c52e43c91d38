"""Stage `explore`: how the settings act, on a small network: its baselines, and every cell of the grid."""

from functools import partial
from pathlib import Path

from pipeline.base.results import CARD, writable
from pipeline.base.settings import load_settings
from pipeline.training.device import seed_torch
from pipeline.training.several_runs import several_runs
from stages.common.baseline import make_baseline
from stages.common.cli import Out, Runs, run
from stages.common.fixed import make_fixed
from stages.common.folders import DATA, RUNS, Places
from stages.common.work import device_and_data, own_files


def explore(runs: Runs = None, out: Out = None) -> None:
    """Fix a small network with every combination of the grid, one after the other; what is done is done once."""
    settings = load_settings()
    runs = runs or RUNS / settings.profile
    data, out = runs / DATA, writable(out or runs / "explore")
    fabric, dataset, small = device_and_data(settings.for_explore(), data)
    settings = settings.for_classes(small.model.outputs)
    trained, cells = settings.explore_baselines(), settings.explored()
    decides = {name: each.of_baseline() for name, each in trained.items()}
    decides |= {name: each.of_fixing() for name, each in cells.items()}
    with several_runs(fabric, out, decides, [data / CARD, *own_files(small)]) as made:
        begin_with: dict[int, Path] = {}  # by seed

        def train(out: Path, name: str) -> None:
            seed_torch(fabric, trained[name].seed)
            make_baseline(f"explore@{name}", trained[name], fabric, dataset, Places(data, out, out))

        def fix(out: Path, name: str) -> None:
            seed_torch(fabric, cells[name].seed)
            make_fixed(f"explore@{name}", cells[name], fabric, dataset, Places(data, begin_with[cells[name].seed], out))

        for name, each in trained.items():
            begin_with[each.seed] = made.make(name, partial(train, name=name))
        for number, name in enumerate(cells, 1):
            made.make(name, partial(fix, name=name))
            fabric.print(f"explore: {number} of {len(cells)} networks")


if __name__ == "__main__":
    run(explore)
