"""Stage `quantise`: the baseline network quantised by another method."""

from pipeline.base.settings import load_settings
from stages.common.cli import Out, Runs, Stage, run
from stages.common.folders import places
from stages.common.quantised import Named, make_quantised
from stages.common.work import device_and_data


def quantise(stage: Stage, runs: Runs = None, out: Out = None) -> None:
    """Quantise the baseline network as one of baselines.quantisers says: --stage quantise@NAME."""
    given = load_settings()
    where, name = places(given, stage, runs, out), stage.partition("@")[2]
    settings, quantiser = given.for_quantiser(name)
    fabric, dataset, settings = device_and_data(settings, where.data)
    make_quantised(Named(stage, name, quantiser), settings, fabric, dataset, where)


if __name__ == "__main__":
    run(quantise)
