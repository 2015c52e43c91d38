"""Stage `data`: the profile's data set, split and written once."""

import shutil
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.results import CARD, EXAMPLES, WRITING, writable, write_files
from pipeline.base.settings import load_settings
from pipeline.data import memory, streaming
from pipeline.data.examples import find_examples, sheet
from stages.common.cli import Out, run
from stages.common.folders import DATA, RUNS


def data(
    out: Out = None,
    show: Annotated[
        int | None, Option(min=1, max=100, help="Only draw so many pictures of each class, into examples.png.")
    ] = None,
) -> None:
    """Split the profile's data set and write it with a card that describes it."""
    settings = load_settings()
    if show is not None:
        path = Path(EXAMPLES) if out is None else out
        if path.suffix.lower() != ".png":
            raise InputError(f"--out {out}: with --show a picture is drawn; allowed: a name that ends in .png")
        images, names = find_examples(settings, show)
        write_files(path.parent, {path.name: sheet(images, names)})
        print(path)
        return
    own, out = out is None, writable(out or RUNS / settings.profile / DATA)
    if settings.data.storage == "memory":
        dataset = memory.prepare(settings.data, settings.seed)
        memory.save(dataset, out)
        card, kept = dataset.card, memory.IMAGES
    else:
        index, card = streaming.prepare(settings.data, settings.seed)
        streaming.save(index, card, out)
        kept = streaming.INDEX
    # DVC leaves the folder as it was (dvc.yaml: persist), with what a run that was killed or other settings left there.
    # In a folder that a person names, other files are theirs.
    names = ["*"] if own else [memory.IMAGES, streaming.INDEX, f"{WRITING}*"]
    for path in [path for name in names for path in out.glob(name) if path.name not in (CARD, kept)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train, test = (card[part]["images"] for part in ("train", "test"))
    print(f"data: {settings.data.name}, {train} training and {test} test images -> {out}")


if __name__ == "__main__":
    run(data)
