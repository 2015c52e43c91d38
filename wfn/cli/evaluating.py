"""How often a packed network is right on a folder of labelled pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from wfn.cli.errors import InputError
from wfn.cli.predicting import Network, predicted
from wfn.cli.progress import counting
from wfn.files.pictures import find_pictures
from wfn.files.tensors.errors import listed
from wfn.picture import is_left_behind, plain_name

PARTS = ("validation", "valid", "val", "test", "testing")  # of a data set, the first that is there


@dataclass(frozen=True)
class Score:
    """pictures: that could be read. top1, top5: shares of them, 0 to 1. seconds: for all, reading them included."""

    pictures: int
    top1: float
    top5: float
    seconds: float


def evaluated(network: Network, folders: Mapping[Path, int], on_problem: Callable[[str], None]) -> Score:
    """The score on all pictures of the folders, each with its label. on_problem: told of pictures that are not read."""
    paths, labels = [], []
    for folder, label in folders.items():
        inside = find_pictures([folder])
        paths += inside
        labels += [label] * len(inside)
    right, start = {1: 0, 5: 0}, time.perf_counter()
    done = 0
    with counting("evaluate", len(paths)) as advance:
        for batch in predicted(network, paths):
            wanted = torch.tensor([labels[place] for place in batch.places])
            for top in right:
                best = batch.logits.topk(min(top, batch.logits.shape[-1])).indices
                right[top] += int((best == wanted[:, None]).sum())
            for problem in batch.problems:
                on_problem(problem)
            done += len(batch.places)
            advance(len(batch.places) + len(batch.problems))
    seconds = time.perf_counter() - start
    return Score(done, right[1] / max(1, done), right[5] / max(1, done), seconds)


def labelled_folders(data: Path, network: Network) -> tuple[dict[Path, int], str]:
    """The class folders of a data set with the output that each is for, and how the two were matched.

    The data set may lie in one of the folders PARTS of `data`. Folders called as the network's classes are theirs;
    others are in their order those of the outputs, where there are as many.

    Raises InputError where neither is so, and where only some folders are called as classes are, OSError where there is
    no such folder.
    """
    part = next((data / name for name in PARTS if (data / name).is_dir()), data)
    folders = sorted(path for path in part.iterdir() if path.is_dir() and not is_left_behind(path.name))
    classes, outputs = network.classes, network.outputs
    places = {plain_name(name): place for place, name in enumerate(classes or ())}
    named = {plain_name(folder.name): folder for folder in folders}
    if classes is not None and named.keys() == places.keys() and len(named) == len(folders) == outputs:
        return {folder: places[name] for name, folder in named.items()}, f"{part}: {outputs} classes, by their names"
    by_case = {name.casefold(): place for name, place in places.items()}
    alike = {name.casefold(): folder for name, folder in named.items()}
    if classes is not None and alike.keys() == by_case.keys() and len(alike) == len(folders) == outputs == len(by_case):
        return {folder: by_case[name] for name, folder in alike.items()}, f"{part}: {outputs} classes, by their names"
    if any(name in by_case for name in alike):  # no order stands for the others then
        lacking, extra = sorted(places.keys() - named.keys()), sorted(named.keys() - places.keys())
        raise InputError(
            f"{part}: some folders are called as classes of the network are, and others not: no folder for "
            f"{listed(lacking) or 'none'}; no class for {listed(extra) or 'none'}; allowed: a folder for every class"
        )
    if len(folders) == outputs:
        return dict(zip(folders, range(outputs), strict=True)), f"{part}: {outputs} classes, in order of the folders"
    raise InputError(f"{part}: {len(folders)} class folders; the network has {outputs} classes")
