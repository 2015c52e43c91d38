"""The process that reads hostile files, as the project reads them: `python -m benchmarks.faults.hostile_reader`.

On each line of the standard input: the kind and the folder of a file. On each line of the standard output: what became
of it, as JSON: `outcome` ("read", "refused" or "fault") and `said`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

# Pictures up to this size are read; a bench that watches memory has no use for 180 megapixels.
MEGAPIXELS = 10
NETWORK = "test_resnet"


def readers(repository: Path) -> dict[str, Callable[[Path], object]]:
    """What reads the folder of a case, by its kind; all that takes time is imported and built before."""
    import timm
    import torch
    from PIL import Image

    pillows_limit = Image.MAX_IMAGE_PIXELS
    import wfn
    from pipeline.base.settings import Data, Settings, load_settings
    from pipeline.data.memory import prepare
    from pipeline.network.build import build
    from pipeline.network.weights import load_checkpoint
    from wfn.files.pictures import find_pictures, read_picture

    torch.set_num_threads(1)
    values = load_settings(repository / "params.yaml", repository / "profiles").model_dump()
    values["model"] |= {"name": NETWORK, "checkpoint": "weights"}
    settings = Settings.model_validate(values)
    network = build(settings.model, seed=0)
    own = {"name": "own", "channels": 3, "pixels": 32, "test_share": 0.25, "max_megapixels": MEGAPIXELS}

    def checkpoint(folder: Path) -> None:
        named = settings.model.model_copy(update={"checkpoint": str(folder / "weights")})
        load_checkpoint(network, settings.model_copy(update={"model": named}))

    def images(folder: Path) -> None:
        prepare(Data.model_validate(settings.data.model_dump() | own | {"root": folder}), seed=0)

    def pictures(folder: Path) -> None:
        Image.MAX_IMAGE_PIXELS = pillows_limit  # as `wfn predict` has it, which knows no data.max_megapixels
        try:
            for path in find_pictures([folder]):
                read_picture(path, 3)
        finally:
            Image.MAX_IMAGE_PIXELS = None
            images(folder)

    def packed(folder: Path) -> None:
        wfn.inspect(folder / "network.wfn")
        loaded: Any = wfn.load(folder / "network.wfn")
        if loaded.transform is not None:
            loaded.transform(Image.new("RGB", (40, 30)))

    timm.list_models()
    return {
        "checkpoint": checkpoint,
        "images": images,
        "pictures": pictures,
        "packed": packed,
        "settings": lambda folder: load_settings(folder / "params.yaml", folder / "profiles"),
    }


def main() -> None:
    """Read what the standard input names, until it ends."""
    os.environ["DVC_ROOT"] = str(Path.cwd())
    from pipeline.base.errors import InputError
    from wfn.files.pictures import PictureError
    from wfn.packed.errors import PackedError

    known, answers = readers(Path(__file__).parents[2]), sys.stdout
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        kind, folder = json.loads(line)
        outcome, said = "read", ""
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                known[kind](Path(folder))
        except (InputError, PackedError, PictureError) as error:
            said = str(error)
            outcome = "refused" if said.isprintable() and len(said) < 2000 else "fault"
            if outcome == "fault":
                said = f"a message that is no line: {said[:200]!r}"
        except Exception as error:  # what a person would see as a traceback
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome, said = "fault", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"
        answers.write(json.dumps({"outcome": outcome, "said": said[:500]}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
