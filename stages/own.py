"""Not a stage: has the next run take a person's own pictures, by a profile for them (`make home PICTURES=folder`)."""

import json
import re
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.results import write_files
from pipeline.base.settings.reading import PARAMS_FILE, PROFILES, load_settings
from stages.common.cli import run

Pictures = Annotated[Path | None, Option(envvar="PICTURES", help="A folder with a folder of pictures a class.")]
Model = Annotated[str | None, Option(envvar="MODEL", help="An image classifier of timm.")]

PATTERN, OWN = PROFILES / "custom.yaml", PROFILES / "own.yaml"


def own(pictures: Pictures = None, model: Model = None) -> None:
    """Write profiles/own.yaml for these pictures, or change what it says of them, and choose it in params.yaml."""
    if pictures is not None:
        if not pictures.expanduser().is_dir():
            raise InputError(
                f"PICTURES = {pictures}: no such folder; allowed: a folder with a folder of pictures a class"
            )
        text = (OWN if OWN.exists() else PATTERN).read_text()
        text = _with(text, "data", "root", str(pictures))
        text = text if model is None else _with(text, "model", "name", model)
        params = re.sub(r"(?m)^profile:.*$", f"profile: {OWN.stem}", PARAMS_FILE.read_text(), count=1)
        write_files(OWN.parent, {OWN.name: text.encode()})
        write_files(PARAMS_FILE.parent, {PARAMS_FILE.name: params.encode()})
        print(f"{OWN}: data.root = {pictures}; chosen in {PARAMS_FILE} (back: git restore {PARAMS_FILE})")
    elif model is not None:
        raise InputError(f"MODEL = {model}: goes with PICTURES; of another profile it is model.name")
    load_settings()


def _with(profile: str, section: str, key: str, value: str) -> str:
    """The text of a profile with another value for a key; its comments stay."""
    found = re.search(rf"(?m)^{section}:\n(?:(?:  .*)?\n)*?  {key}: ", profile)
    if found is None:
        raise InputError(f"{OWN}: {section}.{key} is missing")
    rest = profile[found.end() :].partition("\n")[2]
    return f"{profile[: found.end()]}{json.dumps(value, ensure_ascii=False)}\n{rest}"


if __name__ == "__main__":
    run(own)
