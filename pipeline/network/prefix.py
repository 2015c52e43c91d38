"""Names of tensors without what training programs put before them (DistributedDataParallel, torch.compile, ...)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

from pipeline.base.errors import InputError
from wfn.files.tensors.errors import listed
from wfn.files.tensors.unwrap import AVERAGES


def without_prefix(
    key: str, tensors: Mapping[str, Tensor], expected: Sequence[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the `expected` names: without the prefix under which most of those are found; what was done.

    A file may have the network twice, its moving averages under a prefix of their own: those are taken then. Where no
    prefix has more than half of the names, all stay as they are. Raises InputError for a network that is there several
    times.
    """
    under: dict[str, set[str]] = defaultdict(set)
    wanted = set(expected)
    for name in tensors:
        parts = name.split(".")
        for place in range(len(parts)):
            own = ".".join(parts[place:])
            if own in wanted:
                under[name.removesuffix(own)].add(own)
    most = max(map(len, under.values()), default=0)
    if 2 * most <= len(wanted):
        return dict(tensors), []
    copies = [prefix for prefix, names in under.items() if len(names) == most]
    averages = [prefix for prefix in copies if not set(prefix.split(".")).isdisjoint(AVERAGES)]
    chosen = averages if len(averages) == 1 else copies
    if len(chosen) > 1:
        raise InputError(f"{key}: has the network {len(copies)} times, under {listed([repr(each) for each in copies])}")
    (prefix,) = chosen
    others = [each for each in copies if each != prefix]
    kept = {name: value for name, value in tensors.items() if not _is_of(name, others, under)}
    twice = [name for name in kept if not name.startswith(prefix) and prefix + name in kept]
    if twice:
        raise InputError(f"{key}: has {len(twice)} names with and without {prefix!r}: {listed(twice)}")
    done = [f"left out the network under {each!r}" for each in others]
    if prefix:
        average = ", the moving averages" if averages else ""
        done.insert(0, f"removed the prefix {prefix!r}{average}")
    return {name.removeprefix(prefix): value for name, value in kept.items()}, done


def _is_of(name: str, prefixes: Sequence[str], under: Mapping[str, set[str]]) -> bool:
    """Whether a name is of a copy of the network under one of these prefixes, its counters of batches included."""
    return any(
        name.startswith(each) and (name[len(each) :] in under[each] or name.endswith("num_batches_tracked"))
        for each in prefixes
    )
