"""Files of weights from the Hugging Face hub: resumed where a download broke off, checked, kept inside the clone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from pipeline.base.errors import InputError, first_line

# Tensors without programs first.
FILES = ("model.safetensors", "pytorch_model.bin")
SHA256 = re.compile(r"[0-9a-f]{64}")


class NotDownloadedError(InputError):
    """What the hub should have could not be had: no network, or the hub has it no longer."""


def fetch(key: str, repository: str) -> Path:
    """The file of weights of a repository (owner/name) of the hub: downloaded once, then read from the cache.

    Raises NotDownloadedError where the hub cannot be reached or does not give it, InputError where the repository has
    no such file or what came is not what the hub has; both name the setting `key`.
    """
    for name in FILES:
        try:
            path = Path(hf_hub_download(repository, name))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError):  # not there, because the hub was not reached
                raise _elsewhere(key, repository, name, error) from error
            continue
        except HFValidationError as error:
            raise InputError(f"{key}: {repository!r} is no name of the hub; allowed: owner/name") from error
        except Exception as error:  # its own errors, those of its HTTP library, and the operating system's
            raise _elsewhere(key, repository, name, error) from error
        _check(key, path)
        return path
    raise InputError(f"{key}: {repository} has none of {', '.join(FILES)}")


def _check(key: str, path: Path) -> None:
    """Compare a file with its checksum, which is what the hub's cache calls the content of large files."""
    content = path.resolve()
    if SHA256.fullmatch(content.name):
        with content.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != content.name:
            content.unlink()
            path.unlink(missing_ok=True)
            raise InputError(f"{key}: {path.name} is damaged, its checksum is not the hub's; removed, run again")


def _elsewhere(key: str, repository: str, name: str, error: Exception) -> NotDownloadedError:
    return NotDownloadedError(
        f"{key}: {name} of {repository} cannot be downloaded ({first_line(error)}); another way: "
        f"fetch it elsewhere and set model.checkpoint to that file"
    )
