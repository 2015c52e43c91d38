"""What would stop a run, found before it begins: whatever can be known of the settings without an image."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from pipeline.base.errors import InputError
from pipeline.base.results import in_clone
from pipeline.base.settings import HUB, Model, Settings
from pipeline.comparing.finding import check_method, known_methods

REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
RENAMED = re.compile(r"register_model_deprecations\(__name__, \{(.*?)\}\)", re.DOTALL)


def obstacles(settings: Settings, folders: Iterable[Path]) -> list[str]:
    """Each as "key = value: what is allowed". folders: those of the runs, which must be free to be folders."""
    return [*_methods(settings), *_networks(settings), *_files(settings), *_devices(settings), *_taken(folders)]


def _methods(settings: Settings) -> Iterator[str]:
    for name, quantiser in settings.baselines.quantisers.items():
        try:
            check_method(name, quantiser)
        except InputError as error:
            yield str(error)
    for method in settings.quantise.rates:
        if method not in known_methods():
            yield f"quantise.rates.{method}: no such method; allowed: {', '.join(known_methods())}"


def _networks(settings: Settings) -> Iterator[str]:
    yield from _network("model.name", settings.model.name, settings.model)
    yield from _network("explore.model", settings.explore.model, settings.model)


def _network(key: str, name: str, model: Model) -> Iterator[str]:
    """timm takes seconds to import: it is asked only where its files do not name the network.

    A module of the person's own may register any: whether it does is seen when it is run.
    """
    architecture = name.partition(".")[0]
    if model.module is None and architecture not in networks_of_timm():
        timm = importlib.import_module("timm")
        if not timm.is_model(name):
            from pipeline.data.names import near

            yield f"{key} = {name!r}: timm has no such model; allowed: {', '.join(near(name))}, ..."


def networks_of_timm() -> set[str]:
    """The architectures that timm's files register, read off them."""
    spec = find_spec("timm")
    names: set[str] = set()
    for path in Path(str(spec and spec.origin)).parent.glob("models/*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(REGISTERED.findall(text))
        for renamed in RENAMED.findall(text):
            names.update(re.findall(r"'([\w.-]+)'\s*:", renamed))
    return names


def _files(settings: Settings) -> Iterator[str]:
    root, module, checkpoint = settings.data.root, settings.model.module, settings.model.checkpoint
    if root is not None and not in_clone(Path(root)).is_dir():
        yield f"data.root = {root}: no such folder; relative paths begin at the clone"
    if module is not None and not in_clone(Path(module)).is_file():
        yield f"model.module = {module}: no such file; relative paths begin at the clone"
    if checkpoint and not checkpoint.startswith(HUB) and not in_clone(Path(checkpoint)).is_file():
        yield f"model.checkpoint = {checkpoint}: no such file; relative paths begin at the clone"


def _devices(settings: Settings) -> Iterator[str]:
    kind, count = settings.hardware.accelerator, settings.hardware.devices
    if kind in ("auto", "cpu"):
        return
    torch = importlib.import_module("torch")
    found = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if found < count:
        allowed = f"devices up to {found}" if found else "auto, or cpu"
        yield f"hardware.accelerator = {kind!r}, devices = {count}: this machine has {found}; allowed: {allowed}"


def _taken(folders: Iterable[Path]) -> Iterator[str]:
    paths = {each for folder in folders for each in (folder, *folder.parents)}
    for path in sorted(paths):
        if path.exists() and not path.is_dir():
            yield f"{path}: a file where a folder of results belongs; move it away"
