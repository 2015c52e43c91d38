"""What `wfn inspect` shows: columns of plain characters that fit a terminal, or all of it for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from wfn.files.tensors.errors import printable
from wfn.method.centres import format_terms, term_count
from wfn.packed.decode import Contents, Layer
from wfn.packed.types import TYPES

SHOWN = 20  # values of the histogram
MOST_TERMS = 4  # told apart; those of more are counted together
HEADINGS = ("tensor", "shape", "values", "bits", "coding", "bytes")


def float32_bytes(contents: Contents) -> int:
    """What the tensors take where every floating-point number is a float32, without those that are the same."""
    types = [(layer, TYPES[layer.dtype]) for layer in contents.layers if not layer.coding.startswith("same")]
    return sum(layer.values * (4 if dtype.is_floating_point else dtype.itemsize) for layer, dtype in types)


def shares_by_terms(contents: Contents) -> dict[str, float]:
    """Share of the coded weights whose value is a sum of so many powers of two, 0 to 1."""
    finite = contents.codebook.isfinite()
    terms = torch.from_numpy(term_count(contents.codebook[finite].numpy())).clamp(max=MOST_TERMS + 1)
    used = torch.zeros(MOST_TERMS + 2, dtype=torch.int64).index_add_(0, terms, contents.usage[finite])
    names = [*map(str, range(MOST_TERMS + 1)), f"{MOST_TERMS + 1} or more"]
    total = max(1, int(contents.usage.sum()))
    return {name: count / total for name, count in zip(names, used.tolist(), strict=True) if count}


def as_json(contents: Contents) -> dict[str, Any]:
    """All of it. Numbers that JSON does not have are words."""
    return {
        "bytes": contents.bytes,
        "unpacked_bytes": contents.unpacked_bytes,
        "float32_bytes": float32_bytes(contents),
        "values": len(contents.codebook),
        "entropy": contents.entropy,
        "shares_by_terms": shares_by_terms(contents),
        "codebook": [value if math.isfinite(value) else str(value) for value in contents.codebook.tolist()],
        "usage": contents.usage.tolist(),
        "layers": [
            {
                **{"name": layer.name, "dtype": layer.dtype, "shape": list(layer.shape), "coding": layer.coding},
                **{"bytes": layer.bytes, "values": layer.distinct, "entropy": layer.entropy},
            }
            for layer in contents.layers
        ],
        "network": contents.network,
        "metadata": contents.metadata,
    }


def as_text(contents: Contents, width: int) -> str:
    """A table of the tensors, the totals, and a histogram of the values used most."""
    parts = [_table(contents.layers, width), _totals(contents)]
    if len(contents.codebook):
        parts.append(_histogram(contents, width))
    return "\n\n".join(parts)


def _table(layers: Sequence[Layer], width: int) -> str:
    rows = [
        (
            printable(layer.name + layer.coding.replace("same as", " =") * layer.coding.startswith("same")),
            "x".join(map(str, layer.shape)) or "-",
            f"{layer.distinct:,}",
            f"{layer.entropy:.2f}",
            "tied" if layer.coding.startswith("same") else layer.coding,
            f"{layer.bytes:,}",
        )
        for layer in layers
    ]
    sizes = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    sizes[0] = min(sizes[0], max(16, width - sum(sizes[1:]) - 2 * len(sizes[1:])))
    return "\n".join(_line(row, sizes) for row in (HEADINGS, *rows))


def _line(row: Sequence[str], sizes: Sequence[int]) -> str:
    name, shape, values, bits, coding, size = row
    if len(name) > sizes[0]:
        kept = sizes[0] - 2
        name = f"{name[: kept // 2]}..{name[len(name) - (kept - kept // 2) :]}"
    cells = [name.ljust(sizes[0]), shape.rjust(sizes[1]), values.rjust(sizes[2]), bits.rjust(sizes[3])]
    return "  ".join([*cells, coding.ljust(sizes[4]), size.rjust(sizes[5])]).rstrip()


def _totals(contents: Contents) -> str:
    network = contents.network or {}
    whole = float32_bytes(contents)
    terms = [f"{name}: {share:.1%}" for name, share in shares_by_terms(contents).items()]
    rows = {
        "network": printable(str(network.get("timm", "none, tensors only"))),
        "file": f"{contents.bytes:,} bytes, {whole / contents.bytes:.2f} x smaller than float32",
        "unpacked": f"{contents.unpacked_bytes:,} bytes",
        "values": f"{len(contents.codebook):,} for {int(contents.usage.sum()):,} coded weights",
        "entropy": f"{contents.entropy:.3f} bits a weight",
        "powers of two": "  ".join(terms),
        **{printable(str(key)): printable(str(value)) for key, value in contents.metadata.items()},
    }
    size = max(map(len, rows))
    return "\n".join(f"{key.ljust(size)}  {value}" for key, value in rows.items() if value)


def _histogram(contents: Contents, width: int) -> str:
    """The values used most in their order, each with its terms, its share, and a bar of it."""
    most = contents.usage.argsort(descending=True, stable=True)[:SHOWN].sort().values
    used, total = contents.usage[most].tolist(), int(contents.usage.sum())
    rows = [
        (f"{value:.6g}", format_terms(value) if _is_short(value) else "", f"{100 * count / total:.2f} %")
        for value, count in zip(contents.codebook[most].tolist(), used, strict=True)
    ]
    sizes = [max(len(row[column]) for row in rows) for column in range(3)]
    longest = max(8, width - sum(sizes) - 6)
    bars = ["#" * math.ceil(longest * count / max(used)) for count in used]
    lines = [
        f"{value.rjust(sizes[0])}  {terms.ljust(sizes[1])}  {share.rjust(sizes[2])}  {bar}"
        for (value, terms, share), bar in zip(rows, bars, strict=True)
    ]
    title = f"the {len(rows)} values used most, {sum(used) / total:.1%} of the weights:"
    return "\n".join([title, *lines])


def _is_short(value: float) -> bool:
    return math.isfinite(value) and int(term_count([value])[0]) <= MOST_TERMS
