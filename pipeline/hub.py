"""Files of weights from the Hugging Face hub: resumed where a download broke off, kept inside the clone."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from pipeline.config import InputError, first_line

HUB = "hf-hub:"
# Tensors without programs first.
FILES = ("model.safetensors", "pytorch_model.bin")


def fetch(checkpoint: str) -> Path:
    """The file of weights of a repository of the hub, hf-hub:owner/name: downloaded once, then read from the cache.

    Raises InputError where the hub cannot be reached, or the repository has no such file.
    """
    repository = checkpoint.removeprefix(HUB)
    for name in FILES:
        try:
            return Path(hf_hub_download(repository, name))
        except LocalEntryNotFoundError as error:
            raise InputError(_offline(checkpoint, repository, name, error)) from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            raise InputError(_offline(checkpoint, repository, name, error)) from error
    raise InputError(f"model.checkpoint = {checkpoint}: the repository has none of {', '.join(FILES)}")


def _offline(checkpoint: str, repository: str, name: str, error: Exception) -> str:
    return (
        f"model.checkpoint = {checkpoint}: {name} cannot be downloaded ({first_line(error)}); "
        f"another way: fetch {name} of {repository} elsewhere and set model.checkpoint to that file"
    )
