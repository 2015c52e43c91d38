"""A packed file from the Hugging Face hub, downloaded once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from wfn.packed.errors import first_line

HUB = "hf-hub:"
FILE = "network.wfn"  # in a repository of the hub
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def local(source: Any) -> Any:
    """What `source` is, a path of the downloaded file where it is "hf-hub:owner/name" or "hf-hub:owner/name@revision".

    The hub is that of HF_ENDPOINT, the folder that of HF_HOME; what was downloaded before is not downloaded again.

    Raises OSError, in one line, where the file cannot be had; ImportError without huggingface_hub.
    """
    if not (isinstance(source, str) and source.startswith(HUB)):
        return source
    name, _, revision = source.removeprefix(HUB).partition("@")
    if not NAME.fullmatch(name):
        raise OSError(f"{source}: {HUB}owner/name is needed")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, FILE, revision=revision or None))
    except Exception as error:  # its own errors, those of its HTTP library, and the operating system's
        raise OSError(f"{source}: {FILE} cannot be downloaded ({first_line(error)})") from error
