"""Not a stage: has the next run take a person's own pictures, by a profile for them (`make home PICTURES=folder`)."""

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.results import in_clone, write_files
from pipeline.base.settings.reading import PARAMS_FILE, PROFILES, load_settings
from stages.common.cli import run

Pictures = Annotated[Path | None, Option(envvar="PICTURES", help="A folder with a folder of pictures a class.")]
Model = Annotated[str | None, Option(envvar="MODEL", help="An image classifier of timm.")]

PATTERN, OWN = PROFILES / "custom.yaml", PROFILES / "own.yaml"


def own(pictures: Pictures = None, model: Model = None) -> None:
    """Write profiles/own.yaml for these pictures, or change what it says of them, and choose it in params.yaml."""
    if os.environ.get("PICTURES", "x").strip() == "":
        raise InputError("PICTURES: is empty; allowed: a folder with a folder of pictures a class, or none")
    if pictures is not None:
        if not in_clone(pictures).is_dir():
            raise InputError(
                f"PICTURES = {pictures}: no such folder; allowed: a folder with a folder of pictures a class"
            )
        # Control characters, and bytes that are no text.
        if any(unicodedata.category(each) in ("Cc", "Cs") for each in str(pictures)):
            raise InputError(f"PICTURES = {str(pictures)!a}: allowed: a folder whose name can be written")
        text = _with(_text(OWN if OWN.exists() else PATTERN), "data", "root", str(pictures))
        text = text if model is None else _with(text, "model", "name", model)
        params = re.sub(r"(?m)^profile:.*$", f"profile: {OWN.stem}", _text(PARAMS_FILE), count=1)
        _write({OWN: text, PARAMS_FILE: params})
        print(f"{OWN}: data.root = {pictures}; chosen in {PARAMS_FILE} (back: git restore {PARAMS_FILE})")
    elif model is not None:
        raise InputError(f"MODEL = {model}: goes with PICTURES; of another profile it is model.name")
    else:
        load_settings()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None


def _write(texts: Mapping[Path, str]) -> None:
    """Write files of settings; as they were before where these are not allowed."""
    before = {path: path.read_bytes() if path.exists() else None for path in texts}
    try:
        for path, text in texts.items():
            write_files(path.parent, {path.name: text.encode()})
        if load_settings().profile != OWN.stem:
            raise InputError(f"{PARAMS_FILE}: has no line that begins with `profile: `; allowed: one")
    except (InputError, OSError):
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_files(path.parent, {path.name: content})
        raise


def _with(profile: str, section: str, key: str, value: str) -> str:
    """The text of a profile with another value for a key; its comments stay."""
    found = re.search(rf"(?m)^{section}:\n(?:(?:  .*)?\n)*?  {key}: ", profile)
    if found is None:
        raise InputError(f"{OWN}: {section}.{key} is missing")
    rest = profile[found.end() :].partition("\n")[2]
    return f"{profile[: found.end()]}{json.dumps(value, ensure_ascii=False)}\n{rest}"


if __name__ == "__main__":
    run(own)
