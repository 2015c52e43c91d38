"""Stage `data`: the profile's data set, split and written once."""

from pipeline.base.results import writable
from pipeline.base.settings import load_settings
from pipeline.data import memory, streaming
from stages.common.cli import Out, run
from stages.common.folders import DATA, RUNS


def data(out: Out = None) -> None:
    """Split the profile's data set and write it with a card that describes it."""
    settings = load_settings()
    out = writable(out or RUNS / settings.profile / DATA)
    if settings.data.storage == "memory":
        dataset = memory.prepare(settings.data, settings.seed)
        memory.save(dataset, out)
        card = dataset.card
    else:
        index, card = streaming.prepare(settings.data, settings.seed)
        streaming.save(index, card, out)
    train, test = (card[part]["images"] for part in ("train", "test"))
    print(f"data: {settings.data.name}, {train} training and {test} test images -> {out}")


if __name__ == "__main__":
    run(data)
