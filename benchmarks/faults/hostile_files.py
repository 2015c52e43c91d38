"""Files of every kind that the project reads: whole ones, damaged and forged ones, and those that are made to harm."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults import malicious, malicious_data
from benchmarks.faults.damage import damaged

ROOT = Path(__file__).parents[2]
MARKER = malicious.MARKER
NAMES = ["cat", "dog"]


@dataclass(frozen=True)
class Case:
    """A folder to read, by the names of its files. whole: it has to be read."""

    what: str
    files: Mapping[str, bytes]
    whole: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of file. whole: folders that are read; attacks: names and contents that are put in place of `target`."""

    reader: str
    target: str
    whole: Callable[[], Mapping[str, bytes]]
    attacks: Callable[[bytes], Mapping[str, bytes]]
    forged: Callable[[bytes, random.Random], tuple[str, bytes]] = field(default=damaged)

    def cases(self, choices: random.Random, tries: int) -> Iterator[Case]:
        """The whole folder, every attack, and so many damaged and forged ones."""
        files = self.whole()
        content = files[self.target]
        yield Case("a whole one", files, whole=True)
        for what, attack in self.attacks(content).items():
            yield Case(what, {**files, self.target: attack})
        for number in range(tries):
            what, changed = (damaged, self.forged)[number % 2](content, choices)
            yield Case(f"{what} ({number})", {**files, self.target: changed})


@cache
def picture(number: int, form: str) -> bytes:
    """A picture of 32 x 32 pixels in a form that Pillow writes."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def _state() -> dict[str, object]:
    import timm
    import torch

    torch.manual_seed(0)
    return dict(timm.create_model("test_resnet", in_chans=1, num_classes=10).state_dict())


@cache
def _safetensors() -> Mapping[str, bytes]:
    from safetensors.torch import save

    return {"weights": save(_state())}  # type: ignore[arg-type]


@cache
def _torch() -> Mapping[str, bytes]:
    import torch

    file = io.BytesIO()
    torch.save({"state_dict": _state(), "epoch": 3}, file)
    return {"weights": file.getvalue()}


@cache
def _old_torch() -> Mapping[str, bytes]:
    import torch

    file = io.BytesIO()
    torch.save(_state(), file, _use_new_zipfile_serialization=False)
    return {"weights": file.getvalue()}


@cache
def _batches() -> Mapping[str, bytes]:
    import pickle

    def batch(number: int) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (4, 3072), np.uint8)
        return pickle.dumps({b"data": pixels, b"labels": [0, 1, 0, 1]}, protocol=2)

    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    meta = pickle.dumps({b"label_names": [name.encode() for name in NAMES]}, protocol=2)
    return {"batches.meta": meta, **{name: batch(number) for number, name in enumerate(names)}}


@cache
def _parquet() -> Mapping[str, bytes]:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    found = {}
    for part, count in (("train", 4), ("test", 2)):
        rows = {
            "image": [{"bytes": picture(number, "PNG"), "path": None} for number in range(count)],
            "label": [number % 2 for number in range(count)],
        }
        file = io.BytesIO()
        datasets.Dataset.from_dict(rows, features).to_parquet(file)
        found[f"{part}-0.parquet"] = file.getvalue()
    return found


@cache
def _shards() -> Mapping[str, bytes]:
    samples = {f"{number}.{end}": content for number in range(4) for end, content in (
        ("png", picture(number, "PNG")), ("cls", str(number % 2).encode()))}  # fmt: skip
    return {name: malicious_data.tar(samples) for name in ("train-0.tar", "val-0.tar")}


@cache
def _images(form: str) -> Mapping[str, bytes]:
    found = {f"{name}/{number}.png": picture(number, "PNG") for name in NAMES for number in range(4)}
    return {**found, "cat/0.png": picture(0, form)}


@cache
def _packed() -> Mapping[str, bytes]:
    import timm
    import torch

    import wfn

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    wfn.fix(network, delta=0.03)
    file = io.BytesIO()
    told = {
        "timm": "test_resnet",
        "arguments": {"in_chans": 3, "num_classes": 3, "drop_rate": 0.1},
        "stem": None,
        "classes": ["a", "b", "c"],
        "input": {
            "channels": 3,
            "shorter": 40,
            "interpolation": "bicubic",
            "crop": [32, 32],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.2, 0.2, 0.2],
        },
    }
    wfn.pack(network, file, network=told)
    return {"network.wfn": file.getvalue()}


def _settings() -> Mapping[str, bytes]:
    profiles = {f"profiles/{path.name}": path.read_bytes() for path in (ROOT / "profiles").glob("mnist5k.yaml")}
    return {"params.yaml": (ROOT / "params.yaml").read_bytes(), **profiles}


def _nothing(_: bytes) -> Mapping[str, bytes]:
    return {}


FORMS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "SGI", "TGA")
KINDS = {
    "checkpoints, .safetensors": Kind(
        "checkpoint", "weights", _safetensors, malicious.of_safetensors, malicious.forged_safetensors
    ),
    "checkpoints, .pt": Kind("checkpoint", "weights", _torch, malicious.of_torch, malicious.forged_torch),
    "checkpoints, .pt of before 1.6": Kind("checkpoint", "weights", _old_torch, malicious.of_old_torch),
    "CIFAR batches": Kind("images", "data_batch_1", _batches, malicious.of_batches),
    "CIFAR batches, names of classes": Kind("images", "batches.meta", _batches, malicious.of_batches),
    "parquet": Kind("images", "train-0.parquet", _parquet, malicious_data.of_parquet),
    "WebDataset shards": Kind("images", "train-0.tar", _shards, malicious_data.of_tar),
    **{
        f"images, {form}": Kind("pictures", "cat/0.png", lambda form=form: _images(form), attacks)  # type: ignore[misc]
        for form, attacks in {**dict.fromkeys(FORMS, _nothing), "PNG": malicious_data.of_pictures}.items()
    },
    "params.yaml": Kind("settings", "params.yaml", _settings, malicious_data.of_settings),
    "profiles": Kind("settings", "profiles/mnist5k.yaml", _settings, malicious_data.of_settings),
    "packed files": Kind("packed", "network.wfn", _packed, malicious_data.of_packed, malicious_data.forged_packed),
}
