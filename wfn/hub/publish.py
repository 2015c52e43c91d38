"""Publishing a packed network on the Hugging Face hub."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wfn.files.writing import write_safetensors
from wfn.hub.card import card, timm_config
from wfn.packed.decode import inspect, unpack
from wfn.packed.download import FILE, NAME
from wfn.packed.errors import first_line


def push(
    path: str | os.PathLike[str],
    repository: str,
    *,
    token: str | None = None,
    private: bool = False,
    licence: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    with_weights: bool = False,
) -> str:
    """Publish a packed file as `network.wfn` of a repository, which is made where there is none; returns its address.

    Beside it go README.md, which says what the file says of itself and how to load it, and, for a file with a network,
    config.json as timm has it: all in one commit.

    repository: owner/name. token: of an account that may write there; None: that of HF_TOKEN or of `hf auth login`.
    licence: of the weights, by the hub's name for it. metadata: for the page, beside that of the file or in its place.
    with_weights: model.safetensors too, so that `timm.create_model("hf-hub:owner/name", pretrained=True)` does without
    this package.

    Raises ValueError for `with_weights` with a network that timm alone cannot build, and for another name; OSError, in
    one line, for what the hub refuses or does not answer; errors of `unpack`; ImportError without huggingface_hub.
    """
    if not NAME.fullmatch(repository):
        raise ValueError(f"{repository}: owner/name is needed")
    from huggingface_hub import CommitOperationAdd, HfApi

    contents = inspect(path)
    if with_weights and (contents.network is None or contents.network.get("stem")):
        raise ValueError(f"{path}: with_weights: timm alone cannot build its network")
    page = card(repository, contents, metadata or {}, licence, with_weights)
    files: dict[str, Path | bytes] = {FILE: Path(path), "README.md": page.encode()}
    if contents.network is not None:
        files["config.json"] = json.dumps(timm_config(contents.network), indent=2, ensure_ascii=False).encode()
    with tempfile.TemporaryDirectory() as folder:
        if with_weights:
            files["model.safetensors"] = weights = Path(folder) / "model.safetensors"
            write_safetensors(unpack(path), weights)
        added = [CommitOperationAdd(name, content) for name, content in files.items()]
        hub = HfApi(token=token)
        try:
            address = hub.create_repo(repository, private=private, exist_ok=True)
            hub.create_commit(repository, added, commit_message=f"{FILE} of weight-fixing")
        except Exception as error:  # the client's own errors, those of its HTTP library, and the operating system's
            raise OSError(f"{repository}: the hub did not take it ({first_line(error)})") from error
    return str(address)
