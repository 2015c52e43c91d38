"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

from pipeline.base.settings import load_settings
from stages.common.baseline import make_baseline
from stages.common.cli import Changes, Out, Runs, changes, run
from stages.common.folders import places
from stages.common.work import device_and_data


def pretrain(runs: Runs = None, out: Out = None, change: Changes = []) -> None:  # noqa: B006
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change))
    where = places(settings, "pretrain", runs, out)
    fabric, dataset, settings = device_and_data(settings, where.data)
    make_baseline("pretrain", settings, fabric, dataset, where)


if __name__ == "__main__":
    run(pretrain)
