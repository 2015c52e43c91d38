"""Stage `data`: the profile's data set, split and written once."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.config import load_settings
from pipeline.data import prepare, save
from stages.cli import run


def data(out: Annotated[Path, Option(help="Folder for the images and their card.")]) -> None:
    """Split the profile's data set and write it with a card that describes it."""
    settings = load_settings()
    dataset = prepare(settings.data, settings.seed)
    save(dataset, out)
    print(f"data: {settings.data.name}, {len(dataset.train)} training and {len(dataset.test)} test images -> {out}")


if __name__ == "__main__":
    run(data)
